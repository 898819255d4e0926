"""The outcomes of a request: gRPC's canonical codes, their HTTP statuses as TensorFlow Serving maps them, the error.

The table follows tensorflow_serving/model_servers/http_rest_api_util and grpc's own list of codes.
"""

from __future__ import annotations

from typing import Final

from grpc import StatusCode

HTTP_STATUS: Final = {
    StatusCode.OK: 200,
    StatusCode.CANCELLED: 499,
    StatusCode.UNKNOWN: 500,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.ABORTED: 409,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.INTERNAL: 500,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DATA_LOSS: 500,
    StatusCode.UNAUTHENTICATED: 401,
}

OVERLOADED: Final = {StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED}
"""What may go better a moment later: the answer says when to come again."""


class ServingError(Exception):
    """A request or a load that fails in a way that the caller is told of.

    Attributes:
        code: One of gRPC's canonical codes.
        message: What the caller reads, over REST and gRPC the same.
    """

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> ServingError:
    """Returns the error of a request that can never succeed."""
    return ServingError(StatusCode.INVALID_ARGUMENT, message)
