"""The sections of a page: a finding, a decision, and figures, tables and galleries of images with captions.

The page and the document show the same sections, so that a figure or a sentence exists once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: A unique word, such as "class-balance": the anchor on the page and the file name in the document.
        figure: The plotly figure.
        caption: What it shows.
        thumbnails: uint8 [P, 28, 28], shown beside the pointer when it is over a point; the point's `customdata`
            is the number of its image. None for a figure without.
        documented: Whether the document shows it too.
        alt: The description of the picture for readers who do not see it.
        detail: Whether an experiment's page shows it at its end, among all figures.
    """

    name: str
    figure: go.Figure
    caption: str
    thumbnails: Images | None = None
    documented: bool = False
    alt: str = ""
    detail: bool = False


@dataclass(frozen=True)
class Listing:
    """A table.

    Attributes:
        name: As of a picture.
        table: Its columns are the headings; floats are shown with four digits at most, the index is not shown.
        caption: What it shows.
        documented: Whether the document shows it too.
        detail: As of a picture.
    """

    name: str
    table: pd.DataFrame
    caption: str
    documented: bool = False
    detail: bool = False


@dataclass(frozen=True)
class Row:
    """Images side by side.

    Attributes:
        title: What they have in common.
        images: uint8 [n, 28, 28].
        notes: A short line under each; none when empty.
        colour: Of the bar before the title; a group's colour, or empty.
    """

    title: str
    images: Images
    notes: Sequence[str] = ()
    colour: str = ""


@dataclass(frozen=True)
class Gallery:
    """Rows of images.

    Attributes:
        name: As of a picture.
        rows: The rows.
        caption: What they show.
        documented: Whether the document shows it too.
        alt: As of a picture.
        detail: As of a picture.
    """

    name: str
    rows: Sequence[Row]
    caption: str
    documented: bool = False
    alt: str = ""
    detail: bool = False


Block = Picture | Listing | Gallery


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
        name: A unique word: the anchor.
        title: The heading.
        finding: What was found, with its figures: Markdown, a few short paragraphs.
        decision: What the pipeline does about it, Markdown that begins with "So we".
        blocks: The evidence.
    """

    name: str
    title: str
    finding: str
    decision: str
    blocks: Sequence[Block]
