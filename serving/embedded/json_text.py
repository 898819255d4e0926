"""Parses and writes JSON text as TensorFlow Serving does: RapidJSON's parser, pretty writer and number format.

Follows ParseJson, WriteDecimal and JsonValueToString of tensorflow_serving/util/json_tensor.cc with RapidJSON 1.1.0.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any, Final

import numpy as np
import rapidjson
from numpy.typing import NDArray

from serving.embedded.errors import ServingError, invalid

Floats = NDArray[np.floating[Any]]

INDENT: Final = "    "
_NUMBERS: Final = rapidjson.NM_NAN | rapidjson.NM_NATIVE
_FOLLOWED: Final = "The document root must not be followed by other values."
_NO_BEGINNINGS: Final = (b"]", b"}", b",", b":")
"""After white space alone, RapidJSON's iterative parser takes these for the end of an empty document."""
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MAX_DEPTH: Final = 200
_EXCERPT_BYTES: Final = 256
_MAX_INTEGER_PLACES: Final = 21
_MIN_EXPONENT: Final = -6
_NONFINITE: Final = {"nan": "NaN", "-nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_OPENING, _CLOSING, _QUOTE = (np.frombuffer(characters, np.uint8) for characters in (b"[{", b"]}", b'"'))

quoted: Final = partial(rapidjson.dumps, ensure_ascii=False)
"""Returns a string's JSON text with RapidJSON's escapes; characters outside ASCII stay unchanged."""


class Repeating(dict[str, Any]):
    """A JSON object in which a name occurs several times; the first value counts, as for RapidJSON's FindMember.

    Attributes:
        last: The last value of each name.
    """

    __slots__ = ("last",)

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(reversed(members))
        self.last = dict(members)


class _Decoder(rapidjson.Decoder):
    start_object = list

    def end_object(self, members: list[tuple[str, Any]]) -> dict[str, Any]:
        last = dict(members)
        return last if len(last) == len(members) else Repeating(members)


_DECODER: Final = _Decoder(number_mode=_NUMBERS)


class _NonfiniteError(ValueError):
    """JSON has no number for NaN and infinities."""


class Literal(str):
    """JSON text that `dumps` writes unchanged."""

    __slots__ = ()


def parse(body: bytes) -> dict[str, Any]:
    """Parses a request's body, which must be an object; NaN, Inf and Infinity are numbers. Text after it is ignored.

    A double is read to within 3 units of its last place, as in TensorFlow Serving. Lists and objects nested deeper than
    any tensor come back empty, and their commas are not checked: no answer depends on them, and parsing them would
    exhaust Python's stack.

    Raises:
        ServingError: The body is not JSON, not UTF-8, or not an object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    start = len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0
    text = body[start:]
    try:
        document = _loads(text, start)
    except RecursionError:
        document = _loads(_without_deep_levels(text), start)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {excerpt(document)} Is not object")
    return document


def _loads(text: bytes, start: int) -> Any:
    try:
        return _DECODER(text)
    except rapidjson.JSONDecodeError as error:
        match = re.match(r"Parse error at offset (\d+): (.*)", str(error), re.DOTALL)
        if match is None:
            raise invalid(f"JSON Parse error: {error}") from None
        offset, problem = int(match[1]), match[2]
        if problem == _FOLLOWED:
            return _loads(text[:offset], start)
        if text[offset : offset + 1] in _NO_BEGINNINGS and not text[:offset].strip():
            problem = "The document is empty."
        raise invalid(f"JSON Parse error: {problem} at offset: {offset + start}") from None
    except UnicodeDecodeError as error:
        try:  # the bytes may come after the document
            return _loads(text[: error.start], start)
        except ServingError:
            raise invalid(f"JSON Parse error: A string is not UTF-8: {error.reason}.") from None


def _without_deep_levels(text: bytes) -> bytes:
    """Empties the lists and objects below `_MAX_DEPTH`, in linear time and without recursion."""
    characters = np.frombuffer(text, np.uint8)
    bare = np.frombuffer(text.replace(rb"\\", b"__").replace(rb"\"", b"__"), np.uint8)
    outside = ~np.logical_xor.accumulate(bare == _QUOTE)
    opens = np.isin(characters, _OPENING) & outside
    closes = np.isin(characters, _CLOSING) & outside
    # The depth of a bracket is that of its content.
    depth = np.cumsum(opens.astype(np.int8) - closes.astype(np.int8), dtype=np.int32) + closes
    shallow = (depth <= _MAX_DEPTH) | ((depth == _MAX_DEPTH + 1) & (opens | closes))
    return characters[shallow].tobytes()


def number(value: float, single: bool) -> str:
    """Returns the text of a float; `single` for a float32, see `numbers`."""
    return numbers(np.asarray([value], np.float32 if single else np.float64))[0]


def numbers(values: Floats) -> list[str]:
    """Returns the texts of a flat float32 or float64 array: six digits if they read back to the same number.

    Other numbers get as many digits as the type may need, 9 or 17. Examples are "-0.0", "1e+06" and "NaN".
    """
    code, precise = ("f", "%.9g") if values.dtype == np.float32 else ("d", "%.17g")
    plain: list[float] = values.tolist()
    short = ("%.6g " * len(plain) % tuple(plain)).split()
    # The module array rounds to float32 like NumPy, at a tenth of the cost for the few numbers of an answer.
    texts = [
        text if value == read else precise % value
        for text, value, read in zip(short, plain, array(code, map(float, short)), strict=True)
    ]
    return [text if "." in text or "e" in text else _NONFINITE.get(text) or f"{text}.0" for text in texts]


def dumps(document: Any, single_line_arrays: bool) -> bytes:
    """Returns RapidJSON's pretty text of a document, with 4 blanks per level.

    Args:
        document: Dictionaries, lists, tuples, strings, finite numbers, booleans, None and `Literal`s.
        single_line_arrays: Whether the elements of an array share a line.
    """
    return "".join(_pieces(document, single_line_arrays)).encode()


def excerpt(value: Any) -> str:
    """Returns the text of a value for an error message.

    As in TensorFlow Serving, a piece (a bracket, a name or a value) is written if the text before it has fewer than 256
    bytes, and the text ends before NaN or an infinity.
    """
    text, size = [], 0
    try:
        for piece in _pieces(value, single_line_arrays=True):
            if size >= _EXCERPT_BYTES:
                break
            text.append(piece)
            size += len(piece.encode())
    except _NonfiniteError:
        pass
    return "".join(text)


def brackets(level: int, single_line: bool) -> tuple[str, str, str]:
    """Returns the text before, between and after the elements of a non-empty array at a level.

    RapidJSON 1.1.0 starts a new line before the closing bracket even if the elements share a line.
    """
    after = f"\n{INDENT * level}]"
    if single_line:
        return "[", ", ", after
    inner = f"\n{INDENT * (level + 1)}"
    return f"[{inner}", f",{inner}", after


def _pieces(document: Any, single_line_arrays: bool) -> Iterator[str]:
    # An explicit stack, because clients choose the depth of a document.
    open_members: list[Iterator[tuple[str, str | None, Any]]] = [iter([("", None, document)])]
    endings = [""]
    while open_members:
        for before, name, value in open_members[-1]:
            if name is not None:
                yield f"{before}{quoted(name)}"
                before = ": "
            if isinstance(value, (dict, list, tuple)) and value:
                opening, members, ending = _members(value, len(endings) - 1, single_line_arrays)
                open_members.append(members)
                endings.append(ending)
                yield before + opening
                break
            yield before + _scalar(value)
        else:
            open_members.pop()
            yield endings.pop()


def _members(value: Any, level: int, single_line: bool) -> tuple[str, Iterator[tuple[str, str | None, Any]], str]:
    """Returns the opening bracket, the members as (text before, name, value), and the text at the end."""
    inner = f"\n{INDENT * (level + 1)}"
    if isinstance(value, dict):
        return "{", _separated(value.items(), inner, f",{inner}"), f"\n{INDENT * level}}}"
    before, between, after = brackets(level, single_line)
    return "[", _separated(((None, member) for member in value), before[1:], between), after


def _separated(
    members: Iterable[tuple[str | None, Any]], first: str, later: str
) -> Iterator[tuple[str, str | None, Any]]:
    separator = first
    for name, member in members:
        yield separator, name, member
        separator = later


def _scalar(value: Any) -> str:
    if isinstance(value, Literal):
        return value
    if isinstance(value, float):
        return _double(value)
    if isinstance(value, dict):
        return "{}"
    return "[]" if isinstance(value, (list, tuple)) else quoted(value)


def _double(value: float) -> str:
    """Returns the text that RapidJSON's writer gives a double."""
    if not math.isfinite(value):
        raise _NonfiniteError
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text, point = "".join(map(str, digits)), len(digits) + int(exponent)
    if value == 0:
        number = "0.0"
    elif len(digits) <= point <= _MAX_INTEGER_PLACES:
        number = f"{text:0<{point}}.0"
    elif 0 < point <= _MAX_INTEGER_PLACES:
        number = f"{text[:point]}.{text[point:]}"
    elif _MIN_EXPONENT < point <= 0:
        number = f"0.{'0' * -point}{text}"
    else:
        number = f"{text[0]}{'.' * (len(text) > 1)}{text[1:]}e{point - 1}"
    return "-" * sign + number
