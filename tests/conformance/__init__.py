"""What TensorFlow Serving is known to do, as cases that run against any server; docs/conformance.md tells of it."""

import pytest

# Their assertions are the suite's: pytest shows what was compared.
pytest.register_assert_rewrite(
    "tests.conformance.grpc_calls",
    "tests.conformance.in_process",
    "tests.conformance.live",
    "tests.conformance.polling",
    "tests.conformance.reloading",
    "tests.conformance.rest",
    "tests.conformance.starting",
)
