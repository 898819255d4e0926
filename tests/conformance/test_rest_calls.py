"""The checks of an answer accept what a case expects and refuse anything else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance import rest_calls

HEADERS = {"content-type": "text/html; charset=utf-8", "access-control-allow-origin": "*"}
PAIRS: dict[str, tuple[bytes, Any, Any]] = {
    "body_empty": (b"", True, False),
    "body_hex": (b"\xff\n", "ff0a", "ff"),
    "body_text": (b'{"a": 1}\n', '{"a": 1}\n', '{"a": 1}'),
    "content_type": (b"", "text/html", "application/json"),
    "error_contains": (b'{"error": "no such label"}', "label", "version"),
    "error_exact": (b'{"error": "no"}', "no", "no "),
    "headers": (b"", {"Access-Control-Allow-Origin": "*"}, {"Access-Control-Allow-Methods": "GET"}),
    "headers_absent": (b"", ["Content-Encoding"], ["Content-Type"]),
    "json": (b'{"predictions": [2.5]}', {"predictions": [2.5]}, {"predictions": [2.0]}),
    "json_has": (b'{"a": 1}', "a", "b"),
    "json_part": (b'{"a": 1, "b": 2}', {"a": 1}, {"a": 2}),
    "not_json": (b"<html></html>", True, False),
    "numbers_as_text": (b'{"predictions": [1e+06, 2.0]}', ["1e+06", "2.0"], ["1000000.0", "2.0"]),
    "tensors": (
        b'{"predictions": [[NaN, 5.0029997825622559]]}',
        {"a": {"dtype": "DT_FLOAT", "shape": [1, 2], "values": ["NaN", 5.003]}},
        {"a": {"dtype": "DT_DOUBLE", "shape": [1, 2], "values": ["NaN", 5.003]}},
    ),
}


def test_every_check_has_a_pair_here() -> None:
    """Every check has a right and a wrong expectation."""
    assert PAIRS.keys() == rest_calls.CHECKS.keys()


@pytest.mark.parametrize("name", PAIRS)
def test_a_right_expectation_passes_and_a_wrong_one_does_not(name: str) -> None:
    """A check accepts what came back and refuses what did not."""
    body, right, wrong = PAIRS[name]
    answer = rest_calls.Answer(200, HEADERS, body)
    rest_calls.check(answer, {"status": 200, name: right})
    with pytest.raises(AssertionError):
        rest_calls.check(answer, {"status": 200, name: wrong})


def test_another_status_and_an_unknown_expectation_are_refused() -> None:
    """The status is always compared, and an unknown expectation is an error."""
    answer = rest_calls.Answer(200, HEADERS, b"")
    with pytest.raises(AssertionError):
        rest_calls.check(answer, {"status": 400})
    with pytest.raises(KeyError):
        rest_calls.check(answer, {"status": 200, "colour": "green"})


def test_tensors_are_found_in_rows_and_columns() -> None:
    """Tensors of several names are found in both formats."""
    wanted = {"a": {"shape": [2], "values": [1, 2]}, "b": {"shape": [2, 0], "values": []}}
    rest_calls.check(
        rest_calls.Answer(200, {}, b'{"predictions": [{"a": 1, "b": []}, {"a": 2, "b": []}]}'), {"tensors": wanted}
    )
    rest_calls.check(rest_calls.Answer(200, {}, b'{"outputs": {"a": [1, 2], "b": [[], []]}}'), {"tensors": wanted})
