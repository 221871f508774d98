"""Credits between real ends: our own, peers from before them, and peers built on the generated stubs that give them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import grpc
import grpc.aio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.batches import EventBatch
from flowctl_aio.codec.envelope import (
    CREDIT_CONTENT_TYPE,
    END_CONTENT_TYPE,
    Credit,
    End,
    Envelope,
    encode_credit,
    encode_end,
    encode_frame,
)
from flowctl_aio.component import Processor
from flowctl_aio.errors import PeerError
from flowctl_aio.types import Event

pytestmark = pytest.mark.anyio

BEFORE_CREDITS = (("flowctl-aio", "arrow,end-marker"),)
WITH_CREDITS = (("flowctl-aio", "arrow,credits,end-marker"),)
METHOD = "/flowctl.EventProcessor/Process"


def batch(number: int = 0) -> EventBatch:
    return EventBatch.from_events([Event("E", b"payload", id=str(number))])


def frame(number: int) -> bytes:
    return encode_frame(Envelope.EVENT, batch(number), number=number, limit=10**6)


def kind(data: bytes) -> str:
    return wire.Event.FromString(data).metadata["content-type"]


async def inputs(count: int) -> AsyncIterator[EventBatch]:
    for number in range(count):
        yield batch(number)


class Echo(Processor):
    async def process(self, batch):
        return batch


class Late(Processor):
    """Gives everything when it has seen the last input."""

    async def process(self, batch):
        return None

    async def flush(self) -> Sequence[EventBatch]:
        return [batch(number) for number in range(50)]


class Many(Processor):
    """Gives many outputs for its first input."""

    given = 0

    async def process(self, batch):
        for _ in range(100):
            self.given += 1
            yield batch


@asynccontextmanager
async def talking(address: str, metadata) -> AsyncIterator[grpc.aio.StreamStreamCall]:
    """A bare call of `Process`: bytes in, bytes out."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(METHOD)(metadata=metadata)
        try:
            yield call
        finally:
            call.cancel()


async def test_every_batch_passes_in_order_however_few_may_be_under_way(serve, drive):
    session = await serve(Echo(), max_inflight=1, max_inflight_bytes=1)
    async with (
        drive(max_inflight=1, max_inflight_bytes=1) as driver,
        driver.processor(session.endpoint) as processor,
        processor.stream(inputs(200)) as stream,
    ):
        assert [row.id async for made in stream for row in made] == [str(number) for number in range(200)]


async def test_outputs_that_come_after_the_last_input_are_bounded_too(serve, drive, until):
    component = Many()
    session = await serve(component)
    async with (
        drive(max_inflight=4) as driver,
        driver.processor(session.endpoint) as processor,
        processor.stream(inputs(1)) as stream,
    ):
        for read in range(1, 20):
            await anext(stream)
            await until(lambda read=read: component.given >= read + 4)
            await anyio.sleep(0.005)
            assert component.given <= read + 4 + 1, "four may be under way, and one waits"
        assert len([made async for made in stream]) == 100 - 19


async def test_a_client_from_before_credits_gets_none_and_needs_none(serve):
    session = await serve(Echo(), max_inflight=2)
    async with talking(session.endpoint, BEFORE_CREDITS) as call:
        for number in range(20):
            await call.write(frame(number))
        await call.write(encode_end(Envelope.EVENT, End(20, 20)))
        await call.done_writing()
        kinds = [kind(data) async for data in call]
    assert CREDIT_CONTENT_TYPE not in kinds
    assert len(kinds) == 21
    assert kinds[-1] == END_CONTENT_TYPE


async def test_a_processor_from_before_credits_gets_none_and_sees_the_half_close(driver):
    heard: list[str] = []

    async def ping(request, context):
        await context.send_initial_metadata(BEFORE_CREDITS)
        return wire.Pong().SerializeToString()

    async def process(requests, context):
        async for data in requests:
            heard.append(kind(data))
            if heard[-1] != END_CONTENT_TYPE:
                await context.write(data)
        heard.append("half-close")
        await context.write(encode_end(Envelope.EVENT, End(20, 20)))

    server = grpc.aio.server()
    handlers = {
        "Ping": grpc.unary_unary_rpc_method_handler(ping),
        "Process": grpc.stream_stream_rpc_method_handler(process),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("flowctl.EventProcessor", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with (
            driver.processor(f"127.0.0.1:{port}") as processor,
            processor.stream(inputs(20)) as stream,
        ):
            assert len([made async for made in stream]) == 20
    finally:
        await server.stop(None)
    assert CREDIT_CONTENT_TYPE not in heard
    assert heard[-2:] == [END_CONTENT_TYPE, "half-close"]


async def test_a_processor_sends_what_it_has_credits_for_and_goes_on_with_more(serve, until):
    component = Many()
    session = await serve(component)
    async with talking(session.endpoint, WITH_CREDITS) as call:
        await call.write(encode_credit(Envelope.EVENT, Credit(3, 10**6)))
        await call.write(frame(0))
        assert kind(await call.read()) == CREDIT_CONTENT_TYPE
        for allowed in (3, 10):
            await call.write(encode_credit(Envelope.EVENT, Credit(allowed, 10**6)))
            await until(lambda allowed=allowed: component.given == allowed + 1)
            await anyio.sleep(0.05)
            assert component.given == allowed + 1, "one more is made, and waits"
        for _ in range(10):
            await call.read()


async def test_a_client_that_can_give_no_more_credits_gets_the_rest_without(serve):
    session = await serve(Late())
    async with talking(session.endpoint, WITH_CREDITS) as call:
        await call.write(encode_credit(Envelope.EVENT, Credit(2, 10**6)))
        await call.write(encode_end(Envelope.EVENT, End(0, 0)))
        await call.done_writing()
        kinds = [kind(data) async for data in call if kind(data) != CREDIT_CONTENT_TYPE]
    assert len(kinds) == 51


async def test_leaving_a_stream_while_a_batch_waits_for_its_credit_harms_no_other(serve, drive):
    session = await serve(Echo(), max_inflight=1)
    async with drive() as driver, driver.processor(session.endpoint) as processor:
        async with processor.stream(endless()) as stream:
            await anext(stream)
        # The next stream on the same connection is as good as the first.
        async with processor.stream(inputs(5)) as stream:
            assert len([made async for made in stream]) == 5


async def endless() -> AsyncIterator[EventBatch]:
    while True:
        yield batch()


async def test_a_broken_credit_ends_the_stream_and_says_why(serve):
    session = await serve(Echo())
    broken = wire.Event(metadata={"content-type": CREDIT_CONTENT_TYPE, "batches": "many"})
    async with talking(session.endpoint, WITH_CREDITS) as call:
        await call.write(broken.SerializeToString())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
    assert "the metadata batches is 'many', not a count" in caught.value.details()


async def test_a_row_that_says_it_is_a_credit_is_not_sent_as_a_plain_message(serve):
    class Odd(Processor):
        async def process(self, batch):
            return EventBatch.from_events([Event("E", b"", content_type=CREDIT_CONTENT_TYPE)])

    session = await serve(Odd())
    async with talking(session.endpoint, ()) as call:
        await call.write(wire.Event(event_type="E").SerializeToString())
        await call.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
    assert "cannot travel as a plain message" in caught.value.details()


async def test_a_fault_while_a_batch_waits_for_its_credit_reaches_the_caller(serve, drive):
    class Failing(Processor):
        async def process(self, batch):
            raise ValueError

    session = await serve(Failing(), max_inflight=1)
    async with (
        drive() as driver,
        driver.processor(session.endpoint) as processor,
        processor.stream(endless()) as stream,
    ):
        with pytest.raises(PeerError, match="ValueError in"):
            await anext(stream)
