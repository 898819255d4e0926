"""The error of a failed request or load, with gRPC's canonical codes and the HTTP statuses that they map to.

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
"""Codes of requests that are worth a retry; their response has the time to wait."""


class ServingError(Exception):
    """A failed request or load, reported to the client with a code and a message.

    Attributes:
        code: One of gRPC's canonical codes.
        message: The text that the client receives, the same over REST and gRPC.
    """

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> ServingError:
    """Returns an INVALID_ARGUMENT error, for a request that no retry can make succeed."""
    return ServingError(StatusCode.INVALID_ARGUMENT, message)
