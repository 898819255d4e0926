"""Draws the contact sheets of the label review, or writes what the review found.

`python -m scripts.documents.label_review` writes `docs/exploration/label_review.json` and the pictures of
`docs/label_review.md` from `analysis/exploration/label_review.csv`; it needs Fashion-MNIST. With `--sheets DIRECTORY`
it draws the images to review instead, for a workspace on which `fashion explore` ran, with a CSV of their names.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.data import fashion_mnist
from analysis.exploration import label_review
from models.taxonomy import Taxonomy

if TYPE_CHECKING:
    from PIL import Image

Images = npt.NDArray[np.uint8]

ROOT = Path(__file__).resolve().parents[2]
ERRORS = ROOT / "analysis" / "experiments" / "studies" / "final_evaluation.errors.csv"
SUMMARY = ROOT / "docs" / "exploration" / "label_review.json"
PICTURES = ROOT / "docs" / "label_review"
COLUMNS, ROWS, NEIGHBOURS = 2, 5, 5
ENLARGED, SMALL, GAP, TEXT = 168, 84, 6, 20
EXAMPLE, EXAMPLES, EXAMPLE_LINES = 140, 6, 4


def main() -> None:
    """Writes the summary and the pictures, or draws the sheets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sheets", type=Path, metavar="DIRECTORY")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    options = parser.parse_args()
    if options.sheets is not None:
        write_sheets(options.sheets, options.workspace)
    else:
        SUMMARY.write_text(json.dumps(summary(), indent=2) + "\n", encoding="utf-8")
        write_pictures()


def summary() -> dict[str, Any]:
    """Returns the content of `docs/exploration/label_review.json`."""
    examples = {verdict: _describe(_examples(verdict)) for verdict in label_review.VERDICTS}
    return label_review.summarize(label_review.read_review()) | {"examples": examples}


def suspected_images(workspace: Path) -> list[str]:
    """Returns the source ids of the images of both splits that the exploration suspects of a wrong group."""
    from analysis.exploration.cross_validation import OutOfFold
    from analysis.exploration.data import read_data
    from analysis.exploration.neighbours import Neighbours
    from analysis.exploration.tables import image_table
    from pipeline.commands.explore import newest_artifacts
    from pipeline.runner.workspace import Workspace

    artifacts = newest_artifacts(Workspace(workspace.resolve()))
    data = read_data(artifacts.examples.split, Taxonomy.load())
    images = image_table(data, Neighbours.load(artifacts.neighbours.path), OutOfFold.load(artifacts.out_of_fold.path))
    return [str(name) for name in images.loc[images["suspected_group_error"], "source_id"]]


def write_sheets(directory: Path, workspace: Path) -> None:
    """Draws the sheets in a random order of the images, and writes `images.csv` with the sheet and place of each."""
    table, images = read_images()
    chosen = label_review.select_images(table, pd.read_csv(ERRORS), suspected_images(workspace))
    chosen = chosen.sample(frac=1, random_state=label_review.SEED).reset_index(drop=True)
    place = np.arange(len(chosen))
    chosen["sheet"], chosen["place"] = place // (COLUMNS * ROWS) + 1, place % (COLUMNS * ROWS) + 1
    directory.mkdir(parents=True, exist_ok=True)
    chosen.to_csv(directory / "images.csv", index=False)
    rows = table.reset_index().set_index("source_id").loc[chosen["source_id"], "index"].tolist()
    for number, sheet in enumerate(draw_sheets(rows, table, images), start=1):
        sheet.save(directory / f"{number:02d}.png")


def read_images() -> tuple[pd.DataFrame, Images]:
    """Returns all official images as `label_review.official_images` describes them, and uint8 [70000, 28, 28]."""
    taxonomy = Taxonomy.load()
    splits = fashion_mnist.load(fashion_mnist.locate())
    table = label_review.official_images(splits, taxonomy)
    parts = [content.images[table["original_index"][table["split"] == split]] for split, content in splits.items()]
    return table, np.concatenate(parts)


def draw_sheets(rows: Sequence[int], table: pd.DataFrame, images: Images) -> Iterator[Image.Image]:
    """Yields contact sheets: each image enlarged, with its labels, beside its nearest training images with theirs.

    Args:
        rows: The images to draw, rows of the other two.
        table: As `read_images` returns it.
        images: uint8 [N, 28, 28].
    """
    nearest = _nearest_training_images(np.asarray(rows), table, images)
    for start in range(0, len(rows), COLUMNS * ROWS):
        yield _sheet(rows[start : start + COLUMNS * ROWS], nearest[start : start + COLUMNS * ROWS], table, images)


def _nearest_training_images(rows: npt.NDArray[np.int64], table: pd.DataFrame, images: Images) -> list[list[int]]:
    from analysis.evaluation.ladder import unit_pixels
    from analysis.exploration.neighbours import search

    training = np.flatnonzero((table["split"] == "train").to_numpy())
    index, _ = search(unit_pixels(images[rows]), unit_pixels(images[training]), NEIGHBOURS + 1)
    return [
        [int(row) for row in training[found] if row != own][:NEIGHBOURS] for own, found in zip(rows, index, strict=True)
    ]


def _sheet(rows: Sequence[int], nearest: Sequence[Sequence[int]], table: pd.DataFrame, images: Images) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    width, height = ENLARGED + NEIGHBOURS * (SMALL + GAP) + 3 * GAP, ENLARGED + TEXT + 2 * GAP
    sheet = Image.new("L", (COLUMNS * width, ROWS * height), 255)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(16), ImageFont.load_default(13)
    for position, (row, others) in enumerate(zip(rows, nearest, strict=True)):
        left, top = position % COLUMNS * width + GAP, position // COLUMNS * height + GAP
        described = table.loc[row]
        name = described["source_id"].split("/")[1][:8]
        label = f"{described['labelled_garment']} ({described['labelled_group']})"
        draw.text((left, top), f"{position + 1}.  {name}   labelled {label}", 0, large)
        sheet.paste(_enlarge(images[row], ENLARGED), (left, top + TEXT))
        for place, other in enumerate(others):
            x = left + ENLARGED + GAP + place * (SMALL + GAP)
            sheet.paste(_enlarge(images[other], SMALL), (x, top + TEXT))
            draw.text((x, top + TEXT + SMALL + 2), str(table.loc[other, "labelled_garment"]), 0, small)
    return sheet


def _enlarge(image: Images, side: int) -> Image.Image:
    """Enlarges an image, and brightens its dark parts, which a screen hides."""
    from PIL import Image

    brightened = np.round(255 * (image / 255) ** 0.75).astype(np.uint8)
    return Image.fromarray(brightened).resize((side, side), Image.Resampling.BICUBIC)


def write_pictures() -> None:
    """Draws six random examples of each verdict that both passes share."""
    from PIL import Image

    table, images = read_images()
    row_of = dict(zip(table["source_id"], range(len(table)), strict=True))
    examples = {verdict: _examples(verdict) for verdict in label_review.VERDICTS}
    PICTURES.mkdir(parents=True, exist_ok=True)
    for verdict, chosen in examples.items():
        width, height = EXAMPLE + GAP, EXAMPLE + EXAMPLE_LINES * TEXT
        picture = Image.new("L", (EXAMPLES // 2 * width - GAP, 2 * height), 255)
        for position, (source_id, garment, shows) in enumerate(
            zip(chosen["source_id"], chosen["labelled_garment"], chosen["shows_1"], strict=True)
        ):
            place = (position % (EXAMPLES // 2) * width, position // (EXAMPLES // 2) * height)
            picture.paste(_example(images[row_of[source_id]], garment, shows), place)
        picture.save(PICTURES / f"{verdict.replace(' ', '-')}.png", optimize=True)


def _examples(verdict: str) -> pd.DataFrame:
    """Returns random images with this verdict in both passes, without controls."""
    paired = label_review.pair_passes(label_review.read_review())
    chosen = paired[(paired["verdict"] == verdict) & (paired["reason"] != label_review.CONTROL)]
    return chosen.sample(EXAMPLES, random_state=label_review.SEED)


def _describe(examples: pd.DataFrame) -> list[str]:
    shows, garments = examples["shows_1"], examples["labelled_garment"]
    return [f"{shown}, labelled {garment}" for shown, garment in zip(shows, garments, strict=True)]


def _example(image: Images, garment: str, shows: str) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("L", (EXAMPLE, EXAMPLE + EXAMPLE_LINES * TEXT), 255)
    picture.paste(_enlarge(image, EXAMPLE), (0, 0))
    draw = ImageDraw.Draw(picture)
    text = "\n".join([f"labelled {garment}", *textwrap.wrap(shows, 20)])
    draw.multiline_text((0, EXAMPLE + 2), text, 0, ImageFont.load_default(13))
    return picture


if __name__ == "__main__":
    main()
