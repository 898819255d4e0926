"""Declarations are read, checked and merged; an error in one says what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.experiments.declaration import RENAMED, STUDIES, DeclarationError, load, merge, names
from analysis.experiments.runner import MEASURES, check, measure_of
from analysis.experiments.training_settings import TrainingSettings, read
from models.studied.augmentation import StudiedAugmentation

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
    """Numbers are unique, measures exist, and all settings of all arms are valid."""
    experiments = [load(name) for name in names()]
    assert len({e.number for e in experiments}) == len(experiments) > 0
    check(experiments)


def test_settings_of_an_arm_override_the_shared_ones(tmp_path: Path) -> None:
    """Tables are merged name by name."""
    settings = load("study", declare(tmp_path, DECLARED)).settings_of("b")
    assert settings == {"epochs": 2, "augmentation": {"shift": 2, "flip": False}}
    assert read(settings) == TrainingSettings(epochs=2, augmentation=StudiedAugmentation(flip=False, shift=2))
    assert merge({"a": {"b": 1}}, {"a": 2}) == {"a": 2}


@pytest.mark.parametrize(
    ("old", "new", "message"),
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
def test_invalid_declaration_is_an_error(old: str, new: str, message: str, tmp_path: Path) -> None:
    """The error names the field or the position."""
    with pytest.raises(DeclarationError, match=message):
        load("study", declare(tmp_path, DECLARED.replace(old, new)))


def test_error_for_an_unknown_experiment_suggests_a_near_name(tmp_path: Path) -> None:
    """The headline has the nearest declared name."""
    with pytest.raises(DeclarationError, match="Did you mean 'study'"):
        load("studdy", declare(tmp_path, DECLARED))


def test_names_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Two experiments with the same number are an error, and so is a directory without any."""
    with pytest.raises(DeclarationError, match="No experiment is declared"):
        names(tmp_path)
    declare(tmp_path, DECLARED)
    declare(tmp_path, DECLARED.replace("number = 1", "number = 0"), "first")
    assert names(tmp_path) == ["first", "study"]
    declare(tmp_path, DECLARED, "trial")
    with pytest.raises(DeclarationError, match="1 for study and trial"):
        names(tmp_path)


@pytest.mark.parametrize(("former", "name"), RENAMED.items())
def test_error_for_a_former_name_says_the_new_one(former: str, name: str, tmp_path: Path) -> None:
    """Renamed experiments have no alias."""
    with pytest.raises(DeclarationError, match=f"It is now called '{name}'"):
        load(former, declare(tmp_path, DECLARED, name))


def test_error_for_a_former_name_in_a_declaration_says_the_new_one(tmp_path: Path) -> None:
    """Measures and settings have no alias either."""
    with pytest.raises(DeclarationError, match="It is now called 'out_of_distribution'"):
        measure_of("strangers")
    with pytest.raises(DeclarationError, match="It is now called 'flip_tta'"):
        read({"mirror": False})


TEXT = {"network": {}, "doubt": 0.05, "max_ngram": 1}


@pytest.mark.parametrize(
    ("measure", "settings", "message"),
    [
        ("calibration", {"scaling": "vectro", "network": {}}, "Did you mean 'vector'"),
        ("calibration", {"scaling": "vector"}, "network is missing"),
        ("calibration", {"scaling": "vector", "network": {}, "epochs": 3}, "no setting 'epochs'"),
        ("calibration", {"scaling": "vector", "network": {"epoch": 3}}, "Did you mean 'epochs'"),
        ("out_of_distribution", {"score": "negativ_energy", "network": {}}, "Did you mean 'negative_energy'"),
        ("ladder", {"rung": "majorty"}, "Did you mean 'majority'"),
        ("ladder", {"rugn": "majority"}, "Did you mean 'rung'"),
        ("ladder", {"tutorial": "kera_convnet"}, "Did you mean 'keras_convnet'"),
        ("ladder", {"rung": "majority", "network": {}}, "one rung of the ladder"),
        ("ladder", {"network": 3}, "a table of settings"),
        ("deployment", {"deployed": "int4"}, "Did you mean 'int8'"),
        ("final_evaluation", {"ensemble": 6}, "from 1 to 5"),
        ("text", {"answer": "products", **TEXT}, "Did you mean 'product'"),
        ("text", {"answer": "product", **TEXT, "text_noise": {"typo": 0.1}}, "Did you mean 'typos'"),
        ("text", {"answer": "product", **TEXT, "test_noise": {"typos": 2}}, "from 0 to 1"),
        ("deployment", {"deployd": "int8"}, "no setting 'deployd'"),
        ("final_evaluation", {"epoch": 3}, "Did you mean 'epochs'"),
    ],
)
def test_settings_of_a_measure_are_checked(
    measure: str, settings: dict[str, object], message: str, tmp_path: Path
) -> None:
    """Its own and those of its network, before the first run."""
    declared = load("study", declare(tmp_path, DECLARED))
    with pytest.raises(DeclarationError, match=message):
        check([declared.model_copy(update={"measure": measure, "settings": {}, "arms": {"a": settings}})])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "Did you mean 'epochs'"),
        ({"augmentation": {"flipp": True}}, "Did you mean 'flip'"),
        ({"epochs": "many"}, "integer"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"label_smoothing": -3}, "0 to 1\nReceived: label_smoothing = -3"),
        ({"dropout": 1.5}, "0 to 1"),
        ({"peak_learning_rate": 0.0}, "more than 0"),
        ({"augmentation": {"shift": -1}}, "0 or more"),
        ({"objective": {"trim": 2.0}}, "0 to 1"),
        ({"teacher": {"dropout": -0.1}}, "0 to 1"),
        ({"family": "unet"}, "no family 'unet'"),
        ({"optimizer": "adam"}, "no optimizer 'adam'"),
        ({"labels": "best"}, "'original'"),
        ({"teacher": {"wide": 3}}, "'wide'"),
        ({"augmentation": {"side": 30}}, "a side of 4 to 28 pixels"),
        ({"family": "vit", "augmentation": {"side": 20}}, "family 'vit' depend on the size"),
    ],
)
def test_unknown_or_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    """A wrong setting is found before anything is trained."""
    with pytest.raises(DeclarationError, match=message):
        read(settings)


def test_stored_networks_are_identified_by_what_changes_their_weights() -> None:
    """Flip TTA changes no weight; a teacher does."""
    plain = read({"epochs": 3})
    assert plain.trained_by() == read({"epochs": 3, "flip_tta": False}).trained_by()
    assert plain.trained_by() != read({"epochs": 3, "teacher": {"width": 32}}).trained_by()


def test_defaults_do_not_identify_a_network() -> None:
    """Networks that were trained before a setting existed are found again."""
    default = read({"epochs": 3, "augmentation": {"side": 28, "side_until": 1.0}})
    assert default.trained_by() == {"epochs": 3}
    assert read({"augmentation": {"side": 20}}).trained_by() == {"augmentation": {"side": 20}}


def test_every_measure_is_a_module_with_a_measure() -> None:
    """The names are those of modules."""
    assert all(callable(measure_of(name)) for name in MEASURES)
    with pytest.raises(DeclarationError, match="no measure 'guess'"):
        measure_of("guess")
    assert STUDIES.is_dir()
