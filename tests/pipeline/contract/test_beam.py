"""Tests of pipeline.contract.beam: which errors leave a pipeline, and which command line it reads."""

from __future__ import annotations

import apache_beam as beam
import pytest

from pipeline.contract.beam import beam_pipeline
from pipeline.contract.errors import UserError


def complain(number: int) -> int:
    """Raises an error as a reader of damaged files does."""
    raise UserError(f"Number {number} is odd.", expected="even", received="odd", next_step="add one")


def divide(number: int) -> float:
    """Raises an error as a bug in our code does."""
    return number / 0


def test_user_error_keeps_its_fields() -> None:
    """The original error leaves the pipeline, not Beam's copy, which has only the headline."""
    with pytest.raises(UserError) as caught, beam_pipeline() as pipeline:
        pipeline | beam.Create([1]) | beam.Map(complain)
    assert str(caught.value) == "Number 1 is odd.\nExpected: even\nReceived: odd\nNext: add one"


def test_other_errors_are_unchanged() -> None:
    """A bug in our code does not become a UserError."""
    with pytest.raises(ZeroDivisionError), beam_pipeline() as pipeline:
        pipeline | beam.Create([1]) | beam.Map(divide)


def test_beam_does_not_read_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beam does not parse the flags of `fashion run`."""
    monkeypatch.setattr("sys.argv", ["fashion", "run", "--runner=NoSuchRunner"])
    with beam_pipeline() as pipeline:
        pipeline | beam.Create([2, 3]) | beam.combiners.Count.Globally()
