"""`report.html`: the evaluation of a model on one page that opens anywhere, without network and without a script."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.evaluation.corruptions import EVALUATED_SEVERITY, SEVERITIES
from analysis.evaluation.predictions import Predictions
from analysis.pages.template import render
from models.taxonomy import Taxonomy

Metrics = Mapping[str, Any]

HEADLINES = {
    "accuracy": "Accuracy",
    "accuracy_without_near_duplicates": "Accuracy without near-duplicates",
    "macro_f1": "Macro F1",
    "balanced_accuracy": "Balanced accuracy",
    "macro_auc": "Macro AUC",
    "log_loss": "Log loss",
    "calibration_error": "Calibration error",
    "coverage": "Set coverage",
    "abstention": "Abstention",
}
WEAKEST = 10


@dataclass(frozen=True)
class Misclassified:
    """A misclassified example: what it is, which group the model predicted, with which confidence, and its picture.

    Attributes:
        source_id: Of the example.
        garment: Its true garment.
        group: Its true group.
        predicted_group: The model's.
        confidence: Of the prediction, in [0, 1].
        picture: A `data:` URI.
    """

    source_id: str
    garment: str
    group: str
    predicted_group: str
    confidence: float
    picture: str

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes but for the picture."""
        return {name: value for name, value in asdict(self).items() if name != "picture"}


def most_confident_errors(
    examples: Mapping[str, Any], predictions: Predictions, taxonomy: Taxonomy, count: int
) -> list[Misclassified]:
    """Returns the misclassified examples of the highest confidence, in falling order.

    Args:
        examples: Columns [N]: source_id, image uint8 [N, height, width], garment and group int64.
        predictions: The model's answers to them.
        taxonomy: For the names.
        count: The most to return.
    """
    wrong = np.flatnonzero(predictions.group != examples["group"])
    order = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")][:count]
    return [
        Misclassified(
            source_id=str(examples["source_id"][index]),
            garment=taxonomy.garments[examples["garment"][index]],
            group=taxonomy.groups[examples["group"][index]],
            predicted_group=taxonomy.groups[predictions.group[index]],
            confidence=float(predictions.confidence[index]),
            picture=png_data_uri(examples["image"][index]),
        )
        for index in order
    ]


def write_report(metrics: Metrics, verdict: Metrics, errors: Sequence[Misclassified], taxonomy: Taxonomy) -> str:
    """Returns the page.

    Args:
        metrics: The content of `metrics.json`.
        verdict: The content of `verdict.json`.
        errors: The gallery.
        taxonomy: For the groups' colours.
    """
    rungs, slices = metrics["ladder"], metrics["slices"]
    corruptions = sorted(metrics["corruptions"], key=_accuracy)
    return render(
        "report.html",
        metrics=metrics,
        verdict=verdict,
        applied=[rule for rule in verdict["rules"] if rule["applied"]],
        decisive_first=sorted(verdict["rules"], key=lambda rule: (rule["passed"], not rule["applied"])),
        errors=errors,
        headlines=HEADLINES,
        groups=list(zip(taxonomy.groups, taxonomy.colours, strict=True)),
        ladder_low=_lowest(rungs[1:] or rungs),
        slices_low=_lowest(slices),
        weakest=sorted(slices, key=_accuracy)[:WEAKEST],
        corruptions=corruptions,
        corruptions_low=_lowest(corruptions),
        severity=EVALUATED_SEVERITY,
        severities=len(SEVERITIES),
    )


def _accuracy(line: Metrics) -> float:
    return float(line["accuracy"]["value"])


def _lowest(lines: Sequence[Metrics]) -> float:
    """Returns the lower end of the lowest interval, where the scale of the dots begins."""
    return min((float(line["accuracy"]["interval"][0]) for line in lines), default=0.0)


def png_data_uri(image: npt.NDArray[np.uint8]) -> str:
    """Returns a grey image uint8 [height, width] as a `data:` URI that holds a PNG."""
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(image).save(target, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(target.getvalue()).decode()
