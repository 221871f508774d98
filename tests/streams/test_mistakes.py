"""What is asked wrongly is named before anything goes over the wire, and leaves the session fit for use."""

from __future__ import annotations

import pytest

from flowctl_aio import Cursor, LedgerRange, Pipeline
from flowctl_aio.errors import ConfigError, UsageError

from .components import Echo, GatedSource, Ledger, event

pytestmark = pytest.mark.anyio

REQUESTS = {
    "start is a ledger from 0 to 4294967295 or None, not -1": {"start": -1},
    "start is a ledger .* not 'a'": {"start": "a"},
    "end is a ledger .* not 4294967296": {"start": 1, "end": 2**32},
    "end is a ledger .* not 1.5": {"end": 1.5},
    "network is a text, not 5": {"network": 5},
    "resume_token is a text, not 63092982": {"resume_token": 63_092_982},
    "params are texts by name, not str": {"params": "a=b"},
    "params are texts by name, and that of 'a' is int": {"params": {"a": 1}},
}


@pytest.mark.parametrize("said", REQUESTS)
async def test_a_stream_that_cannot_be_asked_for_is_refused_by_the_client(serve, driver, said):
    session = await serve(GatedSource())
    async with driver.source(session.endpoint) as source:
        for ask in (source.stream, source.resuming_stream):
            with pytest.raises(UsageError, match=said):
                ask(**REQUESTS[said])
        session.component.gate.set()
        assert [len(batch) async for batch in source.stream(1, 2)] == [1, 1]


async def test_what_a_request_says_wrongly_is_told_without_its_values(serve, driver):
    session = await serve(GatedSource())
    async with driver.source(session.endpoint) as source:
        with pytest.raises(UsageError) as caught:
            source.stream(params={"password": b"hunter2"})
    assert "hunter2" not in str(caught.value)


async def test_all_that_is_wrong_with_a_request_is_told_at_once(serve, driver):
    session = await serve(GatedSource())
    async with driver.source(session.endpoint) as source:
        with pytest.raises(UsageError, match=r"start .*; end .*; network "):
            source.stream("a", "b", network=1)


PLACES = {"5": 5, "2.5": 2.5, "120": b"x:1"}


@pytest.mark.parametrize("said", PLACES)
async def test_an_address_that_is_no_text_is_named(driver, said):
    with pytest.raises(ConfigError, match=f"^{said} is not an endpoint: give host:port as text"):
        async with driver.source(PLACES[said]):
            pass


async def test_a_dialect_is_not_taken_by_its_name(serve, driver):
    session = await serve(Echo())
    with pytest.raises(UsageError, match=r"a dialect is one of Dialect\.V1, Dialect\.CLASSIC and None, not 'v1'"):
        async with driver.processor(session.endpoint, dialect="v1"):
            pass


@pytest.mark.parametrize("resume", [5, {"cursor": "7"}, LedgerRange(1)])
async def test_what_a_stream_cannot_resume_behind_is_named(serve, driver, resume):
    session = await serve(GatedSource())
    with pytest.raises(UsageError, match="resumes behind a Cursor, a checkpoint or a resume token, not"):
        async with driver.source(session.endpoint, resume=resume):
            pass


@pytest.mark.parametrize("inputs", [None, [], event(1), (event(sequence) for sequence in range(3))])
async def test_inputs_that_are_no_async_iterable_are_named(serve, driver, inputs):
    session = await serve(Echo())
    async with driver.processor(session.endpoint) as processor:
        with pytest.raises(UsageError, match=f"async iterable of batches, not {type(inputs).__name__}"):
            processor.stream(inputs)


@pytest.mark.parametrize("limit", ["epoch_batches", "epoch_bytes", "epoch_interval"])
async def test_a_limit_of_epochs_that_is_no_number_is_named(driver, limit):
    with pytest.raises(ConfigError, match=f"{limit} must be above 0, or None for no limit, not '9'"):
        driver.sink("127.0.0.1:1", **{limit: "9"})


async def test_a_listener_that_cannot_be_called_is_named_before_a_row_is_sent(serve, driver):
    session = await serve(Ledger())
    with pytest.raises(UsageError, match="on_ack is an async function of an acknowledgement, not 5"):
        async with driver.sink(session.endpoint, on_ack=5):
            pass


async def test_a_listener_that_is_not_async_is_named_and_the_epoch_is_durable(serve, driver):
    sink, heard = Ledger(), []
    session = await serve(sink)
    async with driver.sink(session.endpoint, on_ack=heard.append) as client:
        await client.send(event(1))
        with pytest.raises(UsageError, match="on_ack is an async function, and gave None"):
            await client.flush()
    assert (sink.committed, [ack.last_cursor for ack in heard]) == ([[1]], [Cursor(1)])


async def test_a_pipeline_names_what_it_cannot_run(driver):
    with pytest.raises(UsageError, match="driven by a FlowctlSession, not 5"):
        Pipeline(5)
    with pytest.raises(UsageError, match="a list of addresses, not "):
        Pipeline(driver, processors="127.0.0.1:1")
    with pytest.raises(UsageError, match="a checkpoint is a path, or has `load` and `save`, not 5"):
        Pipeline(driver, checkpoint=5)
    for ledgers in (5, (1, 5), range(1, 5)):
        with pytest.raises(UsageError, match="runs over a LedgerRange, not "):
            await Pipeline(driver, source="127.0.0.1:1").run(ledgers)
