"""The figures of a made-up model, and the report on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analysis.evaluation.report import most_confident_errors, write_report
from analysis.evaluation.verdict import DEFAULT_RULES, judge
from tests.analysis.evaluation.evaluated_model import COUNT, TAXONOMY, answers, content
from tests.synthetic import images_and_garments


@pytest.fixture(scope="session")
def metrics() -> dict[str, Any]:
    """The figures of a model without a baseline."""
    return content()


@pytest.fixture(scope="session")
def compared() -> dict[str, Any]:
    """The figures of the same model beside an earlier one."""
    return content(answers(1))


@pytest.fixture(scope="session")
def page(metrics: dict[str, Any]) -> str:
    """The report on them."""
    images, garments = images_and_garments(COUNT, 1)
    groups = np.array(TAXONOMY.group_of)[garments]
    columns = {
        "source_id": [f"test/{i:04x}" for i in range(COUNT)],
        "image": images,
        "garment": garments,
        "group": groups,
    }
    misclassified = most_confident_errors(columns, answers(0), TAXONOMY, 5)
    return write_report(metrics, judge(metrics, DEFAULT_RULES), misclassified, TAXONOMY)
