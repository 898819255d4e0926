"""Tests of pipeline.contract.errors and pipeline.contract.suggestions: the texts that users see."""

from __future__ import annotations

import pickle

import pytest

from pipeline.contract.errors import UserError, same_command, suggest
from pipeline.contract.suggestions import nearest

ERROR = UserError("There is no x.", expected="an x", received="a y.", next_step="fashion run")


def test_text_has_a_line_for_every_field_that_is_set() -> None:
    """The headline comes first, and empty fields have no line."""
    assert str(ERROR) == "There is no x.\nExpected: an x\nReceived: a y.\nNext: fashion run"
    assert str(UserError("There is no x.", received="a y")) == "There is no x.\nReceived: a y"


def test_one_line_has_the_same_fields_as_sentences() -> None:
    """A log gets the whole error on one line, each field with one full stop."""
    assert ERROR.one_line == "There is no x. Expected: an x. Received: a y. Next: fashion run."


@pytest.mark.parametrize(
    ("headline", "received", "expected"),
    [
        ("There is no x. Did you mean 'y'?", "who?", "There is no x. Did you mean 'y'? Received: who?"),
        ("It fails.", "one\n  two..", "It fails. Received: one two."),
        ("It fails.", "no!", "It fails. Received: no!"),
        ("Cannot decode", "", "Cannot decode"),
    ],
)
def test_one_line_ends_each_field_with_one_mark(headline: str, received: str, expected: str) -> None:
    """A question or exclamation mark stays alone, full stops are not doubled, and line breaks become spaces."""
    assert UserError(headline, received=received).one_line == expected


def test_error_survives_pickling() -> None:
    """A worker process hands the error over with all fields."""
    assert str(pickle.loads(pickle.dumps(ERROR))) == str(ERROR)


@pytest.mark.parametrize(("own", "expected"), [("", "fashion status"), ("fashion clean", "fashion clean")])
def test_suggest_completes_an_error_without_a_next_step(own: str, expected: str) -> None:
    """A caller adds the next command, and never replaces one that the error names itself."""
    with pytest.raises(UserError) as caught, suggest("fashion status"):
        raise UserError("There is no x.", next_step=own)
    assert caught.value.next_step == expected


@pytest.mark.parametrize(
    ("name", "prefix", "expected"),
    [
        ("epoch", "trainer.", " Did you mean 'trainer.epochs'?"),
        ("epoch", "", " Did you mean 'epochs'?"),
        ("xyz", "", ""),
    ],
)
def test_nearest_suggests_the_whole_key(name: str, prefix: str, expected: str) -> None:
    """The suggestion begins with what the user types before the name; a name without a near one gets none."""
    assert nearest(name, ["epochs", "batch_size"], prefix) == expected


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("fashion run", "fashion run", True),
        ("fashion run --workspace 'a b' --debug", "fashion run", True),
        ("fashion run -w a --only learn", "fashion run --only learn --workspace=b", True),
        ("fashion run --only learn", "fashion run", False),
        ("fashion run --set trainer.epochs=3", "fashion run --set trainer.epochs=4", False),
        ("fashion status", "fashion run", False),
        ("correct the file", "correct the file", False),
        ("don't", "don't", False),
        ("", "", False),
    ],
)
def test_a_command_is_the_same_in_another_workspace(first: str, second: str, same: bool) -> None:
    """The workspace and --debug make no other command; a sentence is none."""
    assert same_command(first, second) is same_command(second, first) is same
