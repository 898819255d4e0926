"""A conformance suite: facts about TensorFlow Serving as cases that run against any server; see docs/conformance.md."""

import pytest

# Their assertions belong to the tests: pytest shows the compared values.
pytest.register_assert_rewrite(
    "tests.conformance.grpc_calls",
    "tests.conformance.rest_calls",
    "tests.conformance.scenarios",
    "tests.conformance.server",
)
