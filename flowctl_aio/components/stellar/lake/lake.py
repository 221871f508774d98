"""A data lake of Stellar ledgers: open it, check it, read a range of it.

Takes a URL and the user's settings, gives ledgers as they were stored. It knows nothing of what is in a ledger beyond
its header, and nothing of batches or pipelines.

Source: SEP-54.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.to_thread

from flowctl_aio.components.stellar.lake.keys import LAST_LEDGER, LakeLayout
from flowctl_aio.components.stellar.lake.manifest import MANIFEST_KEY, Manifest, decode_manifest, settle_manifest
from flowctl_aio.components.stellar.lake.newest import find_newest
from flowctl_aio.components.stellar.lake.objects import MAX_OBJECT_BYTES, decode_object
from flowctl_aio.components.stellar.lake.reader import LedgerStream, ReadOptions
from flowctl_aio.components.stellar.lake.store import LakeStore, open_store, with_retries
from flowctl_aio.errors import ConfigError, LakeError

# zstd gives up the GIL: two threads decompress far faster than one process parses.
_DECODING_THREADS = 2


class Lake:
    """A lake whose manifest was read and agrees with the settings. Holds no connection: there is nothing to close.

    Attributes:
        url: as it was given.
        passphrase: of the lake's network; empty when neither a manifest nor the user told.
        layout: how ledgers are cut into objects.
        bytes_read: stored (compressed) bytes read so far, over all ranges, objects that had to be read again included.
    """

    def __init__(self, store: LakeStore, manifest: Manifest, layout: LakeLayout) -> None:
        self.url = store.url
        self.passphrase = manifest.passphrase
        self.layout = layout
        self.bytes_read = 0
        self._store = store

    def __repr__(self) -> str:
        return f"<Lake {self.url} {self.layout.ledgers_per_batch} x {self.layout.batches_per_partition}>"

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        network: str | None = None,
        ledgers_per_batch: int | None = None,
        batches_per_partition: int | None = None,
        anonymous: bool = False,
        region: str | None = None,
        extension: str | None = None,
        retries: int = 3,
        retry_interval: float = 1.0,
    ) -> Lake:
        """Opens a lake.

        The manifest is read first. A lake without one (they were introduced late) needs both sizes set.
        What the objects' names end with is found out by one listing, unless `extension` says it or the store does
        not list; then it is what SEP-54 says, `xdr.zst`.

        Args:
            url: a folder's path, or a URL of scheme file, s3, gs, http or https.
            network: name or passphrase that the lake must have.
            ledgers_per_batch: ledgers per object.
            batches_per_partition: objects per partition.
            anonymous: send no credentials (public buckets).
            region: of an S3 bucket.
            extension: like `xdr.zst`.
            retries: attempts after a first one that failed.
            retry_interval: seconds before the second attempt, doubled for each one after it.

        Raises:
            LakeError: if there is no such lake, it cannot be reached, it is empty, or it contradicts a setting.
            ConfigError: if a setting is wrong in itself.

        Cancellation: gives the request up; nothing is kept.

        Source: SEP-54, "Configuration File".
        """
        store = open_store(url, anonymous=anonymous, region=region)
        patiently = partial(with_retries, retries=retries, interval=retry_interval)
        data = await patiently(lambda: store.get(MANIFEST_KEY), what=f"{store.url}/{MANIFEST_KEY}")
        found = None if data is None else decode_manifest(data, lake=store.url)
        if extension is None and store.lists:
            extension = await patiently(
                lambda: _find_extension(store, has_manifest=found is not None), what=f"the list of {store.url}"
            )
        manifest = settle_manifest(
            found,
            lake=store.url,
            network=network,
            ledgers_per_batch=ledgers_per_batch,
            batches_per_partition=batches_per_partition,
        )
        sizes = manifest.ledgers_per_batch, manifest.batches_per_partition
        ending = (extension or "").lstrip(".")
        return cls(store, manifest, LakeLayout(*sizes, ending) if ending else LakeLayout(*sizes))

    async def find_latest(self, *, retries: int = 3, retry_interval: float = 1.0) -> int:
        """Gives the last ledger of the newest object that is there now.

        Args:
            retries: attempts after a first one that failed, for each question.
            retry_interval: seconds before the second attempt, doubled for each one after it.

        Raises:
            LakeError: if the lake holds no ledgers, cannot be read, or does not tell what is in it: a web server.
            CodecError: if the newest object is no batch of ledgers.

        Cancellation: gives the request up; nothing is kept.
        """
        if not self._store.lists:
            raise LakeError(f"{self.url} does not list what it holds, so its latest ledger is not known: name a ledger")
        patiently = partial(with_retries, retries=retries, interval=retry_interval)
        first = await patiently(lambda: find_newest(self._store, self.layout), what=f"the list of {self.url}")
        if first is None:
            raise LakeError(f"{self.url} holds no ledgers yet")
        key = self.layout.key_of(first)
        data = await patiently(lambda: self._store.get(key), what=f"{self.url}/{key}")
        if data is None:
            raise LakeError(f"{self.url}/{key} was listed, and is gone")
        self._count(len(data))
        # The name tells what may be in it; at an edge it holds less.
        _, last = self.layout.batch_of(first)
        decode = partial(decode_object, data, key=key, first=first, last=last)
        return (await anyio.to_thread.run_sync(decode))[-1].sequence

    @asynccontextmanager
    async def open_ledgers(
        self,
        first: int,
        last: int | None = None,
        *,
        prefetch_objects: int = 10,
        prefetch_bytes: int = 256 << 20,
        retries: int = 3,
        retry_interval: float = 5.0,
        poll_interval: float = 2.0,
        verify_chain: bool = True,
        max_object_bytes: int = MAX_OBJECT_BYTES,
    ) -> AsyncIterator[LedgerStream]:
        """Reads a range of ledgers, in order, without gaps.

        Objects are fetched ahead of the reader. Never more than `prefetch_objects` are on their way or waiting,
        and none is asked for while `prefetch_bytes` wait; a reader that is slow stops the fetching.

        Args:
            first: the first ledger wanted.
            last: the last ledger wanted, inclusive; None follows the lake as it grows.
            prefetch_objects: objects in flight and waiting.
            prefetch_bytes: decompressed bytes waiting, beyond which nothing new is asked for.
            retries: attempts after a first one that failed, for each object.
            retry_interval: seconds before the second attempt, doubled for each one after it up to a minute, jittered.
            poll_interval: seconds between two looks for a ledger that is not written yet.
            verify_chain: check that each ledger names the hash of the one before it.
            max_object_bytes: what one object may decompress to.

        Yields:
            The ledgers, as an async iterator. Its errors are those of `LedgerStream.__anext__`:
            a hole is told when it is reached, after all ledgers before it.

        Raises:
            ConfigError: if the range or a bound is wrong.

        Cancellation: leaving the context in any way ends all requests; nothing is left running.
        """
        _check_range(first, last, prefetch_objects=prefetch_objects, retries=retries, poll_interval=poll_interval)
        options = ReadOptions(
            prefetch_objects=prefetch_objects,
            prefetch_bytes=prefetch_bytes,
            retries=retries,
            retry_interval=retry_interval,
            poll_interval=poll_interval,
            verify_chain=verify_chain,
            max_object_bytes=max_object_bytes,
        )
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            stream = LedgerStream(
                self._store,
                self.layout,
                first,
                last,
                tasks=tasks,
                threads=anyio.CapacityLimiter(_DECODING_THREADS),
                count=self._count,
                options=options,
            )
            try:
                yield stream
            except Exception as error:  # noqa: BLE001 - raised below: as itself, not in the task group's group
                failure = error
            finally:
                stream.close_nowait()
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _count(self, stored_bytes: int) -> None:
        self.bytes_read += stored_bytes


def _check_range(first: int, last: int | None, *, prefetch_objects: int, retries: int, poll_interval: float) -> None:
    problems = []
    if not 1 <= first <= LAST_LEDGER:
        problems.append(f"first must be a ledger, from 1 on, not {first}")
    if last is not None and not first <= last <= LAST_LEDGER:
        problems.append(f"last must be a ledger, not before first ({first}), not {last}")
    if prefetch_objects < 1:
        problems.append(f"prefetch_objects must be at least 1, not {prefetch_objects}")
    if retries < 0:
        problems.append(f"retries must be at least 0, not {retries}")
    if not poll_interval > 0:
        problems.append(f"poll_interval must be seconds above 0, not {poll_interval}")
    if problems:
        raise ConfigError(*problems)


async def _find_extension(store: LakeStore, *, has_manifest: bool) -> str | None:
    try:
        listed = await store.find_extension()
    except LakeError:
        # A bucket need not let everyone list it; the manifest shows that a lake is there.
        if has_manifest:
            return None
        raise
    if listed is None and not has_manifest:
        raise LakeError(f"{store.url} is no lake: it holds neither {MANIFEST_KEY} nor ledgers")
    return listed
