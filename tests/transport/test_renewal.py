"""Which line a call takes, and when the others can be closed."""

from __future__ import annotations

from flowctl_aio.transport.renewal import Renewal


class Files:
    """Stands where certificates do: another value is another version of them."""

    value = "one"

    def get(self):
        return self.value


def test_without_certificates_there_is_one_line_for_ever():
    lines = Renewal(lambda credentials: [credentials], None, is_fit=lambda old, new: True)
    assert lines.take() is lines.take()
    assert lines.newest == [None]
    assert lines.retired() == []


def test_the_old_line_is_closed_when_its_last_call_is_over():
    files = Files()
    lines = Renewal(str.upper, files, is_fit=lambda old, new: True)
    first, second = lines.take(), lines.take()
    files.value = "two"
    third = lines.take()
    assert (first.raw, third.raw, lines.newest) == ("ONE", "TWO", "TWO")
    lines.give_back(first)
    assert lines.retired() == []
    lines.give_back(second)
    assert lines.retired() == ["ONE"]
    assert lines.retired() == []
    lines.give_back(third)
    assert lines.retired() == []


def test_a_new_line_is_taken_once_it_is_fit_and_dialled_once():
    files, fit, dialled = Files(), False, []

    def dial(credentials):
        dialled.append(credentials)
        return credentials

    lines = Renewal(dial, files, is_fit=lambda old, new: fit)
    files.value = "two"
    assert [lines.take().raw for _ in range(3)] == ["one"] * 3
    assert lines.retired() == []
    fit = True
    assert lines.take().raw == "two"
    assert dialled == ["one", "two"]


def test_a_new_line_that_never_was_fit_gives_way_to_the_next():
    files, asked = Files(), []
    lines = Renewal(str, files, is_fit=lambda old, new: asked.append((old, new)) or new == "three")
    for files.value in ("two", "three"):
        lines.give_back(lines.take())
    assert asked == [("one", "two"), ("one", "three")]
    assert lines.newest == "three"
    assert lines.retired() == ["one", "two"]


def test_a_closed_renewal_gives_all_lines_back_and_dials_no_more():
    files = Files()
    lines = Renewal(str, files, is_fit=lambda old, new: True)
    first = lines.take()
    files.value = "two"
    lines.take()
    assert sorted(lines.close()) == ["one", "two"]
    files.value = "three"
    assert lines.take().raw == "two"
    lines.give_back(first)
    assert lines.retired() == lines.close() == []
