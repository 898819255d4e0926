"""The canary's sample sizes, and the alerts on the audit, follow from the declared margins and today's metrics."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from scripts.documents.canary import Canary
from scripts.documents.values import Values
from tests.conftest import ROOT


def test_the_canary_passes_equal_versions_with_the_declared_power() -> None:
    """Simulated canaries of equal accuracy pass in 80% of the cases, and those at the margin in 5%."""
    canary = Canary()
    random = np.random.default_rng(1)
    both = random.binomial(canary.images, canary.disagreement, 20_000)
    for loss, expected in ((0.0, canary.power), (canary.margin, canary.level)):
        right_alone = random.binomial(both, (1 - loss / canary.disagreement) / 2)
        difference = (2 * right_alone - both) / canary.images
        bound = difference - 1.645 * np.sqrt(both) / canary.images
        assert (bound > -canary.margin).mean() == pytest.approx(expected, abs=0.02)


def test_alerts_on_the_audit_have_the_bounds_of_the_evaluation() -> None:
    """The rules name the bounds that follow from today's metrics.json; update them when the model changes."""
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yaml").read_text(encoding="utf-8"))
    alerts = {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    values = Values()
    assert alerts["FashionAuditErrorHigh"] == f"fashion_audit_error_lower_bound > {1 - values.audit.objective:.3g}"
    bound = f"fashion_audit_one_piece_recall_upper_bound < {values.one_piece_audit.objective:.3g}"
    assert alerts["FashionAuditOnePieceLow"] == bound
