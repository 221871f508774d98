"""A processor that changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flowctl_aio import EventBatch, LedgerBatch, Processor


class PassThrough(Processor):
    """Gives each batch on as it came, in the same order.

    A runner such as `flowctl run` wires sources to processors and processors to sinks, and where there is
    no processor it wires nothing, without a word.

    Args:
        event_types: what it says that it takes and gives; none for whatever comes.
    """

    name = "passthrough"
    description = "Gives on what it gets"

    def __init__(self, event_types: Sequence[str] = (), *, component_id: str = "passthrough") -> None:
        self.component_id = component_id
        self.inputs = self.outputs = tuple(event_types)
        self._rows = self._batches = 0

    async def process(self, batch: LedgerBatch | EventBatch) -> LedgerBatch | EventBatch:
        """The batch itself.

        Cancellation: does not wait, so it cannot be.
        """
        self._rows += len(batch)
        self._batches += 1
        return batch

    def metrics(self) -> Mapping[str, float]:
        return {"events_processed_total": self._rows, "batches_generated_total": self._batches}
