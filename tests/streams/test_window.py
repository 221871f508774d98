"""The bookkeeping of credits: what may be sent, when to tell, and that the two together never lock up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.codec.envelope import MAX_CREDIT_BYTES, Credit, Envelope, decode, decode_credit, encode_credit
from flowctl_aio.errors import FrameCorruptError
from flowctl_aio.streams.window import Grants, Window


def test_before_the_first_word_one_batch_may_go():
    window = Window()
    assert window.may_send(10**9)
    window.note_sent(10**9)
    assert not window.may_send(1)


def test_batches_and_bytes_both_count():
    window = Window()
    window.note_credit(Credit(2, 100))
    window.note_sent(30)
    assert window.may_send(70)
    assert not Window().is_open
    window.note_sent(30)
    assert not window.may_send(1), "two batches are under way"
    window.note_credit(Credit(10, 110))
    assert window.may_send(50)
    assert window.may_send(51), "half is free"
    window.note_sent(1)
    assert not window.may_send(51)


def test_a_batch_above_all_room_passes_when_half_is_free():
    window = Window()
    window.note_credit(Credit(5, 100))
    assert window.may_send(10**6)
    window.note_sent(10**6)
    assert not window.may_send(1)


def test_an_older_word_takes_nothing_back():
    window = Window()
    for credit in (Credit(2, 100), Credit(5, 500), Credit(1, 1)):
        window.note_credit(credit)
    for _ in range(5):
        assert window.may_send(1)
        window.note_sent(1)
    assert not window.may_send(1)


def test_whoever_can_give_no_more_limits_no_more():
    window = Window()
    window.note_sent(1)
    window.open()
    assert window.may_send(10**9)


def test_a_receiver_speaks_first_and_then_at_each_three_eighths():
    grants = Grants(5, 100)
    assert grants.is_due
    assert grants.credit() == Credit(5, 100)
    grants.note_taken(10)
    assert not grants.is_due
    grants.note_taken(10)
    assert grants.is_due
    assert grants.credit() == Credit(7, 120)
    grants.note_taken(37)
    assert not grants.is_due
    grants.note_taken(1)
    assert grants.is_due, "three eighths of the bytes"


@given(
    batches=st.integers(1, 5),
    room=st.integers(1, 100),
    sizes=st.lists(st.integers(1, 300), max_size=60),
    choices=st.randoms(use_true_random=False),
)
def test_whatever_the_sizes_and_the_order_all_passes_and_no_more_than_that_is_under_way(batches, room, sizes, choices):
    window, grants = Window(), Grants(batches, room)
    left, waiting, said = list(sizes), [], []
    while left or waiting or said:
        steps = []
        if left and window.may_send(left[0]):
            steps.append("send")
        if waiting:
            steps.append("take")
        if grants.is_due:
            steps.append("say")
        if said:
            steps.append("hear")
        assert steps, "locked up"
        match choices.choice(steps):
            case "send":
                before = sum(waiting)
                window.note_sent(left[0])
                waiting.append(left.pop(0))
                assert len(waiting) <= batches
                assert sum(waiting) <= room or before <= -(-room // 2)
            case "take":
                grants.note_taken(waiting.pop(0))
            case "say":
                said.append(grants.credit())
            case "hear":
                window.note_credit(said.pop(0))


@pytest.mark.parametrize("envelope", Envelope)
def test_a_credit_is_a_small_ordinary_message(envelope):
    credit = Credit(10**18, 10**18)
    data = encode_credit(envelope, credit)
    assert len(data) <= MAX_CREDIT_BYTES
    assert decode_credit(envelope, data) == credit


@pytest.mark.parametrize("envelope", Envelope)
def test_a_credit_where_none_may_be_is_no_row(envelope):
    with pytest.raises(FrameCorruptError, match="a credit came on a stream without credits"):
        decode(envelope, encode_credit(envelope, Credit(1, 1)), limit=1000)


@given(st.binary(max_size=300))
def test_whatever_comes_is_a_credit_or_not(data):
    assert decode_credit(Envelope.EVENT, data) is None


@pytest.mark.parametrize("text", ["", "-1", "1e9", "9" * 20, "x"])
def test_a_credit_without_a_count_is_refused(text):
    message = Envelope.EVENT.message.FromString(encode_credit(Envelope.EVENT, Credit(1, 1)))
    message.metadata["batches"] = text
    with pytest.raises(FrameCorruptError, match="not a count"):
        decode_credit(Envelope.EVENT, message.SerializeToString())
