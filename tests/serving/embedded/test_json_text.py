"""JSON is parsed and written as TensorFlow Serving does, down to the exact text."""

import json
import math

import numpy as np
import pytest
import rapidjson
from hypothesis import given
from hypothesis import strategies as st

from serving.embedded.errors import HTTP_STATUS, ServingError
from serving.embedded.json_text import Literal, Repeating, dumps, excerpt, number, numbers, parse

documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def error(body: bytes) -> str:
    """Returns the message of a body that is refused with status 400."""
    with pytest.raises(ServingError) as refused:
        parse(body)
    assert HTTP_STATUS[refused.value.code] == 400
    return refused.value.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b" ", "JSON Parse error: The document is empty. at offset: 1"),
        (b"nonsense", "JSON Parse error: Invalid value. at offset: 1"),
        (b'{"a":1e400}', "JSON Parse error: Number too big to be stored in double. at offset: 5"),
        (b'{"a":nan}', "JSON Parse error: Invalid value. at offset: 6"),
        (b'\xef\xbb\xbf{"a":x}', "JSON Parse error: Invalid value. at offset: 8"),
        (b'{"a":"\xff"}', "JSON Parse error: A string is not UTF-8: invalid start byte."),
        (b"[1.0,2.0]", "JSON Value: [1.0, 2.0\n] Is not object"),
        (b" ]", "JSON Parse error: The document is empty. at offset: 1"),
        (b"}", "JSON Parse error: The document is empty. at offset: 0"),
        (b"[,", "JSON Parse error: Invalid value. at offset: 1"),
    ],
)
def test_errors(body: bytes, message: str) -> None:
    """A body that is not a JSON object is refused with RapidJSON's text and offset."""
    assert error(body) == message


def test_nonfinite_numbers() -> None:
    """NaN, Inf and Infinity are numbers, with a minus too."""
    read = parse(b'{"a":[Infinity,-Infinity,Inf,-Inf,NaN]}')["a"]
    assert read[:4] == [math.inf, -math.inf, math.inf, -math.inf] and math.isnan(read[4])


def test_byte_order_mark() -> None:
    """A byte-order mark before the document is skipped."""
    assert parse(b'\xef\xbb\xbf{"instances":[1.0]}') == {"instances": [1.0]}


def test_half_a_million_brackets() -> None:
    """Nesting too deep for any stack is read as empty below a tensor's depth; the rest is unchanged."""
    nested = parse(b'{"instances":[1],"nested":' + b"[" * 500_000 + b"]" * 500_000 + b"}")
    assert nested["instances"] == [1] and isinstance(nested["nested"], list)


def test_brackets_in_deep_strings() -> None:
    """Brackets and quotes inside strings do not count as nesting."""
    text = rb'"]\"}\\"'
    body = b'{"a":' * 3000 + b"[" + text + b"]" + b"}" * 3000
    body = b'{"b":[' + text + b'],"c":' + body + b',"d":2}'
    assert {name: value for name, value in parse(body).items() if name != "c"} == {"b": [']"}\\'], "d": 2}


@pytest.mark.parametrize("body", [b'{"a":' * 3000, b'{"a":' + b"[" * 3000 + b"]" * 2999 + b"}", b"[" * 3000])
def test_deep_and_unfinished(body: bytes) -> None:
    """Deep nesting without its closing brackets is refused."""
    assert error(body).startswith("JSON Parse error: ")


def test_failed_parses_do_not_exhaust_the_stack() -> None:
    """After many failed deep documents, the next one is read."""
    for _ in range(2000):
        error(b"[" * 900 + b"x")
    assert parse(b'{"a":' + b"[" * 900 + b"]" * 900 + b"}")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9000000, "9e+06"),
        (999999, "999999.0"),
        (0.5, "0.5"),
        (0.0003, "0.0003"),
        (3e-05, "3e-05"),
        (555557.5, "555557.5"),
        (1000000, "1e+06"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1 / 3, "0.333333343"),
        (3.4028234663852886e38, "3.40282347e+38"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
    ],
)
def test_single_precision(value: float, text: str) -> None:
    """A float32 has six digits if they suffice, else nine, and always a point or an exponent."""
    assert number(value, single=True) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1 / 3, "0.33333333333333331"), (0.1, "0.1"), (1234567, "1234567.0"), (1e20, "1e+20")]
)
def test_double_precision(value: float, text: str) -> None:
    """A float64 has six digits if they suffice, else seventeen."""
    assert number(value, single=False) == text


@given(st.lists(st.floats(width=32)), st.booleans())
def test_numbers_read_back(values: list[float], single: bool) -> None:
    """The text of every float reads back to the same float, in both precisions."""
    kind = np.float32 if single else np.float64
    texts = numbers(np.array(values, kind))
    read = np.array([rapidjson.loads(text) for text in texts], kind)
    np.testing.assert_array_equal(read, np.array(values, kind))


@given(documents, st.booleans())
def test_round_trip(document: object, single_line: bool) -> None:
    """The text of a document is JSON and reads back as the same document, in both formats."""
    assert json.loads(dumps(document, single_line)) == document


@given(documents)
def test_integers_and_strings_as_rapidjson(document: object) -> None:
    """With one element per line, the text equals RapidJSON's own with 4 blanks, except for floats."""
    plain = json.loads(json.dumps(document), parse_float=lambda _: None)
    assert dumps(plain, False).decode() == rapidjson.dumps(plain, indent=4, ensure_ascii=False)


def test_error_body() -> None:
    """The body of an error has 4 blanks and no final newline."""
    assert dumps({"error": "..."}, single_line_arrays=False) == b'{\n    "error": "..."\n}'


def test_single_line_arrays() -> None:
    """Elements share a line, and the closing bracket has its own: the format of RapidJSON 1.1.0."""
    written = dumps({"a": [2.5, [Literal("1e9"), True], {"b": []}], "c": None}, single_line_arrays=True)
    assert written.decode() == (
        '{\n    "a": [2.5, [1e9, true\n        ], {\n            "b": []\n        }\n    ],\n    "c": null\n}'
    )


def test_escapes() -> None:
    """Control characters, quotes and backslashes are escaped; other characters are unchanged."""
    assert dumps('é\x1f\x7f"/\\\n', False).decode() == '"é\\u001F\x7f\\"/\\\\\\n"'


def test_excerpt_is_short() -> None:
    """After 256 bytes, a long or deep value ends in an error message; a piece that began before is complete."""
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    assert excerpt([1, "a"]) == '[1, "a"\n]'
    assert excerpt(list(range(10**6))) == f"[{str(list(range(67)))[1:-1]}"
    assert excerpt(deep) == "[" * 256
    assert excerpt(["é" * 126, 1, 2]) == f'["{"é" * 126}", 1' and len(excerpt(["a" * 1000, 1])) == 1003
    assert excerpt({"a" * 251: 1, "b": 2}) == f'{{\n    "{"a" * 251}"'


def test_excerpt_ends_before_a_number_that_json_lacks() -> None:
    """RapidJSON's writer stops at NaN and infinities."""
    assert excerpt([1.5, math.nan, 2]) == "[1.5" and excerpt(math.inf) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e20, "100000000000000000000.0"),
        (1e21, "1e21"),
        (1.25e22, "1.25e22"),
        (123.456, "123.456"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (-0.0, "-0.0"),
        (-1200.0, "-1200.0"),
    ],
)
def test_doubles_in_an_excerpt(value: float, text: str) -> None:
    """An error message has a double as RapidJSON writes it, in all its digits."""
    assert excerpt(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_in_an_excerpt_read_back(value: float) -> None:
    """The text of every double reads back to the same number."""
    assert float(excerpt(value)) == value


def test_the_first_of_two_equal_names_counts() -> None:
    """Of two members with one name the first counts, also inside; the last values are available too."""
    document = parse(b'{"a":1,"b":{"c":2,"c":3},"a":4,"a":5}')
    assert document == {"a": 1, "b": {"c": 2}}
    assert isinstance(document, Repeating) and document.last == {"a": 5, "b": {"c": 2}}


@pytest.mark.parametrize("after", [b"x", b" {", b"}", b'\n{"a":2}', b"\xff"])
def test_text_after_the_document_is_ignored(after: bytes) -> None:
    """The parser stops when the document is complete."""
    assert parse(b'{"a":1}' + after) == {"a": 1}
