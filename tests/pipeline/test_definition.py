"""What is checked before the first stage, when the pipeline is defined."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.taxonomy import DEFAULT_PATH, Taxonomy
from pipeline.commands.options import assemble
from pipeline.contract.errors import UserError
from pipeline.definition import fashion
from pipeline.runner.workspace import Workspace
from tests.conftest import PROFILE, ROOT
from tests.conftest import Fashion as Command

THREE_GROUPS = """
garments = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
{rules}
[[group]]
name = "Clothes"
colour = "#0072B2"
garments = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Shirt"]
[[group]]
name = "Shoes"
colour = "#E69F00"
garments = ["Sandal", "Sneaker", "Ankle boot"]
[[group]]
name = "Bags"
colour = "#CC79A7"
garments = ["Bag"]
"""


def write_taxonomy(directory: Path, rules: str = "") -> Path:
    """Writes a taxonomy of three groups with rules; returns its path."""
    path = directory / "three.toml"
    path.write_text(THREE_GROUPS.format(rules=rules), encoding="utf-8")
    return path


def test_another_taxonomy_needs_no_other_rules(tmp_path: Path) -> None:
    """The default rules name no group, and those of the five groups stay with their file."""
    for profile in ("default", "quick", "full", "catalogue"):
        pipeline, _ = assemble("fashion", Workspace(tmp_path), profile, [f"taxonomy={write_taxonomy(tmp_path)}"])
        assert pipeline.nodes["evaluator"].parameters["taxonomy_rules"] == ()
        pipeline, _ = assemble("fashion", Workspace(tmp_path), profile, [])
        assert pipeline.nodes["evaluator"].parameters["taxonomy_rules"]
    assert DEFAULT_PATH.read_text(encoding="utf-8").count('slice = "group:Bags"') > 3


def test_a_taxonomy_brings_its_own_rules(tmp_path: Path) -> None:
    """They reach the Evaluator, and are no part of what a trained model depends on."""
    path = write_taxonomy(tmp_path, 'rules = [{ metric = "recall", slice = "group:Shoes", at_least = 0.9 }]')
    pipeline, _ = assemble("fashion", Workspace(tmp_path), "default", [f"taxonomy={path}"])
    (rule,) = pipeline.nodes["evaluator"].parameters["taxonomy_rules"]
    assert (rule.slice, rule.at_least) == ("group:Shoes", 0.9)
    assert "rules" not in pipeline.nodes["trainer"].parameters["taxonomy"].to_table()


@pytest.mark.parametrize("place", ["profile", "taxonomy"])
def test_a_rule_on_an_unknown_group_ends_before_any_stage(place: str, tmp_path: Path) -> None:
    """The error offers the nearest group and names where the rule stands."""
    rule = '[{ metric = "recall", slice = "group:Shoe", at_least = 0.9 }]'
    path = write_taxonomy(tmp_path, f"rules = {rule}" if place == "taxonomy" else "")
    options = [f"taxonomy={path}", *([f"evaluator.rules={rule}"] if place == "profile" else [])]
    with pytest.raises(UserError, match="unknown slice 'group:Shoe'. Did you mean 'group:Shoes'") as error:
        assemble("fashion", Workspace(tmp_path / "workspace"), "default", options)
    assert error.value.next_step.startswith("correct")
    assert ("[[evaluator.rules]]" if place == "profile" else str(path)) in error.value.next_step
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize("command", ["explain", "run"])
def test_explain_and_run_check_the_rules(command: str, fashion: Command, tmp_path: Path) -> None:
    """Both end with the error for a misspelt metric, and write nothing."""
    options = ("--set", 'evaluator.rules=[{metric = "recal", slice = "every group", at_least = 0.5}]')
    done = fashion(command, "-w", str(tmp_path / "workspace"), "--profile", str(PROFILE), *options)
    assert done.returncode == 1 and "Did you mean 'recall'" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "workspace" / "artifacts").exists()


def test_the_profiles_and_the_default_taxonomy_name_groups_that_exist(tmp_path: Path) -> None:
    """Every profile of the project can be explained with the default taxonomy."""
    for profile in sorted((ROOT / "pipeline" / "profiles").glob("*.toml")):
        pipeline, _ = assemble("fashion", Workspace(tmp_path), str(profile), [])
        assert pipeline.name == fashion.__name__
    assert len(Taxonomy.load().groups) == 5
