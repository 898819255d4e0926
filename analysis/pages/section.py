"""What a part of the exploration is made of: prose, a decision, and figures, tables and pictures with captions.

The page, the document and the notebook all show the same sections, so that a figure or a sentence exists once.
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
        name: A word of its own, such as "class-balance": the anchor on the page and the file name in the document.
        figure: What is drawn.
        caption: What to see in it.
        thumbnails: uint8 [P, 28, 28], shown when a point is touched whose `customdata` is the number of its image;
            None for a figure without.
        documented: Whether the document shows it too.
    """

    name: str
    figure: go.Figure
    caption: str
    thumbnails: Images | None = None
    documented: bool = False


@dataclass(frozen=True)
class Listing:
    """A table.

    Attributes:
        name: As of a picture.
        table: Its columns are the headings; floats are shown with four digits at most, the index is not shown.
        caption: What to see in it.
        documented: Whether the document shows it too.
    """

    name: str
    table: pd.DataFrame
    caption: str
    documented: bool = False


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
        caption: What to see in them.
        documented: Whether the document shows it too.
    """

    name: str
    rows: Sequence[Row]
    caption: str
    documented: bool = False


Block = Picture | Listing | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the exploration.

    Attributes:
        name: A word of its own: the anchor.
        title: The heading.
        finding: What was found, with its figures: Markdown, a few short paragraphs.
        decision: What the pipeline does about it: Markdown that begins with "So we".
        blocks: What shows it.
    """

    name: str
    title: str
    finding: str
    decision: str
    blocks: Sequence[Block]
