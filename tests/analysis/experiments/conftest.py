"""Declared and run experiments that several test files read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.analysis.experiments.synthetic_experiment import ERRORS, declare, run


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete experiment, one that lacks a seed of all arms, and one that is only declared."""
    directory = tmp_path_factory.mktemp("studies")
    run(declare(directory, "colour", number=2), directory, ERRORS)
    run(declare(directory, "half", number=3), directory, ERRORS, seeds=2)
    declare(directory, "dream", number=1)
    return directory
