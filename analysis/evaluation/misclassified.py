"""The mistakes worth looking at: wrong answers that the model was surest of, as pictures."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.evaluation.predictions import Predictions
from models.taxonomy import Taxonomy


@dataclass(frozen=True)
class Mistake:
    """One wrong answer: what the image is, what the model said, and how sure it was."""

    source_id: str
    garment: str
    group: str
    answer: str
    confidence: float
    picture: str


def worst_mistakes(
    examples: Mapping[str, Any], predictions: Predictions, taxonomy: Taxonomy, count: int
) -> list[Mistake]:
    """Returns the wrong answers of the highest confidence, surest first.

    Args:
        examples: Columns [N]: source_id, image, garment, group.
        predictions: The answers to them.
        taxonomy: For the names.
        count: The most to return.
    """
    wrong = np.flatnonzero(predictions.group != examples["group"])
    order = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")][:count]
    return [
        Mistake(
            source_id=str(examples["source_id"][index]),
            garment=taxonomy.garments[examples["garment"][index]],
            group=taxonomy.groups[examples["group"][index]],
            answer=taxonomy.groups[predictions.group[index]],
            confidence=float(predictions.confidence[index]),
            picture=png_data_uri(examples["image"][index]),
        )
        for index in order
    ]


def png_data_uri(image: npt.NDArray[np.uint8]) -> str:
    """Returns a grey image uint8 [height, width] as a `data:` URI (PNG, https://www.w3.org/TR/png)."""
    height, width = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows, 9)), _chunk(b"IEND", b"")]
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
