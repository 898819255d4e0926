"""Two arms are equivalent only if the experiment excludes differences beyond the margin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.experiments.comparison import Difference
from analysis.experiments.declaration import DeclarationError, load
from analysis.experiments.equivalence import MARGINS, describe_equivalence, is_equivalent
from analysis.experiments.judgement import judge, over_seeds
from analysis.experiments.reported_metrics import SCALES, scale_of
from analysis.experiments.results import Results
from tests.analysis.experiments.synthetic_experiment import MACHINE, declare, of_figures, run

ACCURACY = scale_of("group_accuracy")


def test_interval_within_the_margin_is_equivalent() -> None:
    """The sentence has the margin and the interval; a bound beyond the margin on either side means cannot tell."""
    inside = Difference(0.0001, -0.0018, 0.002, 0.9, (-0.0015, 0.0012))
    assert describe_equivalence(inside, 0.002, ACCURACY) == (
        "equivalent within ±0.20 points (90% CI [−0.15,\xa0+0.12])"
    )
    for bounds in ((-0.0021, 0.001), (-0.001, 0.0021), (0.0021, 0.003)):
        beyond = Difference(0.0, -1.0, 1.0, 0.9, bounds)
        assert describe_equivalence(beyond, 0.002, ACCURACY).startswith("cannot tell: the 90% interval [")
    assert not is_equivalent(Difference(0.0, 0.0, 0.0, 1.0), 0.002), "without an interval nothing is shown"


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_difference_of_the_margin_is_rarely_called_equivalent(seeds: int) -> None:
    """Both one-sided tests are at 5%: simulated over seeds, with a spread of a fifth of the margin."""
    rng = np.random.default_rng(0)
    draws = rng.normal(0.002, 0.0004, (2000, seeds))
    share = np.mean([is_equivalent(over_seeds(draw.tolist()), 0.002) for draw in draws])
    assert 0.035 < share < 0.065


def test_small_interval_lies_within_the_large_one(tmp_path: Path) -> None:
    """Over images and seeds, and over seeds alone."""
    arms = {"plain": 0.05, "better": 0.02}
    experiment = declare(tmp_path, arms=tuple(arms))
    judgement = judge(experiment, run(experiment, tmp_path, arms))
    for found in (judgement.differences["better"], over_seeds([0.1, 0.2, 0.4])):
        low, high = found.interval_90
        assert found.low < low < found.value < high < found.high


def test_verdicts_need_a_margin(tmp_path: Path) -> None:
    """An arm with nearly the same errors is equivalent within a wide margin, and cannot be told within a narrow one."""
    for name, margin, verdict in (("wide", 0.01, "equivalent"), ("narrow", 0.0001, "cannot tell")):
        declare(tmp_path, name, ("plain", "same"), "calibration_error")
        file = tmp_path / f"{name}.toml"
        file.write_text(f"margin = {margin}\n{file.read_text(encoding='utf-8')}", encoding="utf-8")
        experiment = load(name, tmp_path)
        results = Results(experiment, tmp_path)
        for seed, difference in zip(experiment.seeds, (0.001, -0.001, 0.0005), strict=True):
            for arm, value in (("plain", 0.02), ("same", 0.02 + difference)):
                results.add(arm, seed, of_figures([("validation", "calibration_error", value)]), MACHINE)
        assert judge(experiment, results).verdicts == {"same": verdict}


def test_a_contradiction_of_p_value_and_interval_is_inconclusive(tmp_path: Path) -> None:
    """An interval that excludes zero, without significance after Holm, and a small p-value with one that does not."""
    arms = ("plain", "by interval", "by p-value", "unclear")
    experiment = declare(tmp_path, arms=arms, metric="calibration_error")
    judgement = judge(experiment, Results(experiment, tmp_path))
    differences = {
        "by interval": Difference(0.004, 0.001, 0.007, 0.04, (0.002, 0.006)),
        "by p-value": Difference(0.004, -0.001, 0.009, 0.01, (0.0, 0.008)),
        "unclear": Difference(0.001, -0.004, 0.006, 0.6, (-0.003, 0.005)),
    }
    judgement.__dict__["differences"] = differences
    assert judgement.verdicts == {
        "by interval": "inconclusive",
        "by p-value": "inconclusive",
        "unclear": "cannot tell",
    }


def test_margins_are_for_metrics_that_exist() -> None:
    """Each has a reason; a margin of an experiment is positive."""
    assert set(MARGINS) <= set(SCALES) and all(margin.value > 0 and margin.reason for margin in MARGINS.values())


def test_a_margin_is_positive(tmp_path: Path) -> None:
    """A margin of zero would make nothing equivalent."""
    declare(tmp_path)
    file = tmp_path / "colour.toml"
    file.write_text(f"margin = 0.0\n{file.read_text(encoding='utf-8')}", encoding="utf-8")
    with pytest.raises(DeclarationError, match="margin"):
        load("colour", tmp_path)
