"""What worker processes are given in tests: a module that they can import."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from flowctl_aio.batches import EventBatch
from flowctl_aio.component import Processor
from flowctl_aio.errors import LedgerDecodeError
from flowctl_aio.types import Cursor, Event


def event(sequence: int, payload: bytes = b"") -> EventBatch:
    return EventBatch.from_events([Event("E", payload, cursor=Cursor(sequence))])


def number(batch) -> int:
    return batch.first_cursor.sequence


class Working(Processor):
    """What is asked for by the payload of a batch; by default the batch comes back."""

    processes = 2

    def __init__(self, folder: Path | None = None, **attributes) -> None:
        self.folder = folder
        self.__dict__.update(attributes)

    def work(self, batch):
        what = next(iter(batch)).payload.decode() if isinstance(batch, EventBatch) else ""
        return getattr(self, what or "same")(batch)

    def same(self, batch):
        return batch

    def nothing(self, batch):
        return None

    def twice(self, batch):
        yield batch
        yield batch

    def pid(self, batch):
        return event(number(batch), str(os.getpid()).encode())

    def own(self, batch):
        rows = batch.record_batch.select(["payload"]).replace_schema_metadata(None)
        return EventBatch(rows, event_type="Own", first_cursor=batch.first_cursor, last_cursor=Cursor(9, 3))

    def picky(self, batch):
        if any(row.cursor.index == 1 for row in batch):
            raise ValueError("a bad row")
        return batch

    def text(self, batch):
        sys.stdout.write("not into the pipe\n")
        sys.stdout.flush()
        return "rows"

    def value(self, batch):
        raise ValueError("token=abc123")

    def ledger(self, batch):
        raise LedgerDecodeError("it is odd", ledger=7, offset=8)

    def local(self, batch):
        class LocalError(Exception):
            pass

        raise LocalError("token=abc123")

    def killed(self, batch):
        os.kill(os.getpid(), signal.SIGKILL)

    def left(self, batch):
        os._exit(3)

    def wait(self, batch):
        """Until the test says go on, so that the order in which workers finish is that of the test."""
        assert self.folder is not None
        mark = self.folder / str(number(batch))
        (self.folder / f"{number(batch)}.begun").touch()
        while not mark.exists():
            time.sleep(0.002)
        return batch


class Counting(Working):
    """Counts what its workers made, here, where the session is."""

    made = 0

    async def worked(self, batch, answer):
        self.made += answer
        return event(number(batch), str(os.getpid()).encode())

    def work(self, batch):
        return len(batch)


def rows_of(batch):
    return batch.slice(0, 1)


class Static(Processor):
    """Cannot be pickled itself."""

    processes = 1
    work = staticmethod(rows_of)

    def __init__(self) -> None:
        self.secret = lambda: None


class Unfit(Static):
    def work(self, batch):
        return None
