"""Numbers by name, and families of a meter → Prometheus text.

Names of numbers come from users, so they are mended until the format takes them, and none of them can spoil the page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from flowctl_aio.observe.meter import MAX_LABEL_CHARS, MISNAMED, RESERVED_LABELS, Family
from flowctl_aio.observe.standard import HELP, SEED_NAMES

PREFIX = "flowctl_"
# Of the metrics that the seed's components and upstream's monitor serve.
KEPT_PREFIXES = (PREFIX, "stellar_source_", "ttp_processor_", "analytics_sink_")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DROPPED = "flowctl_metrics_dropped"
MAX_NUMBERS = 2000
MAX_NAME_CHARS = 200
# What the text of a histogram adds to its name.
SUFFIXES = ("_bucket", "_count", "_sum")


@dataclass(frozen=True, slots=True)
class Page:
    """What goes onto one page.

    Attributes:
        numbers: by the names of the heartbeat; what is not finite is left out.
        labels: of each number, such as service_id.
        families: of a meter, with names and labels of their own; where a number has the same name, it is left out.
    """

    numbers: Mapping[str, float]
    labels: Mapping[str, str]
    families: Iterable[Family] = ()


def prometheus_name(name: str) -> str:
    """The name under which a number of the heartbeat is shown.

    The seed's and upstream's names stay as they are; every other gets the prefix `flowctl_`.
    Characters that the format does not know become underscores.
    """
    name = re.sub(r"[^a-zA-Z0-9_]", "_", name[:MAX_NAME_CHARS])
    return name if name in SEED_NAMES or name.startswith(KEPT_PREFIXES) else PREFIX + name


def label_name(name: str) -> str:
    """The name under which a label is shown."""
    name = re.sub(r"[^a-zA-Z0-9_]", "_", name[:MAX_NAME_CHARS]).lstrip("_") or "label"
    return f"label_{name}" if name[0].isdigit() or name in RESERVED_LABELS else name


def render(page: Page) -> bytes:
    """The page as text.

    Raises:
        ImportError: if prometheus_client is not installed (the extra `http` brings it).
    """
    from prometheus_client import CollectorRegistry, generate_latest

    # A registry for this page alone: the global one belongs to the application.
    registry = CollectorRegistry(auto_describe=False)
    families = list(_families(page))
    registry.register(_Collector(families))
    return generate_latest(registry)


class _Collector:
    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        return self._families

    def describe(self) -> list[Any]:
        return []  # names are settled here; the registry need not look


def _families(page: Page) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    taken: set[str] = set()
    dropped = 0
    for family in page.families:
        if _is_free(family.name, family.kind, taken):
            yield _labelled(family)
        else:
            dropped += 1
    labels = {label_name(key): _text(value) for key, value in page.labels.items()}
    # Whose name had to be mended stands back behind those who have it by right.
    names = sorted(page.numbers, key=lambda name: prometheus_name(name) not in (name, PREFIX + name))
    for name in names[:MAX_NUMBERS]:
        value = finite(page.numbers[name])
        shown = prometheus_name(name)
        if value is None:
            continue
        if not _is_free(shown, "gauge", taken):
            dropped += 1
            continue
        is_counter = shown.endswith("_total") and shown not in MISNAMED
        shape = (CounterMetricFamily if is_counter else GaugeMetricFamily)(
            shown, HELP.get(name, shown), labels=list(labels)
        )
        shape.add_metric(list(labels.values()), value)
        yield shape
    dropped += max(len(names) - MAX_NUMBERS, 0)
    if _is_free(DROPPED, "gauge", taken):
        yield GaugeMetricFamily(DROPPED, "Numbers that have no place here: their names are taken.", value=dropped)


def _is_free(name: str, kind: str, taken: set[str]) -> bool:
    """Take a name, with all that its kind adds to it in the text; false if one of them is taken."""
    wanted = {name, *(name + suffix for suffix in SUFFIXES)} if kind == "histogram" else {name}
    if wanted & taken:
        return False
    taken |= wanted
    return True


def _labelled(family: Family) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    name, text = family.name, family.help or family.name
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(name, text, labels=family.label_names)
        bounds = [*(repr(bound) for bound in family.bounds), "+Inf"]
        for values, distribution in family.distributions.items():
            buckets = list(zip(bounds, accumulate(distribution.counts), strict=True))
            histogram.add_metric([_text(value) for value in values], buckets, sum_value=distribution.sum)
        return histogram
    make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    shape = make(name, text, labels=family.label_names)
    for values, number in family.series.items():
        shape.add_metric([_text(value) for value in values], number)
    return shape


def _text(value: object) -> str:
    """A label's value; half a character, which UTF-8 cannot write, becomes a question mark."""
    return str(value)[:MAX_LABEL_CHARS].encode("utf-8", "replace").decode()


def finite(value: Any) -> float | None:
    """A number that can be shown; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


__all__ = ["CONTENT_TYPE", "Page", "finite", "label_name", "prometheus_name", "render"]
