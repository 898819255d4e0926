"""Tests get their markers from what they start: tests/conftest.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def open_browser() -> object:
    """A helper that would start a browser."""
    from playwright.sync_api import sync_playwright

    return sync_playwright


@pytest.fixture
def start_server() -> Callable[[], object]:
    """A fixture that would start PostgreSQL."""
    from sql.server import running_server

    return running_server


def test_a_fixture_that_starts_postgresql_marks_its_tests(
    request: pytest.FixtureRequest, start_server: Callable[[], object]
) -> None:
    """The test is marked `postgres`, and nothing else."""
    assert [marker.name for marker in request.node.iter_markers()] == ["postgres"]


def test_a_helper_that_starts_a_browser_marks_its_tests(request: pytest.FixtureRequest) -> None:
    """The test is marked `browser`, and nothing else."""
    assert callable(open_browser())
    assert [marker.name for marker in request.node.iter_markers()] == ["browser"]


def test_other_tests_have_no_marker(request: pytest.FixtureRequest) -> None:
    """A test that starts nothing runs in `make test-fast`."""
    assert [marker.name for marker in request.node.iter_markers()] == []
