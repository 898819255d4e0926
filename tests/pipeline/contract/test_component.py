"""Tests of pipeline.contract.component: the declaration that a signature makes."""

from __future__ import annotations

import pytest

from pipeline.contract.artifacts import Examples
from pipeline.contract.component import Input, Output, Role, component
from tests.pipeline.runner.toy import judge, learn, source


def test_signature_is_the_declaration() -> None:
    """The type hints declare inputs, outputs, parameters and what the runner supplies."""
    roles = {a.name: a.role for a in learn.spec.arguments}
    assert roles == {
        "examples": Role.INPUT, "model": Role.OUTPUT, "scratch": Role.SCRATCH, "progress": Role.PROGRESS,
        "steps": Role.PARAMETER, "fail": Role.PARAMETER,
    }  # fmt: skip
    assert judge.spec.by_role(Role.INPUT)["baseline"].optional
    assert source.spec.summary == "Writes numbers."


def test_parameter_before_the_star_is_refused() -> None:
    """Parameters are keyword-only, so that nobody confuses them with inputs."""

    def positional(examples: Input[Examples], count: int) -> None:
        """Does nothing."""

    with pytest.raises(TypeError, match="'count' must come after"):
        component(positional)


def test_output_must_be_an_artifact() -> None:
    """A stage writes only artifacts."""

    def wrong(numbers: Output[int]) -> None:  # type: ignore[type-var]
        """Does nothing."""

    with pytest.raises(TypeError, match="'numbers' must be an artifact type"):
        component(wrong)


def test_component_without_docstring_is_refused() -> None:
    """The first line is what `fashion show` prints."""

    def undocumented(out: Output[Examples]) -> None: ...

    with pytest.raises(TypeError, match="no docstring"):
        component(undocumented)


def test_check_takes_arguments_of_the_component() -> None:
    """A check of something that the component does not have is found when the module is imported."""

    def check(examples: Examples, cuont: int) -> None: ...

    def counting(examples: Input[Examples], *, count: int) -> None:
        """Does nothing."""

    with pytest.raises(TypeError, match="counting: check takes cuont"):
        component(checks=(check,))(counting)
