"""flowctl_aio: the asyncio-native SDK for flowctl, the control plane of data pipelines on the Stellar network.

`async with FlowctlSession(component)` registers a service, keeps it registered, beats beside your coroutines
and streams Arrow batches of ledgers and events to and from its peers. Names load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowctl_aio.batches import Batch as Batch
    from flowctl_aio.batches import EventBatch as EventBatch
    from flowctl_aio.batches import LedgerBatch as LedgerBatch
    from flowctl_aio.component import Epoch as Epoch
    from flowctl_aio.component import Processor as Processor
    from flowctl_aio.component import Sink as Sink
    from flowctl_aio.component import Source as Source
    from flowctl_aio.config import FlowctlConfig as FlowctlConfig
    from flowctl_aio.control.discovery.changes import Added as Added
    from flowctl_aio.control.discovery.changes import Changed as Changed
    from flowctl_aio.control.discovery.changes import Removed as Removed
    from flowctl_aio.control.discovery.watch import Snapshot as Snapshot
    from flowctl_aio.control.lifecycle import State as State
    from flowctl_aio.control.records.chunks import FailureClass as FailureClass
    from flowctl_aio.control.records.chunks import VerificationError as VerificationError
    from flowctl_aio.errors import BadEventsError as BadEventsError
    from flowctl_aio.errors import FlowctlError as FlowctlError
    from flowctl_aio.pipeline import FileCheckpoint as FileCheckpoint
    from flowctl_aio.pipeline import Pipeline as Pipeline
    from flowctl_aio.pipeline import Progress as Progress
    from flowctl_aio.pipeline import SourceCheckpoint as SourceCheckpoint
    from flowctl_aio.plane import EmbeddedControlPlane as EmbeddedControlPlane
    from flowctl_aio.provider import MetricsProvider as MetricsProvider
    from flowctl_aio.security import Admission as Admission
    from flowctl_aio.security import ServerTls as ServerTls
    from flowctl_aio.serving.dead_letters import DeadLetter as DeadLetter
    from flowctl_aio.serving.dead_letters import letter_from_event as letter_from_event
    from flowctl_aio.serving.dead_letters import read_dead_letters as read_dead_letters
    from flowctl_aio.session import FlowctlSession as FlowctlSession
    from flowctl_aio.streams.acks import Acks as Acks
    from flowctl_aio.streams.behind import rows_behind as rows_behind
    from flowctl_aio.streams.processor import ProcessorClient as ProcessorClient
    from flowctl_aio.streams.resume import Checkpoint as Checkpoint
    from flowctl_aio.streams.resume import ResumingStream as ResumingStream
    from flowctl_aio.streams.sink import SinkClient as SinkClient
    from flowctl_aio.streams.source import SourceClient as SourceClient
    from flowctl_aio.streams.source import SourceState as SourceState
    from flowctl_aio.streams.stream import BatchStream as BatchStream
    from flowctl_aio.transport.malloc import tune_malloc as tune_malloc
    from flowctl_aio.transport.trunk import PoolStats as PoolStats
    from flowctl_aio.types import Ack as Ack
    from flowctl_aio.types import Cursor as Cursor
    from flowctl_aio.types import Dialect as Dialect
    from flowctl_aio.types import Event as Event
    from flowctl_aio.types import Health as Health
    from flowctl_aio.types import LedgerRange as LedgerRange
    from flowctl_aio.types import RawLedger as RawLedger
    from flowctl_aio.types import ServiceInfo as ServiceInfo
    from flowctl_aio.types import ServiceStatus as ServiceStatus
    from flowctl_aio.types import ServiceType as ServiceType
    from flowctl_aio.types import StreamRequest as StreamRequest

__version__ = "0.1.0"

_HOMES = {
    "Ack": "types",
    "Acks": "streams.acks",
    "Added": "control.discovery.changes",
    "Admission": "security",
    "BadEventsError": "errors",
    "Batch": "batches",
    "BatchStream": "streams.stream",
    "Changed": "control.discovery.changes",
    "Checkpoint": "streams.resume",
    "Cursor": "types",
    "DeadLetter": "serving.dead_letters",
    "Dialect": "types",
    "EmbeddedControlPlane": "plane",
    "Epoch": "component",
    "Event": "types",
    "EventBatch": "batches",
    "FailureClass": "control.records.chunks",
    "FileCheckpoint": "pipeline",
    "FlowctlConfig": "config",
    "FlowctlError": "errors",
    "FlowctlSession": "session",
    "Health": "types",
    "LedgerBatch": "batches",
    "LedgerRange": "types",
    "MetricsProvider": "provider",
    "Pipeline": "pipeline",
    "PoolStats": "transport.trunk",
    "Processor": "component",
    "ProcessorClient": "streams.processor",
    "Progress": "pipeline",
    "RawLedger": "types",
    "Removed": "control.discovery.changes",
    "ResumingStream": "streams.resume",
    "ServerTls": "security",
    "ServiceInfo": "types",
    "ServiceStatus": "types",
    "ServiceType": "types",
    "Sink": "component",
    "SinkClient": "streams.sink",
    "Snapshot": "control.discovery.watch",
    "Source": "component",
    "SourceCheckpoint": "pipeline",
    "SourceClient": "streams.source",
    "SourceState": "streams.source",
    "State": "control.lifecycle",
    "StreamRequest": "types",
    "VerificationError": "control.records.chunks",
    "letter_from_event": "serving.dead_letters",
    "read_dead_letters": "serving.dead_letters",
    "rows_behind": "streams.behind",
    "tune_malloc": "transport.malloc",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"flowctl_aio.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
