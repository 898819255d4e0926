"""REST paths are parsed with the quirks of TensorFlow Serving."""

import pytest

from serving.embedded.errors import HTTP_STATUS, ServingError
from serving.embedded.rest import BodilessError, Route, parse_path

ODD = "!#$%&'()*+,/:;=?@[]"
ENCODED = "%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D"


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/v1/models/m", Route("m", None, None, "status")),
        ("GET", "/v1/models/m/versions/99", Route("m", 99, None, "status")),
        ("GET", "/v1/models/m/labels/latest/metadata", Route("m", None, "latest", "metadata")),
        ("GET", "/v1/models/m/METADATA", Route("m", None, None, "status")),
        ("GET", "/v1/models/m?x=1", Route("m?x=1", None, None, "status")),
        ("GET", "/V1/Models/m/VERSIONS/9", Route("m", 9, None, "status")),
        ("POST", f"/v1/models/m{ENCODED}:predict", Route(f"m{ODD}", None, None, "predict")),
        ("POST", f"/v1/models/m/labels/x{ENCODED}:regress", Route("m", None, f"x{ODD}", "regress")),
        ("POST", "/v1/models/m/versions/99:classify", Route("m", 99, None, "classify")),
        ("POST", f"/v1/models/m/versions/{2**63 - 1}:predict", Route("m", 2**63 - 1, None, "predict")),
    ],
)
def test_routes(method: str, path: str, route: Route) -> None:
    """A path has the model, its version or label, and the method; names are decoded after the split."""
    assert parse_path(method, path) == route


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/debug/model_name"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/models/m/version/50:predict"),
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m/metadata"),
        ("POST", "/v1/models/m/versions/HELLO:regress"),
        ("POST", "/v1/models/m/versions/٣:regress"),
        ("POST", "/v1/models/m/label/some_label:regress"),
        ("POST", "/v1/models/m/versions/1/labels/x:predict"),
        ("POST", "/v1/models/m:PREDICT"),
        ("POST", "/v1/models/m:predict?x=1"),
        ("POST", "/v1/models/m:predict\n"),
        ("PUT", "/v1/models/m"),
    ],
)
def test_malformed(method: str, path: str) -> None:
    """Any other path is refused, with the method and the path in the error."""
    with pytest.raises(ServingError) as refused:
        parse_path(method, path)
    assert HTTP_STATUS[refused.value.code] == 400
    assert refused.value.message == f"Malformed request: {method} {path}"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/versions/5", "/v1/models/labels/x/metadata"])
def test_no_model(path: str) -> None:
    """The server does not list its models."""
    with pytest.raises(ServingError, match=r"^Missing model name in request\.$"):
        parse_path("GET", path)


@pytest.mark.parametrize("version", [str(2**63), "18446744073709551615", "9" * 10_000])
def test_version_beyond_64_bits(version: str) -> None:
    """A version beyond 64 bits is refused without a body."""
    with pytest.raises(BodilessError, match="^Failed to convert version: 9|^Failed to convert version: 18446") as error:
        parse_path("POST", f"/v1/models/m/versions/{version}:regress")
    assert HTTP_STATUS[error.value.code] == 400
