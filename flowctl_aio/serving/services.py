"""Which services a component is served by."""

from __future__ import annotations

from typing import Any

from flowctl_aio.component import Processor, Sink, Source
from flowctl_aio.errors import ConfigError
from flowctl_aio.serving.processor import processor_services
from flowctl_aio.serving.served import Served
from flowctl_aio.serving.sink import sink_services
from flowctl_aio.serving.source import source_services
from flowctl_aio.transport.server import Services


def services_of(served: Served[Any]) -> Services:
    """The services of both dialects for a component of any kind.

    Raises:
        ConfigError: if it is none of Source, Processor and Sink.
    """
    component = served.component
    if isinstance(component, Source):
        return source_services(served)
    if isinstance(component, Processor):
        return processor_services(served)
    if isinstance(component, Sink):
        return sink_services(served)
    raise ConfigError(f"{type(component).__name__} is no Source, Processor or Sink")
