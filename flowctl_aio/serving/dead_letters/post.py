"""Rows that were set aside → dead letters, where the settings want them; durable when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from flowctl_aio.batches import EventBatch
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import DeadLetterError, FlowctlError
from flowctl_aio.serving.dead_letters.files import write_lines, write_part
from flowctl_aio.serving.dead_letters.letter import DeadLetter, letter_of, letter_to_event
from flowctl_aio.serving.policy import SetAside
from flowctl_aio.streams.handshake import Role, meet
from flowctl_aio.streams.sink import SinkClient
from flowctl_aio.transport.channel import open_data_channel

# At a time: a letter is a copy of its event, and all events of a batch may be bad.
MAX_LETTERS = 256
POST_TIMEOUT = 30.0


async def post(aside: Sequence[SetAside], component_id: str, config: FlowctlConfig) -> None:
    """Put rows where `config.dead_letters` says; return when they are durable there.

    Raises:
        DeadLetterError: if that cannot be done. Some of them may be there all the same.

    Cancellation: some of them may be there. A file has whole letters only.
    """
    for start in range(0, len(aside), MAX_LETTERS):
        now = datetime.now(UTC)
        try:
            letters = [letter_of(row, component_id, now) for row in aside[start : start + MAX_LETTERS]]
            await _post(letters, config)
        except (OSError, FlowctlError) as error:
            place = config.dead_letters
            raise DeadLetterError(f"{len(aside)} dead letters cannot be written to {place}: {error}") from error


async def _post(letters: Sequence[DeadLetter], config: FlowctlConfig) -> None:
    place = config.dead_letters
    if place.endswith(".jsonl"):
        await run_sync(partial(write_lines, Path(place), letters))
    elif place.endswith(".parquet"):
        await run_sync(partial(write_part, Path(place), letters))
    else:
        with anyio.fail_after(POST_TIMEOUT):
            await _send(letters, config)


async def _send(letters: Sequence[DeadLetter], config: FlowctlConfig) -> None:
    """One epoch at the sink at `config.dead_letters`."""
    batch = EventBatch.from_events(letter_to_event(letter) for letter in letters)
    async with open_data_channel(
        config.dead_letters,
        max_message_bytes=config.max_message_bytes,
        max_inflight_bytes=config.max_inflight_bytes,
        insecure=config.insecure,
        tls=config.client_tls,
        credentials=config.credentials,
    ) as channel:
        sink = SinkClient(channel, await meet(channel, Role.SINK), config)
        try:
            await sink.send(batch)
            ack = await sink.flush()
        finally:
            await sink.abandon()
    if ack is None or ack.failed:
        raise DeadLetterError("the sink did not take all of them")
