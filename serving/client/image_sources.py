"""Load what users name as an image - a path, URL, bytes, PIL image or array - as the payload of a request."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.contract.image_limits import IMAGE_SIDE, ImageLimits
from serving.images.encoding import SUFFIXES, ImageError, encode_file, encode_image, read_file

Source = Any
"""A path (`str` or `Path`), a URL, encoded `bytes`, a PIL image, or an array uint8 [h, w] or [h, w, 1, 3 or 4]."""
Payload = bytes | NDArray[np.uint8]
"""Pixels uint8 [28, 28] for the signature serving_default, or an encoded image for serving_bytes."""


def load_payload(
    source: Source,
    name: str = "",
    limits: ImageLimits | None = None,
    *,
    allow_private: bool = False,
    download_seconds: float = 10.0,
) -> Payload:
    """Returns an image as a request carries it.

    Args:
        source: A path, URL, bytes, PIL image or array.
        name: The name of the image in messages. Defaults to the path or URL, or else to its kind.
        limits: The largest file and image. Defaults to those of the exported graph.
        allow_private: Whether a URL may lead to an address that is not on the public internet. Defaults to False.
        download_seconds: The time limit for one URL. Defaults to 10.

    Raises:
        ImageError: The source is no image, a damaged one, too large, or cannot be read.
        DownloadError: The URL cannot be downloaded.
    """
    limits = limits or ImageLimits()
    if is_url(source):
        from serving.fetching.downloader import download

        content = download(source, limits.bytes, allow_private=allow_private, timeout_seconds=download_seconds)
        return encode_file(content, name or source, limits)
    if isinstance(source, str | Path):
        return encode_file(read_file(Path(source), limits.bytes, name), name or str(source), limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return encode_file(bytes(source), name or "bytes", limits)
    if isinstance(source, np.ndarray):
        return _encode_array(source, name or "array", limits)
    from PIL import Image

    name = name or "image"
    if not isinstance(source, Image.Image):
        raise ImageError(
            f"{name} is no image.", expected="path, URL, bytes, PIL image or array", received=type(source).__name__
        )
    return encode_image(source, name, limits)


def is_url(source: Source) -> bool:
    """Whether a source is a URL rather than a path."""
    return isinstance(source, str) and "://" in source


def expand_folders(sources: Iterable[str]) -> list[str]:
    """Replaces folders by the image files in and below them, sorted; leaves everything else as it is.

    Raises:
        ImageError: A folder contains no image file, or a name is empty, which would mean the current directory.
    """
    expanded: list[str] = []
    for source in sources:
        if not source:
            raise ImageError(
                "A source has no name.", expected="a file, a folder or a URL; . is the current directory", received='""'
            )
        if is_url(source) or not Path(source).is_dir():
            expanded.append(source)
            continue
        images = sorted(p for p in Path(source).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not images:
            expected = f"files {', '.join(SUFFIXES)}"
            raise ImageError(f"The folder {source} contains no image.", expected=expected, received="none")
        expanded += [str(path) for path in images]
    return expanded


def _encode_array(array: NDArray[Any], name: str, limits: ImageLimits) -> Payload:
    from PIL import Image

    shape = array.shape
    valid = array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not valid or not array.size:
        raise ImageError(
            f"{name} is no image.",
            expected="uint8 [h, w] or [h, w, 1, 3 or 4]",
            received=f"{array.dtype} {list(shape)}",
        )
    array = array[:, :, 0] if shape[2:] == (1,) else array
    if array.shape == (IMAGE_SIDE, IMAGE_SIDE):
        return array
    return encode_image(Image.fromarray(np.ascontiguousarray(array)), name, limits)
