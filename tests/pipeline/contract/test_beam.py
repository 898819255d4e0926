"""The Beam pipeline of components: a user's error comes out as it went in, others are left alone."""

from __future__ import annotations

import apache_beam as beam
import pytest

from pipeline.contract.beam import beam_pipeline
from pipeline.contract.errors import UserError


def complain(number: int) -> int:
    """Raises what a reader of damaged files would."""
    raise UserError(f"Number {number} is odd.", expected="even", received="odd", next_step="add one")


def divide(number: int) -> float:
    """Raises what a mistake in our code would."""
    return number / 0


def test_a_users_error_keeps_its_parts() -> None:
    """Beam's copy of the error, which has lost all but the headline, is not what is seen."""
    with pytest.raises(UserError) as caught, beam_pipeline() as pipeline:
        pipeline | beam.Create([1]) | beam.Map(complain)
    assert str(caught.value) == "Number 1 is odd.\nExpected: even\nReceived: odd\nNext: add one"


def test_other_errors_are_left_alone() -> None:
    """A mistake of ours is no user's error."""
    with pytest.raises(ZeroDivisionError), beam_pipeline() as pipeline:
        pipeline | beam.Create([1]) | beam.Map(divide)


def test_the_command_line_is_not_beams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags of `fashion run` are not taken for flags of Beam."""
    monkeypatch.setattr("sys.argv", ["fashion", "run", "--runner=NoSuchRunner"])
    with beam_pipeline() as pipeline:
        pipeline | beam.Create([2, 3]) | beam.combiners.Count.Globally()
