"""REST's paths: which model, which version or label, and what is asked of it.

Follows ParseModelInfo of tensorflow_serving/model_servers/http_rest_api_util.cc and ProcessRequest of
http_rest_api_handler.cc, with their quirks: the patterns ignore case but what they found is compared with case, and a
query string is part of the path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, cast
from urllib.parse import unquote

from grpc import StatusCode

from serving.embedded.errors import ServingError, invalid

Api = Literal["predict", "classify", "regress", "status", "metadata"]

_VERSION_OR_LABEL: Final = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_POST: Final = re.compile(
    rf"/v1/models/(?P<model>[^/:]+){_VERSION_OR_LABEL}:(?P<api>classify|regress|predict)", re.IGNORECASE | re.ASCII
)
_GET: Final = re.compile(
    rf"/v1/models(?:/(?P<model>[^/:]+))?{_VERSION_OR_LABEL}(?:/(?P<api>metadata))?", re.IGNORECASE | re.ASCII
)
_PATTERNS: Final = {"POST": _POST, "GET": _GET}
_PREDICTIONS: Final = ("classify", "regress", "predict")
_MAX_VERSION: Final = 2**63 - 1
_MAX_DIGITS: Final = 1000


class BodilessError(ServingError):
    """An error that REST answers with its status alone, as TensorFlow Serving does."""


@dataclass(frozen=True)
class Route:
    """What a request asks for.

    Attributes:
        model: The name of the model.
        version: The version in the path, if one is.
        label: The version's label in the path, if one is; never both.
        api: What to do.
    """

    model: str
    version: int | None
    label: str | None
    api: Api


def parse_path(method: str, raw_path: str) -> Route:
    """Reads a path below /v1/.

    Args:
        method: The HTTP method.
        raw_path: The path as it was sent, percent-encoded, with its query string.

    Raises:
        ServingError: Nothing is there for that method.
        BodilessError: The version is beyond 64 bits.
    """
    pattern = _PATTERNS.get(method)
    found = pattern.fullmatch(raw_path) if pattern else None
    if found is None:
        raise _malformed(method, raw_path)
    version = _version(found["version"])
    api = found["api"]
    if method == "GET":
        # Any other spelling of metadata asks for the status.
        api = "metadata" if api == "metadata" else "status"
    elif api not in _PREDICTIONS:
        raise _malformed(method, raw_path)
    if not found["model"]:
        raise invalid("Missing model name in request.")
    label = found["label"]
    return Route(unquote(found["model"]), version, None if label is None else unquote(label), cast(Api, api))


def _version(digits: str | None) -> int | None:
    if digits is None:
        return None
    # Python refuses to read numbers of thousands of digits.
    version = int(digits) if len(digits) <= _MAX_DIGITS else _MAX_VERSION + 1
    if version > _MAX_VERSION:
        raise BodilessError(StatusCode.INVALID_ARGUMENT, f"Failed to convert version: {digits} to numeric.")
    return version


def _malformed(method: str, raw_path: str) -> ServingError:
    return invalid(f"Malformed request: {method} {raw_path}")
