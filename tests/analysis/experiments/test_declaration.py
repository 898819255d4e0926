"""Declarations are read, checked, and merged; a mistake in one says what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.experiments.declaration import STUDIES, DeclarationError, load, merge, names
from analysis.experiments.measures.registry import MEASURES, check, measure_of
from analysis.experiments.training_settings import TrainingSettings, read
from models.augmentation import Augmentation

DECLARED = """
number = 1
title = "T"
question = "Q?"
hypothesis = "H."
measure = "training"
metric = "macro_f1"
seeds = [1, 2]
budget_minutes = 1
baseline = "a"
rule = { kind = "adopt", text = "R." }
settings = { epochs = 2, augmentation = { shift = 2 } }
[arms.a]
[arms.b]
augmentation = { flip = false }
"""


def declare(directory: Path, text: str, name: str = "study") -> Path:
    """Writes a declaration."""
    (directory / f"{name}.toml").write_text(text, encoding="utf-8")
    return directory


def test_every_committed_declaration_can_be_read() -> None:
    """Numbers are their own, measures exist, and the arms of trainings have settings that a training knows."""
    experiments = [load(name) for name in names()]
    assert len({e.number for e in experiments}) == len(experiments) > 0
    check(experiments)


def test_an_arm_s_settings_go_over_those_of_all(tmp_path: Path) -> None:
    """Tables are merged name by name."""
    settings = load("study", declare(tmp_path, DECLARED)).of_arm("b")
    assert settings == {"epochs": 2, "augmentation": {"shift": 2, "flip": False}}
    assert read(settings) == TrainingSettings(epochs=2, augmentation=Augmentation(flip=False, shift=2))
    assert merge({"a": {"b": 1}}, {"a": 2}) == {"a": 2}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('baseline = "a"', 'baseline = "c"', "'c' is none of the arms a, b"),
        ("seeds = [1, 2]", "seeds = [1, 1]", "a seed is named twice"),
        ("seeds = [1, 2]", "seeds = []", "seeds"),
        ("seeds = [1, 2]", "seeds = [-1]", "greater than or equal to 0"),
        ("macro_f1", "macro_f2", "'macro_f2' is none of group_accuracy, macro_f1"),
        ('title = "T"', "", "title"),
        ("number = 1", "number = 1\nnote = 2", "note"),
        ("number = 1", "number = = 1", "Invalid value"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, said: str, tmp_path: Path) -> None:
    """The message names the field or the place."""
    with pytest.raises(DeclarationError, match=said):
        load("study", declare(tmp_path, DECLARED.replace(old, new)))


def test_an_unknown_experiment_is_answered_with_a_near_one(tmp_path: Path) -> None:
    """The message proposes what was perhaps meant."""
    with pytest.raises(DeclarationError, match="did you mean study"):
        load("studdy", declare(tmp_path, DECLARED))


def test_names_are_in_the_order_of_numbers_of_their_own(tmp_path: Path) -> None:
    """Two experiments with one number have one place, and a directory without any is a mistake."""
    with pytest.raises(DeclarationError, match="No experiment is declared"):
        names(tmp_path)
    declare(tmp_path, DECLARED)
    declare(tmp_path, DECLARED.replace("number = 1", "number = 0"), "first")
    assert names(tmp_path) == ["first", "study"]
    declare(tmp_path, DECLARED, "twin")
    with pytest.raises(DeclarationError, match="1 for study and twin"):
        names(tmp_path)


TEXT = {"network": {}, "doubt": 0.05, "longest": 1}


@pytest.mark.parametrize(
    ("measure", "settings", "said"),
    [
        ("calibration", {"scaling": "vectro", "network": {}}, "did you mean vector"),
        ("calibration", {"scaling": "vector"}, "network is not given"),
        ("calibration", {"scaling": "vector", "network": {}, "epochs": 3}, "no setting 'epochs'"),
        ("calibration", {"scaling": "vector", "network": {"epoch": 3}}, "did you mean epochs"),
        ("strangers", {"score": "nearnes", "network": {}}, "did you mean nearness"),
        ("ladder", {"rung": "majorty"}, "did you mean majority"),
        ("ladder", {"rugn": "majority"}, "did you mean rung"),
        ("ladder", {"tutorial": "kera_convnet"}, "did you mean keras_convnet"),
        ("ladder", {"rung": "majority", "network": {}}, "one step of the ladder"),
        ("ladder", {"network": 3}, "a table of its settings"),
        ("deployment", {"deployed": "int4"}, "did you mean int8"),
        ("final", {"together": 6}, "from 1 to 5"),
        ("text", {"answer": "products", **TEXT}, "did you mean product"),
        ("text", {"answer": "product", **TEXT, "texts": {"typo": 0.1}}, "did you mean typos"),
        ("text", {"answer": "product", **TEXT, "asked": {"typos": 2}}, "from 0 to 1"),
        ("deployment", {"deployd": "int8"}, "no setting 'deployd'"),
        ("final", {"epoch": 3}, "did you mean epochs"),
    ],
)
def test_settings_of_a_measure_are_checked(
    measure: str, settings: dict[str, object], said: str, tmp_path: Path
) -> None:
    """Its own and those of its network, before the first run."""
    declared = load("study", declare(tmp_path, DECLARED))
    with pytest.raises(DeclarationError, match=said):
        check([declared.model_copy(update={"measure": measure, "settings": {}, "arms": {"a": settings}})])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epoch": 3}, "did you mean epochs"),
        ({"augmentation": {"flipp": True}}, "did you mean flip"),
        ({"epochs": "many"}, "integer"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"label_smoothing": -3}, "0 to 1. Received: label_smoothing = -3"),
        ({"dropout": 1.5}, "0 to 1"),
        ({"peak_learning_rate": 0.0}, "more than 0"),
        ({"augmentation": {"shift": -1}}, "0 or more"),
        ({"objective": {"trim": 2.0}}, "0 to 1"),
        ({"teacher": {"dropout": -0.1}}, "0 to 1"),
        ({"family": "unet"}, "no family 'unet'"),
        ({"optimizer": "adam"}, "no optimizer 'adam'"),
        ({"labels": "best"}, "'given'"),
        ({"teacher": {"wide": 3}}, "'wide'"),
        ({"augmentation": {"side": 30}}, "a side of 4 to 28 pixels"),
        ({"family": "vit", "augmentation": {"side": 20}}, "family 'vit' depend on the size"),
    ],
)
def test_unknown_or_impossible_settings_are_refused(settings: dict[str, object], said: str) -> None:
    """A wrong setting is found before anything is trained."""
    with pytest.raises(DeclarationError, match=said):
        read(settings)


def test_what_decides_the_weights_tells_trainings_apart() -> None:
    """Asking the mirror changes no weight; a teacher does."""
    plain = read({"epochs": 3})
    assert plain.trained_by() == read({"epochs": 3, "mirror": False}).trained_by()
    assert plain.trained_by() != read({"epochs": 3, "teacher": {"width": 32}}).trained_by()


def test_the_usual_side_is_not_named_and_another_is() -> None:
    """Networks that were trained before there were sides are found again."""
    usual = read({"epochs": 3, "augmentation": {"side": 28, "side_until": 1.0}})
    assert usual.trained_by() == {"epochs": 3}
    assert read({"augmentation": {"side": 20}}).trained_by() == {"augmentation": {"side": 20}}


def test_every_measure_is_a_module_with_a_measure() -> None:
    """The names are those of modules."""
    assert all(callable(measure_of(name)) for name in MEASURES)
    with pytest.raises(DeclarationError, match="no measure 'guess'"):
        measure_of("guess")
    assert STUDIES.is_dir()
