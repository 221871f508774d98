"""A server with one method of each kind, and how to call them."""

from __future__ import annotations

from flowctl_aio import _wire as wire
from flowctl_aio.transport.call import Channel, call_unary, open_call
from flowctl_aio.transport.channel import open_data_channel
from flowctl_aio.transport.server import BidiMethod, ClientStreamMethod, ServerStreamMethod, UnaryMethod

KINDS = ("Unary", "Down", "Up", "Both")
MIB = 1024 * 1024


class Echoes:
    """Answers calls of every kind, and counts those that reach it."""

    def __init__(self) -> None:
        self.reached = 0

    async def unary(self, request: wire.Empty) -> wire.Pong:
        self.reached += 1
        return wire.Pong()

    async def down(self, request, call) -> None:
        self.reached += 1
        await call.write(b"down")

    async def up(self, call) -> wire.Pong:
        self.reached += 1
        while await call.read() is not None:
            pass
        return wire.Pong()

    async def both(self, call) -> None:
        self.reached += 1
        while (message := await call.read()) is not None:
            await call.write(message)

    def services(self, name: str = "svc"):
        return {
            name: {
                "Unary": UnaryMethod(self.unary, wire.Empty),
                "Down": ServerStreamMethod(self.down, wire.Empty),
                "Up": ClientStreamMethod(self.up),
                "Both": BidiMethod(self.both),
            }
        }


async def ask(channel: Channel, kind: str = "Unary", service: str = "svc") -> None:
    """Call a method of that kind, to its end."""
    method = f"/{service}/{kind}"
    if kind == "Unary":
        await call_unary(channel, method, wire.Empty(), wire.Pong, timeout=5)
        return
    async with open_call(channel, method, b"" if kind == "Down" else None, answers=kind != "Up") as call:
        if kind == "Up":
            await call.done_writing()
            await call.result()
            return
        if kind == "Both":
            await call.write(b"both")
            await call.done_writing()
        assert await call.read() == kind.lower().encode()
        assert await call.read() is None


def dial(endpoint: str, **security):
    return open_data_channel(endpoint, max_message_bytes=MIB, **security)
