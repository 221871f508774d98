"""The metrics of one service, kept as the bytes in which they came.

A plane hears metrics all the time and is seldom asked for them: a beat costs one object here instead of two for each
metric, and what goes into a file is ready.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from flowctl_aio import _wire as wire

MAX_METRICS = 1024


class Metrics(Mapping[str, str]):
    """Names and their values as text; never changed.

    Args:
        names: longest without news first.
        encoded: a v1 heartbeat that holds exactly those.
    """

    __slots__ = ("_names", "encoded")

    def __init__(self, names: tuple[str, ...] = (), encoded: bytes = b"") -> None:
        self._names, self.encoded = names, encoded

    @classmethod
    def decode(cls, encoded: bytes) -> Metrics:
        """What `encoded` was made of.

        Raises:
            google.protobuf.message.DecodeError: if the bytes are something else.
        """
        return cls(tuple(wire.v1.HeartbeatRequest.FromString(encoded).metrics), encoded)

    def updated(self, newer: Mapping[str, str], encoded: Callable[[], bytes] | None = None) -> Metrics:
        """These, with `newer` merged into them name by name.

        Past `MAX_METRICS` names, those that were longest without news are forgotten.

        Args:
            encoded: gives the heartbeat that brought `newer`, if there is one.
        """
        if not newer:
            return self
        # Most services always send the same ones.
        if encoded is not None and len(newer) == len(self._names) and all(map(newer.__contains__, self._names)):
            return Metrics(self._names, encoded())
        kept = [(name, value) for name, value in self.plain().items() if name not in newer]
        merged = dict([*kept, *newer.items()][-MAX_METRICS:])
        return Metrics(tuple(merged), wire.v1.HeartbeatRequest(metrics=merged).SerializeToString())

    def __getitem__(self, name: str) -> str:
        metrics = wire.v1.HeartbeatRequest.FromString(self.encoded).metrics
        if name not in metrics:  # reading a protobuf map makes an entry
            raise KeyError(name)
        return metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Metrics({self.plain()!r})"

    def plain(self) -> dict[str, str]:
        """As a dict: for whoever wants more than one of them."""
        metrics = wire.v1.HeartbeatRequest.FromString(self.encoded).metrics
        return {name: metrics[name] for name in self._names}
