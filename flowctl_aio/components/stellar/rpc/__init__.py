"""Ledgers from a Stellar RPC server: one call at a time, and ranges that may follow the tip."""

from __future__ import annotations

from flowctl_aio.components.stellar.rpc.answers import Window
from flowctl_aio.components.stellar.rpc.client import RpcClient, open_client
from flowctl_aio.components.stellar.rpc.follower import FollowOptions, RpcLedgerStream
from flowctl_aio.components.stellar.rpc.server import RpcServer

__all__ = ["FollowOptions", "RpcClient", "RpcLedgerStream", "RpcServer", "Window", "open_client"]
