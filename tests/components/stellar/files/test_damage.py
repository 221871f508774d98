"""Damaged files: an error of ours or the ledgers as they were, never another error."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowctl_aio.components.stellar.files.containers import HEAD_BYTES, first_sequence, form_of, read_ledgers
from flowctl_aio.components.stellar.files.unpacking import open_bytes
from flowctl_aio.errors import CodecError

from .forms import FORMS, PACKINGS, ledgers

WHOLE = {
    f"{form} {packing}": pack(write(ledgers(5) if form == "bare" else ledgers(5, 6)))
    for form, write in FORMS.items()
    for packing, pack in PACKINGS.items()
}


def look_and_read(path) -> int:
    """What opening and reading do, without threads."""
    with open_bytes(path) as data:
        head = data.read(HEAD_BYTES)
    form = form_of(head)
    if form is None:
        return 0
    if form != "answer":
        first_sequence(head, form)
    with open_bytes(path) as data:
        return sum(1 for _ in read_ledgers(data, form))


def test_the_whole_ones_are_read(tmp_path):
    for name, data in WHOLE.items():
        path = tmp_path / "whole"
        path.write_bytes(data)
        assert look_and_read(path) == (1 if name.startswith("bare") else 2)


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_change_or_a_cut_makes_no_other_error(tmp_path, name, data):
    whole = bytearray(WHOLE[name])
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "damaged"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with suppress(CodecError):
        look_and_read(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=600), head=st.sampled_from([b"", b"AAAA", b"{", b"\x80", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"])
)
def test_no_bytes_make_another_error(tmp_path, data, head):
    path = tmp_path / "anything"
    path.write_bytes(head + data)
    with suppress(CodecError):
        look_and_read(path)
