"""Counters, gauges and histograms with labels, kept in plain dictionaries.

Takes numbers and gives families; what a page makes of them it does not know, and it needs no library.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from flowctl_aio.errors import UsageError

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
# The values of a series' labels, in the order of the family's label names.
LabelValues: TypeAlias = tuple[str, ...]
MAX_SERIES = 1000
# Gauges that upstream named like counters.
MISNAMED = frozenset({"flowctl_pipeline_throughput_total"})
# Labels that the text format, or the server that reads it, keeps for itself.
RESERVED_LABELS = frozenset({"le", "quantile", "job", "instance"})
MAX_LABEL_CHARS = 200
# 1 ms to 512 ms, each twice the one before; the bounds of upstream's monitor.
DEFAULT_BOUNDS = tuple(0.001 * 2**k for k in range(10))


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram's series.

    Attributes:
        counts: observations per bound, the last one of those above all bounds; not cumulated.
        sum: of all observations.
    """

    counts: tuple[int, ...]
    sum: float


@dataclass(frozen=True, slots=True)
class Family:
    """What one instrument counted so far: `series` for counters and gauges, `distributions` for histograms."""

    name: str
    kind: Kind
    help: str
    label_names: tuple[str, ...]
    series: Mapping[LabelValues, float] = field(default_factory=dict)
    distributions: Mapping[LabelValues, Distribution] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()


class Instrument:
    """What the three kinds share: a name, and label names that every series has values for."""

    kind: Kind

    def __init__(self, name: str, help: str, label_names: Sequence[str], max_series: int) -> None:  # noqa: A002
        self.name, self.help, self.label_names = name, help, tuple(label_names)
        self._max_series = max_series
        if re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name, re.ASCII) is None:
            raise UsageError(f"{name!r} cannot be the name of a metric: letters, digits and underscores can")
        if (self.kind == "counter") != name.endswith("_total") and name not in MISNAMED:
            raise UsageError(f"{name} is a {self.kind}: the names of counters, and no others, end in _total")
        for label in self.label_names:
            if re.fullmatch(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", label, re.ASCII) is None or label in RESERVED_LABELS:
                raise UsageError(f"{label!r} cannot be a label of {name}")
        if len(set(self.label_names)) < len(self.label_names):
            raise UsageError(f"{name} has a label twice: {list(self.label_names)}")

    def _key(self, labels: Mapping[str, str]) -> LabelValues:
        if labels.keys() != set(self.label_names):
            raise UsageError(f"{self.name} has the labels {list(self.label_names)}, not {sorted(labels)}")
        return tuple(str(labels[name])[:MAX_LABEL_CHARS] for name in self.label_names)

    def _has_room(self, known: Mapping[LabelValues, object], key: LabelValues) -> bool:
        # Label values may come from outside: past the bound a new series is not begun, and the old ones go on.
        return key in known or len(known) < self._max_series


class Counter(Instrument):
    """A number that only grows."""

    kind = "counter"

    def __init__(self, name: str, help: str, label_names: Sequence[str], max_series: int) -> None:  # noqa: A002
        super().__init__(name, help, label_names, max_series)
        self._series: dict[LabelValues, float] = {}

    def add(self, amount: float = 1.0, **labels: str) -> None:
        """Count `amount` more; one that is negative or not finite counts nothing."""
        key = self._key(labels)
        if math.isfinite(amount) and amount > 0 and self._has_room(self._series, key):
            self._series[key] = self._series.get(key, 0.0) + amount

    def remove(self, **labels: str) -> None:
        """Forget a series, such as that of a service that is gone."""
        self._series.pop(self._key(labels), None)

    def family(self) -> Family:
        return Family(self.name, self.kind, self.help, self.label_names, dict(self._series))


class Gauge(Instrument):
    """A number that goes up and down."""

    kind = "gauge"

    def __init__(self, name: str, help: str, label_names: Sequence[str], max_series: int) -> None:  # noqa: A002
        super().__init__(name, help, label_names, max_series)
        self._series: dict[LabelValues, float] = {}

    def set(self, value: float, **labels: str) -> None:
        """The series is `value` now; one that is not finite takes it away, for then nothing is known."""
        key = self._key(labels)
        if not math.isfinite(value):
            self._series.pop(key, None)
        elif self._has_room(self._series, key):
            self._series[key] = float(value)

    def set_all(self, values: Mapping[LabelValues, float]) -> None:
        """These are all the series there are: whatever else there was is gone (a service that left, say).

        Raises:
            UsageError: if a key has not one value per label.
        """
        if any(len(key) != len(self.label_names) for key in values):
            raise UsageError(f"{self.name} has the labels {list(self.label_names)}: give each of them a value")
        finite = {
            tuple(str(part)[:MAX_LABEL_CHARS] for part in key): float(value)
            for key, value in values.items()
            if math.isfinite(value)
        }
        self._series = dict(list(finite.items())[: self._max_series])

    def remove(self, **labels: str) -> None:
        """Forget a series, such as that of a service that is gone."""
        self._series.pop(self._key(labels), None)

    def family(self) -> Family:
        return Family(self.name, self.kind, self.help, self.label_names, dict(self._series))


class Histogram(Instrument):
    """How observations spread over bounds, each bound included."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002
        label_names: Sequence[str],
        max_series: int,
        bounds: Sequence[float] = DEFAULT_BOUNDS,
    ) -> None:
        super().__init__(name, help, label_names, max_series)
        self.bounds = tuple(bounds)
        if not self.bounds or list(self.bounds) != sorted(set(self.bounds)) or not all(map(math.isfinite, self.bounds)):
            raise UsageError(f"the bounds of {name} must be finite and rise, not {bounds!r}")
        self._series: dict[LabelValues, tuple[list[int], list[float]]] = {}

    def observe(self, value: float, **labels: str) -> None:
        """Count one observation; one that is not finite is none."""
        key = self._key(labels)
        if not math.isfinite(value) or not self._has_room(self._series, key):
            return
        counts, total = self._series.setdefault(key, ([0] * (len(self.bounds) + 1), [0.0]))
        counts[bisect_left(self.bounds, value)] += 1
        total[0] += value

    def remove(self, **labels: str) -> None:
        """Forget a series, such as that of a service that is gone."""
        self._series.pop(self._key(labels), None)

    def family(self) -> Family:
        distributions = {
            key: Distribution(tuple(counts), total[0]) for key, (counts, total) in list(self._series.items())
        }
        return Family(
            self.name, self.kind, self.help, self.label_names, distributions=distributions, bounds=self.bounds
        )


class Meter:
    """The instruments of one session. Asking for a name again gives the same instrument.

    Args:
        max_series: how many combinations of label values one instrument keeps.
    """

    def __init__(self, *, max_series: int = MAX_SERIES) -> None:
        self._max_series = max_series
        self._instruments: dict[str, Counter | Gauge | Histogram] = {}

    def counter(self, name: str, help: str = "", *, labels: Sequence[str] = ()) -> Counter:  # noqa: A002
        """Raises UsageError: if the name belongs to another kind, or has other labels."""
        instrument = self._instruments.get(name) or Counter(name, help, labels, self._max_series)
        if not isinstance(instrument, Counter) or instrument.label_names != tuple(labels):
            raise self._taken(name)
        self._instruments[name] = instrument
        return instrument

    def gauge(self, name: str, help: str = "", *, labels: Sequence[str] = ()) -> Gauge:  # noqa: A002
        """Raises UsageError: if the name belongs to another kind, or has other labels."""
        instrument = self._instruments.get(name) or Gauge(name, help, labels, self._max_series)
        if not isinstance(instrument, Gauge) or instrument.label_names != tuple(labels):
            raise self._taken(name)
        self._instruments[name] = instrument
        return instrument

    def histogram(
        self,
        name: str,
        help: str = "",  # noqa: A002
        *,
        labels: Sequence[str] = (),
        bounds: Sequence[float] = DEFAULT_BOUNDS,
    ) -> Histogram:
        """Raises UsageError: if the name belongs to another kind, or has other labels or bounds."""
        instrument = self._instruments.get(name) or Histogram(name, help, labels, self._max_series, bounds)
        if (
            not isinstance(instrument, Histogram)
            or instrument.label_names != tuple(labels)
            or instrument.bounds != tuple(bounds)
        ):
            raise self._taken(name)
        self._instruments[name] = instrument
        return instrument

    def families(self) -> list[Family]:
        """What was counted so far, by instrument, in the order in which they were asked for."""
        return [instrument.family() for instrument in list(self._instruments.values())]

    def _taken(self, name: str) -> UsageError:
        known = self._instruments[name]
        return UsageError(f"{name} is a {known.kind} with the labels {list(known.label_names)} already")


__all__ = [
    "MISNAMED",
    "RESERVED_LABELS",
    "Counter",
    "Distribution",
    "Family",
    "Gauge",
    "Histogram",
    "LabelValues",
    "Meter",
]
