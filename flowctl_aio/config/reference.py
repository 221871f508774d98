"""The definitions → `docs/configuration.md`: `python -m flowctl_aio.config.reference > docs/configuration.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from flowctl_aio.config.components import COMPONENTS
from flowctl_aio.config.definition.setting import Setting, Settings, settings_of
from flowctl_aio.config.profiles import ALIASES, PROFILES, TUNING
from flowctl_aio.config.reading.document import MAX_BYTES, MAX_DEPTH, MAX_VALUES
from flowctl_aio.config.settings import FlowctlConfig
from flowctl_aio.config.wishes import PROTECTION, WISHES

HEAD = """\
# Configuration

This page is made from the definitions: `python -m flowctl_aio.config.reference > docs/configuration.md`.

```python
from flowctl_aio import FlowctlConfig, FlowctlSession

config = FlowctlConfig.load("my_processor", file="pipeline.yaml", profile="development", drain_timeout=2.0)
```

`FlowctlConfig(...)` takes arguments and nothing else. `FlowctlConfig.load(component, file=, profile=, environ=,
**arguments)` looks everywhere, `FlowctlConfig.from_env(component, **arguments)` is the same without file and
profile of its own. The environment is read when one of these is called, never at import.

    flowctl-aio config show --component my_processor --file pipeline.yaml --profile development
    flowctl-aio config check pipeline.yaml

`show` prints every value with its origin, secrets as `***`; `check` looks at a file alone, without the environment,
and ends with 0 and one line, or with 2 and a line for each problem. In a program,
`flowctl_aio.config.resolve(...)` takes what `load` takes, and gives `.config`, `.origins` and `.notes`. `load` logs
the notes as warnings.

## Who wins

1. the argument; None counts as not given
2. the variable with the component's prefix: `MY_PROCESSOR_FLOWCTL_ENDPOINT`
3. the variable: `FLOWCTL_ENDPOINT`
4. the file: the component's section, then the rest
5. the profile
6. the default

Exceptions, and cases that need a word:

- **The component id.** FLOWCTL_COMPONENT_ID, FLOWCTL_SERVICE_ID and COMPONENT_ID, in this order, win over the
  argument, because `flowctl run` waits for exactly the id that it gave. `load(..., id_from_runner=False)` lets the
  argument win. A `FlowctlConfig(component_id=...)` of your own never looks.
- **FLOWCTL_ENDPOINT is set, ENABLE_FLOWCTL is not.** The address counts as the word: the session is enabled,
  whatever file and profile say. `flowctl run` in docker mode gives the address alone. `ENABLE_FLOWCTL=false`, or
  the argument `enabled=False`, wins over it.
- **Neither is set.** The session is enabled, with the plane at localhost:8080, unlike the components of the first
  implementation, which were off. A plane that is not there stops nothing: the session goes on, degraded, and tries
  again. Profile `local` is off.
- **A secret and its file** (`token` and `token_file`, `api_key` and `api_key_file`): the one from the place that
  wins unsets the other; from the same place they are a problem.
- **Two names of one setting in one place** must agree, as FLOWCTL_HEARTBEAT_INTERVAL and
  FLOWCTL_HEARTBEAT_INTERVAL_MS do; if they differ, that is a problem. Where the table says "first wins" the order
  of the names decides. CHUNK_START and CHUNK_END are given together or not at all.
- **`tls: false`** beside a certificate, a key, an authority or a server name is a problem, since these ask for TLS.

## How values are written

- An empty variable is an unset one. A value that cannot be read, or is out of its bounds, is a problem, also where
  another value wins; nothing becomes a default in silence. One `ConfigError` names all problems, each with its
  variable, its file, line and key, or its argument.
- Durations are Go's: `10s`, `1m30s`, `250ms`, `1.5h`, `10us` (also with a micro sign); not negative, and not without
  a unit, except for `0`. In Python they are seconds.
- Booleans are Go's: `1 t T true True TRUE 0 f F false False FALSE`. No `yes`, no `on`.
- `PORT` and `HEALTH_PORT` take `50051`, `:50051`, `host:50051` and `unix:///path`. A port without a host stays on
  this machine: it is `127.0.0.1:50051`, not every address as in Go. Say `0.0.0.0:50051` for that.
- Lists have commas in variables, and are lists in files.
- A variable of a component that Kubernetes sets for a service of the same name
  (`TTP_ARROW_PROCESSOR_PORT=tcp://...`) is left out, with a note.
"""

FILES = f"""\
## Files

A file is YAML, needs the extra `yaml`, and is never searched for: it is named by the argument or by
FLOWCTL_CONFIG_FILE. **The key is the variable in lower case.** A block's name is joined to its keys with `_`, so
these are the same:

```yaml
flowctl:
  endpoint: plane:8080
```
```yaml
flowctl_endpoint: plane:8080
```

The section of a component is its prefix:

```yaml
profile: development
flowctl:
  endpoint: plane:8080
  heartbeat_interval: 10s
  tls:
    ca: /etc/flowctl/ca.pem
stellar_arrow_source:
  storage_path: /data/ledgers
  flowctl:
    heartbeat_interval: 5s        # for this component only
```

When a component is named, its keys may also stand at the top, as in the files of the first implementation. A
component of your own may keep what it likes in its section, and keys at the top that begin with `x-` are nobody's.
All other keys must be known.

- Every value is the text that is written: `no` is not false, `1_000` is not a number. Nothing, `~` and `null` leave
  a setting alone; `""` is an empty text.
- `${{NAME}}` is not filled in; a note says so.
- Keys that are given twice, tags, merge keys (`<<`) and second documents are refused. A file has at most {
    MAX_BYTES // 1024
} KiB, and, with its aliases filled in, {MAX_VALUES} values, {MAX_DEPTH} deep.
- FLOWCTL_PROFILE, or the key `profile`, names the profile.
"""

SESSION_WORDS = """\
`{COMPONENT}_` may stand before each variable. `bind` is also `{COMPONENT}_FLIGHT_PORT`.

`run_id`, `attempt`, `start_ledger`, `end_ledger`, `network_passphrase` and `log_level` are read for components and
programs. The session itself does nothing with them.
"""

PROFILE_WORDS = """\
Several are joined by `+`, and the later ones win: `production+low_latency`. `production` names no endpoint: without
one from an argument, a variable or a file it is a problem, and so is a placeholder like `flowctl.example.com`. The
last three are for a load; `high_throughput` and `constrained` had beats every 30 and 60 seconds, and a plane gives
up a service that is silent for 30, so here they beat every 10.
"""

COMPONENT_WORDS = """\
The keys are those of the first implementation, its defaults mended where they were wrong: all three had the health
port 8088, the source's Flight port was the processor's, and two servers had the plane's port. Here a data plane
takes a free port, which others find by discovery, and health pages are off until a port is given.
`flowctl_aio.config.resolve_component(StellarArrowSourceSettings, file=...)` gives the values, with their origins and
notes; whoever makes the component hands them on.

A variable is the key in capitals, behind the prefix: `STELLAR_ARROW_SOURCE_BATCH_SIZE`. The table names variables
only where there are others. Settings without effect are accepted with a note. **Refused** are those that would
change the data: any value but the default is a problem.
"""

WISH_WORDS = """\
The first implementation had names for more, which nothing ever read. In a file they are known, and have no effect;
a note says so. Keys that nobody has ever heard of are a problem, with the nearest name that is known. Those that
promise protection are a problem as soon as they are switched on:
"""


def render() -> str:
    """The page."""
    parts = [
        HEAD,
        FILES,
        "## Settings of a session\n",
        _table(FlowctlConfig, "flowctl."),
        SESSION_WORDS,
        "## Profiles\n",
        _profiles(),
        PROFILE_WORDS,
        "## The three components\n",
        COMPONENT_WORDS,
    ]
    for component, kind in COMPONENTS.items():
        parts += [f"### {component.lower()}\n", _own_table(kind)]
    parts += [
        "## Known, without effect\n",
        WISH_WORDS,
        *_wishes(),
    ]
    return "\n".join(parts)


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    head, *body = rows
    lines = [head, tuple("---" for _ in head), *body]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def _table(kind: type[Settings], block: str) -> str:
    rows = [("setting", "type", "default", "variables", "key", "what it is")]
    for setting in settings_of(kind).values():
        names = ", ".join(f"`{name}`" for name in setting.variables)
        key = f"`{block}{setting.name}`"
        rows.append((f"`{setting.name}`", _type(setting), _default(setting), names, key, _words(setting)))
    return _rows(rows)


def _own_table(kind: type[Settings]) -> str:
    rows = [("key", "type", "default", "other variables", "what it is", "effect")]
    for setting in settings_of(kind).values():
        others = [f"`..._{name}`" for name in setting.own if name != setting.name.upper()]
        others += [f"`{name}`" for name in setting.variables]
        effect = setting.lacking and f"{'**refused**' if setting.is_refused else 'none'}: {setting.lacking}"
        rows.append(
            (
                f"`{setting.name}`",
                _type(setting),
                _default(setting),
                ", ".join(others),
                _words(setting),
                effect or "yes",
            )
        )
    return _rows(rows)


def _type(setting: Setting) -> str:
    bounds = setting.kind.bounds
    return f"{setting.kind.name}, {bounds}" if bounds else setting.kind.name


def _default(setting: Setting) -> str:
    shown = setting.kind.show(setting.default)
    return f"`{shown}`" if shown else ""


def _words(setting: Setting) -> str:
    extra = "; secret" if setting.is_secret else ""
    return f"{setting.text}{extra}{'; first wins' if setting.is_ordered else ''}"


def _profiles() -> str:
    names = dict.fromkeys(name for values in PROFILES.values() for name in values)
    definitions = settings_of(FlowctlConfig)
    other = {long: short for short, long in ALIASES.items()}
    rows: list[tuple[str, ...]] = [("profile", *(f"`{name}`" for name in names))]
    for profile, values in PROFILES.items():
        title = f"`{profile}`" + (f", `{other[profile]}`" if profile in other else "")
        title += " (load)" if profile in TUNING else ""
        rows.append((title, *(definitions[name].kind.show(values[name]) if name in values else "" for name in names)))
    return _rows(rows)


def _wishes() -> Iterator[str]:
    yield _rows([("key", "instead"), *((f"`{key}`", text) for key, text in PROTECTION.items())])
    yield "All of them, by block:\n"
    yield _rows([("block", "keys"), *((f"`{block}`", ", ".join(keys)) for block, keys in WISHES.items())])


if __name__ == "__main__":
    sys.stdout.write(render())
