"""Rows of every kind, for hypothesis."""

from datetime import UTC

from hypothesis import strategies as st

from flowctl_aio.types import Cursor, Event, RawLedger

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
moments = st.datetimes(timezones=st.just(UTC))
cursors = st.builds(Cursor, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
metadata = st.dictionaries(texts, texts, max_size=3)
ledgers = st.builds(RawLedger, st.integers(0, 2**32 - 1), st.binary(max_size=60), st.none() | moments, texts, metadata)
events = st.builds(
    Event,
    event_type=texts,
    payload=st.binary(max_size=60),
    id=texts,
    schema_version=st.integers(0, 2**32 - 1),
    timestamp=st.none() | moments,
    metadata=metadata,
    content_type=texts,
    source=texts,
    cursor=st.none() | cursors,
)
