"""Arguments, environment, file and profile → settings, each with its origin; and the rules between settings.

The order is: argument, variable with the component's prefix, variable, file (the component's section first), profile,
default. The exceptions stand here, and in `docs/configuration.md`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from types import MappingProxyType
from typing import Any, Generic, TypeVar, overload

from flowctl_aio.config.components import COMPONENTS, ComponentSettings
from flowctl_aio.config.profiles import NEEDS_ENDPOINT
from flowctl_aio.config.reading.inputs import ARGUMENT, DEFAULT, OWN_VARIABLE, PROFILE, VARIABLE, Inputs, open_inputs
from flowctl_aio.config.reading.settle import Given, Settled, settle
from flowctl_aio.config.settings import FlowctlConfig
from flowctl_aio.errors import ConfigError

T = TypeVar("T")
C = TypeVar("C", bound=ComponentSettings)
log = logging.getLogger(__name__)

NOTHING: Mapping[str, Any] = MappingProxyType({})

_EITHER = (("token", "token_file"), ("api_key", "api_key_file"))
_NEED_TLS = ("tls_ca", "tls_cert", "tls_key", "tls_server_name")
_PLACEHOLDERS = ("example.com", "example.net", "example.org", "example")


@dataclass(frozen=True, slots=True)
class Resolved(Generic[T]):
    """Settings, and where they came from.

    Attributes:
        config: the settings.
        origins: by name: `argument`, `environment NAME`, `file NAME: key`, `profile NAME` or `default`.
        notes: what is known but has no effect, and what is likely to be a mistake.
    """

    config: T
    origins: Mapping[str, str]
    notes: tuple[str, ...] = ()


def load(
    component: str,
    *,
    file: str | PathLike[str] | None,
    profile: str,
    environ: Mapping[str, str] | None,
    id_from_runner: bool,
    arguments: Mapping[str, Any],
) -> FlowctlConfig:
    """Settings, with the notes logged; see `FlowctlConfig.load`."""
    inputs = open_inputs(component, file=file, profile=profile, environ=environ)
    resolved = resolve_session(inputs, arguments, id_from_runner=id_from_runner)
    for note in resolved.notes:
        log.warning("%s", note)
    return resolved.config


def resolve(
    component: str = "",
    *,
    file: str | PathLike[str] | None = None,
    profile: str = "",
    environ: Mapping[str, str] | None = None,
    id_from_runner: bool = True,
    **arguments: Any,
) -> Resolved[FlowctlConfig]:
    """What `FlowctlConfig.load` gives, with the origin of each value; nothing is logged.

    Raises:
        ConfigError: as `FlowctlConfig.load` does.
    """
    inputs = open_inputs(component, file=file, profile=profile, environ=environ)
    return resolve_session(inputs, arguments, id_from_runner=id_from_runner)


@overload
def resolve_component(
    component: type[C],
    *,
    file: str | PathLike[str] | None = ...,
    environ: Mapping[str, str] | None = ...,
    **arguments: Any,
) -> Resolved[C]: ...
@overload
def resolve_component(
    component: str,
    *,
    file: str | PathLike[str] | None = ...,
    environ: Mapping[str, str] | None = ...,
    **arguments: Any,
) -> Resolved[Any]: ...
def resolve_component(
    component: type[Any] | str,
    *,
    file: str | PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    **arguments: Any,
) -> Resolved[Any]:
    """The settings of one of the three reference components, by the same rules.

    Args:
        component: its dataclass, or its name.

    Raises:
        ConfigError: if it is none of the three, or as `FlowctlConfig.load` does.
    """
    names = {kind: name for name, kind in COMPONENTS.items()}
    name = component if isinstance(component, str) else names.get(component, component.__name__)
    return resolve_own(open_inputs(name, file=file, environ=environ), arguments)


def resolve_own(inputs: Inputs, arguments: Mapping[str, Any] = NOTHING) -> Resolved[ComponentSettings]:
    """The same, out of inputs that are open."""
    kind = COMPONENTS.get(inputs.component)
    if kind is None:
        names = ", ".join(name.lower() for name in COMPONENTS)
        raise ConfigError(f"{inputs.component.lower()!r} has no settings of its own: {names} have")
    settled: Settled[Any] = settle(kind, inputs, arguments)
    config = settled.build()
    problems = [*inputs.problems, *settled.problems]
    if config is None or problems:
        raise ConfigError(*problems)
    return Resolved(config, settled.origins, (*inputs.notes, *settled.notes))


def resolve_session(
    inputs: Inputs, arguments: Mapping[str, Any] = NOTHING, *, id_from_runner: bool = True
) -> Resolved[FlowctlConfig]:
    """The settings of a session, out of inputs that are open."""
    settled = settle(FlowctlConfig, inputs, arguments, id_from_runner=id_from_runner)
    _enable_by_endpoint(settled)
    _take_the_nearer(settled)
    problems = [*_contradictions(settled), *_placeless(settled, inputs)]
    config = settled.build()
    problems = [*inputs.problems, *settled.problems, *problems]
    notes = [*inputs.notes, *settled.notes]
    if config is None or problems:
        raise ConfigError(*problems)
    if config.enabled and config.heartbeat_interval >= config.lease_timeout:
        notes.append(
            f"heartbeat_interval {config.heartbeat_interval:g} s ({settled.origins['heartbeat_interval']}) is not below"
            f" lease_timeout {config.lease_timeout:g} s: the plane gives the service up between two beats"
        )
    return Resolved(config, settled.origins, tuple(notes))


def _enable_by_endpoint(settled: Settled[FlowctlConfig]) -> None:
    """A plane's address in the environment and no word about it: the address counts as the word.

    Source: `flowctl run` in docker mode gives FLOWCTL_ENDPOINT and no ENABLE_FLOWCTL.
    """
    if settled.places["endpoint"] in (OWN_VARIABLE, VARIABLE) and settled.places["enabled"] > VARIABLE:
        origin = f"{settled.origins['endpoint']}, since ENABLE_FLOWCTL is not set"
        settled.take("enabled", Given(settled.places["endpoint"], True, origin))


def _take_the_nearer(settled: Settled[FlowctlConfig]) -> None:
    """A secret and the file of it exclude each other: what stands in a place that wins unsets the other."""
    for pair in _EITHER:
        nearer, farther = sorted(pair, key=lambda name: settled.places[name])
        if settled.values[nearer] and settled.values[farther] and settled.places[nearer] < settled.places[farther]:
            settled.take(farther, Given(settled.places[nearer], "", f"unset by {nearer} ({settled.origins[nearer]})"))


def _contradictions(settled: Settled[FlowctlConfig]) -> list[str]:
    """What contradicts itself only because of where it came from."""
    problems = []
    start, end = settled.variables["start_ledger"], settled.variables["end_ledger"]
    if (start == "CHUNK_START") != (end == "CHUNK_END"):
        whole, part = ("end_ledger", "start_ledger") if start == "CHUNK_START" else ("start_ledger", "end_ledger")
        if settled.places[whole] != ARGUMENT:
            problems.append(f"{part} ({settled.origins[part]}) is that of a chunk, and {whole} is not: give both")
    parts = [name for name in _NEED_TLS if settled.values[name]]
    if parts and not settled.values["tls"] and settled.places["tls"] != DEFAULT:
        problems.append(
            f"tls ({settled.origins['tls']}) is false, and {parts[0]} ({settled.origins[parts[0]]}) asks for TLS"
        )
    return problems


def _placeless(settled: Settled[FlowctlConfig], inputs: Inputs) -> list[str]:
    """Whether a profile that needs a real plane has one."""
    if NEEDS_ENDPOINT not in inputs.profiles or not settled.values["enabled"] or "endpoint" in settled.wrong:
        return []
    host = settled.values["endpoint"].rpartition(":")[0].lower()
    if any(host == name or host.endswith(f".{name}") for name in _PLACEHOLDERS):
        return [f"endpoint ({settled.origins['endpoint']}): {host} is a placeholder that nobody can reach"]
    if settled.places["endpoint"] < PROFILE:
        return []
    sentence = f"profile {NEEDS_ENDPOINT}: needs the endpoint of a plane: set FLOWCTL_ENDPOINT, or flowctl.endpoint"
    if inputs.is_file_alone:
        inputs.notes.append(sentence)
        return []
    return [sentence]
