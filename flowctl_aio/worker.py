"""A worker process: reads batches from its standard input, works on them, and writes what it made of them back.

It is a program of its own, started afresh and never forked, and it ends with its standard input, so with its parent.
A message is a length and a pickle in which each batch is an Arrow stream. It knows neither sessions nor gRPC.
"""

from __future__ import annotations

import inspect
import io
import os
import pickle
import runpy
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from threading import Thread
from types import ModuleType
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from flowctl_aio.batches import Batch, EventBatch, LedgerBatch
from flowctl_aio.codec.arrow import write_frame
from flowctl_aio.errors import ComponentError
from flowctl_aio.types import Cursor

# How long a worker whose parent has gone may go on with the batch it has, in seconds.
ORPHAN_GRACE = 1.0
# The name that a parent's main module has in its workers, so that its `if __name__ == "__main__"` does not hold.
MAIN = "__mp_main__"
_LENGTH = struct.Struct("<Q")
_am_i_one = False


def is_worker() -> bool:
    """Whether this process is a worker: it must not start workers while it imports what it was given."""
    return _am_i_one


# Messages


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if type(value) is LedgerBatch:
            return _ledgers, (_frame(value), dict(value.trace))
        if type(value) is EventBatch:
            return _events, (
                _frame(value),
                value.event_type,
                value.first_cursor,
                value.last_cursor,
                dict(value.trace),
            )
        return NotImplemented


def dumps(value: Any) -> bytes:
    """Pickle a value; batches in it go as Arrow, with cursors, event type and trace."""
    out = io.BytesIO()
    _Pickler(out, pickle.HIGHEST_PROTOCOL).dump(value)
    return out.getvalue()


def loads(message: bytes | bytearray) -> Any:
    """The value of a message. Only for those of our own processes: a pickle may run any code."""
    return pickle.loads(message)  # noqa: S301


def write_message(pipe: io.RawIOBase, message: bytes) -> None:
    """Write all of it.

    Raises:
        OSError: if nobody reads any more.
    """
    for part in (_LENGTH.pack(len(message)), message):
        view = memoryview(part)
        while view:
            view = view[pipe.write(view) :]


def read_message(pipe: io.RawIOBase) -> bytearray | None:
    """The next message; None at the end, also if that comes in the middle of one."""
    if (head := _read(pipe, _LENGTH.size)) is None:
        return None
    return _read(pipe, _LENGTH.unpack(head)[0])


def _read(pipe: io.RawIOBase, size: int) -> bytearray | None:
    message = bytearray(size)
    view = memoryview(message)
    while view:
        if not (count := pipe.readinto(view)):
            return None
        view = view[count:]
    return message


def _frame(batch: Batch) -> pickle.PickleBuffer:
    return pickle.PickleBuffer(write_frame(batch.record_batch))


def _rows(frame: bytes) -> pa.RecordBatch:
    return ipc.open_stream(pa.py_buffer(frame)).read_next_batch()


def _ledgers(frame: bytes, trace: Mapping[str, str]) -> LedgerBatch:
    batch = LedgerBatch(_rows(frame))
    batch.trace = trace
    return batch


def _events(
    frame: bytes, event_type: str, first: Cursor | None, last: Cursor | None, trace: Mapping[str, str]
) -> EventBatch:
    batch = EventBatch(_rows(frame), event_type=event_type, first_cursor=first, last_cursor=last)
    batch.trace = trace
    return batch


# The process


def main() -> None:
    """Work until standard input ends. What user code prints goes to standard error."""
    global _am_i_one
    _am_i_one = True
    # Ctrl-C and a service manager reach it too; but its parent drains first, and takes it along.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    requests, answers = io.FileIO(os.dup(0), "rb"), io.FileIO(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    waiting: SimpleQueue[bytearray | None] = SimpleQueue()
    # In a thread, so that the end is seen also while there is work.
    Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    work: Callable[[Batch], Any] | None = None
    while (request := waiting.get()) is not None:
        if work is None:
            answer, work = _start(request)
        else:
            answer = _work(work, request)
        try:
            write_message(answers, answer)
        except OSError:
            return  # the parent has gone


def _listen(requests: io.RawIOBase, waiting: SimpleQueue[bytearray | None]) -> None:
    while (request := read_message(requests)) is not None:
        waiting.put(request)
    waiting.put(None)
    time.sleep(ORPHAN_GRACE)
    os._exit(1)


def _start(request: bytearray) -> tuple[bytes, Callable[[Batch], Any] | None]:
    try:
        (kind, name), arguments, work = loads(request)
        if kind:
            sys.argv = arguments
            _import_main(kind, name)
        return dumps((True, os.getpid())), loads(work)
    except Exception as error:  # noqa: BLE001 - it is the answer
        return _failure(error), None


def _import_main(kind: str, name: str) -> None:
    """Run the parent's main module, as far as it runs when it is imported, for what is defined in it."""
    module = ModuleType(MAIN)
    sys.modules["__main__"] = sys.modules[MAIN] = module
    run = runpy.run_module if kind == "module" else runpy.run_path
    module.__dict__.update(run(name, run_name=MAIN))


def _work(work: Callable[[Batch], Any], request: bytearray) -> bytes:
    try:
        made = work(loads(request))
        return dumps((True, list(made) if inspect.isgenerator(made) else made))
    except Exception as error:  # noqa: BLE001 - it is the answer
        return _failure(error)


def _failure(error: Exception) -> bytes:
    """The error as an answer; one that cannot cross is told by its kind, as its words may be secret."""
    note = f"in worker process {os.getpid()}:\n{''.join(traceback.format_exception(error))}"
    error.add_note(note)
    try:
        answer = dumps((False, error))
        loads(answer)
    except Exception:  # noqa: BLE001 - whatever its own way of pickling does
        substitute = ComponentError(f"{type(error).__name__} in a worker process")
        substitute.add_note(note)
        return dumps((False, substitute))
    return answer
