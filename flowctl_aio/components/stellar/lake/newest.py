"""Which object of a lake is the newest, by the names in it.

Names count down, so that the newest comes first in a listing. A name is believed only if it is exactly the one that
the lake's layout gives to the ledger it tells.

Source: SEP-54, "Data Lake Structure".
"""

from __future__ import annotations

from flowctl_aio.components.stellar.lake.keys import LakeLayout, parse_object_name, parse_partition_name
from flowctl_aio.components.stellar.lake.store import LakeStore


async def find_newest(store: LakeStore, layout: LakeLayout) -> int | None:
    """Gives the first ledger of the newest object; None if there is none.

    Raises:
        LakeError: if listing is denied.
        PassingError: if anything else goes wrong.

    Cancellation: gives the listing up; nothing is kept.
    """
    for partition in await _partitions(store, layout):
        for name in await store.list_newest(partition):
            parsed = parse_object_name(name)
            if parsed is not None and layout.key_of(parsed[0]).rpartition("/")[2] == name:
                return parsed[0]
    return None


async def _partitions(store: LakeStore, layout: LakeLayout) -> list[str]:
    """The folders of a lake, newest first; an exporter may have made one before its first object."""
    if layout.batches_per_partition == 1:
        return [""]
    found = []
    for name in await store.list_folders():
        start = parse_partition_name(name)
        if start is not None and layout.partition_of(start) == name:
            found.append((start, name))
    return [name for _, name in sorted(found, reverse=True)]
