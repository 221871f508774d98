import copy
import inspect
import pickle
import re

import pytest

from flowctl_aio import errors
from flowctl_aio.errors import FlowctlError

CLASSES = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]
EXAMPLES = [
    (
        errors.ConfigError("heartbeat_interval is -1", "endpoint is missing"),
        "heartbeat_interval is -1; endpoint is missing",
    ),
    (errors.FrameTooLargeError("ledger 7", size=20, limit=10), "ledger 7 takes 20 bytes, above the limit of 10"),
    (errors.SchemaMismatchError(expected="a@1", found="b@1"), "expected the schema a@1, found b@1"),
    (errors.LedgerDecodeError("too short", ledger=7, offset=12), "ledger 7 cannot be read at byte 12: too short"),
    (errors.LedgerDecodeError("too short"), "a ledger cannot be read: too short"),
    (errors.StreamError("gone"), "gone"),
    (
        errors.PeerError("failed", peer="localhost:1", code="INTERNAL", details="ValueError"),
        "localhost:1: failed",
    ),
    (errors.BadEventsError({2: "no amount", 5: "no id"}), "2 rows cannot be processed: row 2: no amount"),
    (errors.MissingLedgerError(7, "the lake"), "ledger 7 is not in the lake"),
    (
        errors.LedgerGoneError(7, "the server", oldest=9),
        "ledger 7 was asked for, and the oldest that the server still has is 9",
    ),
]


def tree_of_the_docstring():
    """Name → name of the parent, its builtin parent or None, read from the drawing."""
    found, path = {}, []
    for line in errors.__doc__.splitlines():
        match = re.match(r"    ([│├└─ ]*)(\w+Error) ", line)
        if match is None:
            continue
        depth = len(match[1]) // 4
        path[depth:] = [match[2]]
        also = re.search(r"\(also an? (\w+)\)", line)
        found[match[2]] = (path[depth - 1] if depth else None, also and also[1])
    return found


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    classes = {}
    for kind in CLASSES:
        ours = [base for base in kind.__bases__ if base.__module__ == errors.__name__]
        builtin = [base for base in kind.__bases__ if base.__module__ == "builtins" and base is not Exception]
        assert len(ours) <= 1
        assert len(builtin) <= 1
        classes[kind.__name__] = (ours[0].__name__ if ours else None, builtin[0].__name__ if builtin else None)
    assert classes == tree_of_the_docstring()
    assert classes["FlowctlError"] == (None, None)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_says_what_it_means(kind):
    assert kind.__doc__


@pytest.mark.parametrize(("error", "sentence"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_error_writes_its_own_sentence(error, sentence):
    assert str(error) == sentence


def simple(kind):
    return kind("a sentence")


# Every class once: those that take facts from the examples, the rest with a sentence.
WITH_FACTS = {type(error): error for error, _ in EXAMPLES}
ALL = [WITH_FACTS[kind] if kind in WITH_FACTS else simple(kind) for kind in CLASSES]


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "duplicate",
    [
        *(lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol)) for protocol in range(6)),
        copy.copy,
        copy.deepcopy,
    ],
    ids=[*(f"pickle {protocol}" for protocol in range(6)), "copy", "deepcopy"],
)
def test_an_error_travels_to_another_process_with_its_facts(error, duplicate):
    twin = duplicate(error)
    assert type(twin) is type(error)
    assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))
    assert isinstance(twin, FlowctlError)


def test_notes_travel_with_an_error():
    error = errors.LakeError("no manifest")
    error.add_note("looked in s3://lake")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["looked in s3://lake"]


def test_an_error_of_a_users_own_travels_too():
    assert vars(pickle.loads(pickle.dumps(OwnError(5)))) == {"amount": 5}


class OwnError(errors.ComponentError):
    def __init__(self, amount):
        self.amount = amount
        super().__init__(f"{amount} is too much")
