"""Keeps events as Parquet files, in one folder for each day on which they happened.

`ArrowAnalyticsSink` is a sink like one of your own: it is written on the public API alone.
"""

from __future__ import annotations

from .sink import ArrowAnalyticsSink

__all__ = ["ArrowAnalyticsSink"]
