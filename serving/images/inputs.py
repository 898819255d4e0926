"""Turns what a user calls an image - a path, URL, bytes, PIL image or array - into what a server is sent.

Checked here, before anything is decoded, are the bytes and the pixels that the header declares. A PNG or JPEG that the
exported graph reads as people see it goes as it is. Anything else is decoded by Pillow and sent as PNG: what the graph
cannot read (WebP, TIFF, CMYK), and what it would read differently (a palette's colours, GIF's transparency, 16 bits, a
camera's orientation). Transparency is kept; the graph counts it as white.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.fetching.errors import DownloadReason, Status
from serving.images.png import DepthError, reads_as_it_is, to_png

if TYPE_CHECKING:
    from PIL import Image

SIDE = 28
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "AVIF")
"""What Pillow may try: not its other formats, some of which start programs or are rarely fed strangers' files."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif")

Source = Any
"""A path (`str` or `Path`), a URL, encoded `bytes`, a PIL image, or an array uint8 [h, w] or [h, w, 1, 3 or 4]."""
Payload = bytes | NDArray[np.uint8]
"""Pixels uint8 [28, 28] for the signature serving_default, or an encoded image for serving_bytes."""


ImageReason = Literal["not_an_image", "damaged", "empty", "too_large", "too_many_pixels", "unreadable"]
"""Why a file is no usable image."""
Reason = ImageReason | DownloadReason | Status


class ImageError(ValueError):
    """A source gives no usable image; the message says which and why.

    Attributes:
        reason: The same in a stable word; for a URL it may be that of the download.
    """

    def __init__(self, message: str, reason: Reason = "not_an_image") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """What is read at most.

    Attributes:
        bytes: Of one file. Defaults to 20 million, the most that the exported graph takes.
        pixels: Of one image, as its header declares. Defaults to 50 million, as in the graph.
        seconds: For one URL. Defaults to 10.
        allow_private: Whether a URL may lead to an address that the internet does not reach. Defaults to no.
    """

    bytes: int = 20_000_000
    pixels: int = 50_000_000
    seconds: float = 10.0
    allow_private: bool = False


def prepare(
    source: Source, limits: Limits | None = None, name: str = "", find_damage: bool = True
) -> tuple[str, Payload]:
    """Returns a source's name and what is to be sent of it.

    Args:
        source: A path, URL, bytes, PIL image or array.
        limits: What is read at most.
        name: What to call it. Defaults to the path or URL, or else to its kind.
        find_damage: Whether a file that is sent unchanged is decoded, to see that it is whole. Not needed where it is
            decoded next anyway: TensorFlow refuses what Pillow refuses. Defaults to True.

    Raises:
        ImageError: It is no image, a damaged one, too large, or cannot be had.
    """
    limits = limits or Limits()
    if isinstance(source, str | Path):
        name = name or str(source)
        return name, _encoded(name, _read(name, source, limits), limits, find_damage)
    if isinstance(source, bytes | bytearray | memoryview):
        return name or "bytes", _encoded(name or "bytes", bytes(source), limits, find_damage)
    if isinstance(source, np.ndarray):
        return name or "array", _from_array(name or "array", source, limits)
    return name or "image", _from_pil(name or "image", source, limits)


def is_url(source: Source) -> bool:
    """Whether a source is a URL rather than a path."""
    return isinstance(source, str) and "://" in source


def expand(sources: Iterable[str]) -> list[str]:
    """Replaces folders by the image files in them and below, sorted; everything else stays as it is.

    Raises:
        ImageError: A folder holds no image.
    """
    found: list[str] = []
    for source in sources:
        if is_url(source) or not Path(source).is_dir():
            found.append(source)
            continue
        inside = sorted(p for p in Path(source).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            suffixes = ", ".join(SUFFIXES)
            raise ImageError(f"The folder {source} holds no image. Expected: files {suffixes}. Received: none")
        found += [str(path) for path in inside]
    return found


def _read(name: str, source: str | Path, limits: Limits) -> bytes:
    if is_url(source):
        from serving.fetching.downloads import download
        from serving.fetching.errors import DownloadError

        try:
            url = str(source)
            return download(url, limits.bytes, allow_private=limits.allow_private, timeout_seconds=limits.seconds)
        except DownloadError as error:
            raise ImageError(str(error), error.reason) from None
    return read_file(Path(source), limits.bytes, name)


def read_file(path: Path, most_bytes: int, name: str = "") -> bytes:
    """Returns what a file holds; when that is more than allowed, one byte more than that.

    Raises:
        ImageError: There is no such file, or it cannot be read.
    """
    name = name or str(path)
    try:
        # A pipe or a device would be waited for, or never end.
        if path.exists() and not path.is_file():
            raise ImageError(f"{name} is no file. Expected: an image file. Received: something else", "unreadable")
        with path.open("rb") as file:
            return file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise ImageError(f"{name} cannot be read. Expected: an image file. Received: {reason}", "unreadable") from None


def _encoded(name: str, content: bytes, limits: Limits, find_damage: bool) -> bytes:
    if not content:
        raise ImageError(f"{name} is empty. Expected: an image. Received: 0 bytes", "empty")
    if len(content) > limits.bytes:
        raise ImageError(f"{name} is too large. Expected: at most {limits.bytes:,} bytes. Received: more", "too_large")
    with _reading(name, limits), _opened(name, content) as image:
        _check_pixels(name, image, limits)
        as_it_is = reads_as_it_is(image, content)
        if as_it_is and not find_damage:
            return content
        if as_it_is:
            # An eighth of the size is quicker to decode, and enough to find what is truncated.
            image.draft(image.mode, (max(image.width // 8, 1), max(image.height // 8, 1)))
        image.load()
        return content if as_it_is else to_png(image)


def _opened(name: str, content: bytes) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        start = content[:8]
        raise ImageError(
            f"{name} is no image. Expected: {', '.join(FORMATS)}. Received: {len(content):,} bytes that begin {start!r}"
        ) from None


def _from_array(name: str, array: NDArray[Any], limits: Limits) -> Payload:
    from PIL import Image

    shape = array.shape
    right = array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not right or not array.size:
        raise ImageError(
            f"{name} is no image. Expected: uint8 [h, w] or [h, w, 1, 3 or 4]. Received: {array.dtype} {list(shape)}"
        )
    array = array[:, :, 0] if shape[2:] == (1,) else array
    if array.shape == (SIDE, SIDE):
        return array
    return _from_pil(name, Image.fromarray(np.ascontiguousarray(array)), limits)


def _from_pil(name: str, image: Any, limits: Limits) -> bytes:
    from PIL import Image

    if not isinstance(image, Image.Image):
        kind = type(image).__name__
        raise ImageError(f"{name} is no image. Expected: path, URL, bytes, PIL image or array. Received: {kind}")
    with _reading(name, limits):
        _check_pixels(name, image, limits)
        image.load()
        return to_png(image)


def _check_pixels(name: str, image: Image.Image, limits: Limits) -> None:
    pixels = image.width * image.height
    if pixels > limits.pixels:
        raise _too_many_pixels(name, limits, f"{image.width} × {image.height}")
    if not pixels:
        raise ImageError(
            f"{name} has no pixels. Expected: at least 1 × 1. Received: {image.width} × {image.height}", "empty"
        )


def _too_many_pixels(name: str, limits: Limits, received: str) -> ImageError:
    return ImageError(
        f"{name} is too large. Expected: at most {limits.pixels:,} pixels. Received: {received}", "too_many_pixels"
    )


@contextmanager
def _reading(name: str, limits: Limits) -> Iterator[None]:
    """Turns what Pillow raises on a damaged image into one error, and its warnings into nothing."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise _too_many_pixels(name, limits, str(error)) from None
        except DepthError as error:
            raise ImageError(
                f"{name} is of another kind. Expected: 8 or 16 bits a channel. Received: {error}"
            ) from None
        except MemoryError:
            raise _too_many_pixels(name, limits, "one that does not fit into memory") from None
        except Exception as error:
            # OSError, SyntaxError, ValueError, struct.error, ...: its decoders raise what they stumble over.
            raise ImageError(f"{name} is damaged. Expected: a whole image. Received: {error}", "damaged") from None
