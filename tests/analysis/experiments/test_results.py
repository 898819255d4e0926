"""Results are a journal: what is in the files is done, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.experiments.declaration import load
from analysis.experiments.laboratory import Laboratory
from analysis.experiments.place import Place, hardware, here
from analysis.experiments.results import Outcome, Results, ResultsError
from analysis.experiments.runner import run
from models.taxonomy import Taxonomy
from tests.analysis.experiments.test_declaration import DECLARED, declare
from tests.synthetic import images_and_garments

HERE = Place("none 1.0", "abacus, 2 cores")
TRUTH = np.array([0, 1, 2, 0], np.int64)


def outcome(*wrong: int) -> Outcome:
    """Four answers of which some are wrong."""
    predicted = TRUTH.copy()
    predicted[list(wrong)] = 4
    return Outcome([("validation", "macro_f1", 1 - len(wrong) / 4), ("Bags", "support", 7.0)], TRUTH, predicted)


def results(directory: Path, text: str = DECLARED) -> Results:
    """The results of the declared study, as a new process would read them."""
    return Results(load("study", declare(directory, text)), directory)


def open_laboratory(directory: Path) -> Laboratory:
    """96 images to train on, and 32 to judge."""
    images, garments = images_and_garments(160, 0)
    splits = {"train": slice(0, 96), "validation": slice(96, 128), "test": slice(128, 160)}
    return Laboratory(
        {name: images[part] for name, part in splits.items()},
        {name: garments[part] for name, part in splits.items()},
        Taxonomy.load(),
        directory / "store",
    )


def test_what_was_added_is_there_for_the_next_process(tmp_path: Path) -> None:
    """Figures and wrong answers are read back as they were, in the order of the declaration."""
    first = results(tmp_path)
    first.add("b", 1, outcome(2, 3), HERE)
    first.add("a", 1, outcome(), HERE)
    again = results(tmp_path)
    assert again.missing() == [("a", 2), ("b", 2)] and not again.complete
    assert again.values("macro_f1").to_dict() == {"a": {1: 1.0}, "b": {1: 0.5}}
    assert list(again.figures["arm"].unique()) == ["a", "b"] and again.supports(["Bags"]).tolist() == [7]
    assert again.errors.values.tolist() == [["b", 1, 2, 2, 4], ["b", 1, 3, 0, 4]]
    assert set(again.figures["hardware"]) == {"abacus, 2 cores"}


def test_files_do_not_depend_on_the_order_of_the_runs(tmp_path: Path) -> None:
    """A study that was interrupted leaves the bytes of an undisturbed one."""
    contents = []
    for name, order in (("one", [0, 1, 2, 3]), ("other", [3, 1, 0, 2])):
        (tmp_path / name).mkdir()
        held, runs = results(tmp_path / name), [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
        for place in order:
            held.add(*runs[place], outcome(place), HERE)
            held = results(tmp_path / name)
        contents.append([(tmp_path / name / f).read_bytes() for f in ("study.csv", "study.errors.csv")])
    assert contents[0] == contents[1]


def test_results_of_other_settings_do_not_count(tmp_path: Path) -> None:
    """A changed declaration makes the runs of the arms that it changes missing, and of no others."""
    held = results(tmp_path)
    for arm, seed in held.missing():
        held.add(arm, seed, outcome(0), HERE)
    assert results(tmp_path).complete
    changed = results(tmp_path, DECLARED.replace("flip = false", "flip = false, scale = 0.1"))
    assert changed.missing() == [("b", 1), ("b", 2)] and set(changed.errors["arm"]) == {"a"}


def test_a_measure_without_answers_can_be_added(tmp_path: Path) -> None:
    """Figures alone are results too."""
    held = results(tmp_path)
    for arm, seed in held.missing():
        held.add(arm, seed, Outcome([("noise", "auroc", 0.5)]), HERE)
        held = results(tmp_path)
    assert held.complete and held.errors.empty


def test_runner_makes_a_seed_of_all_arms_before_the_next_and_keeps_to_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is begun after the budget; what is missing is made by the next call, and networks are trained once."""
    small = DECLARED.replace("epochs = 2", 'family = "quick", width = 8, epochs = 1, batch_size = 32')
    held, told = results(tmp_path, small), []
    laboratory = open_laboratory(tmp_path)
    assert not run(held, laboratory, -1.0) and held.figures.empty
    assert not run(held, laboratory, 600.0, lambda arm, seed, done, total: told.append((arm, seed, done, total)))
    assert (
        told == [("a", 1, 0, 4), ("b", 1, 1, 4), ("a", 2, 2, 4), ("b", 2, 3, 4)] and results(tmp_path, small).complete
    )
    trained = len(list((tmp_path / "store").glob("*.json")))
    monkeypatch.setattr("models.training.train", lambda *_, **__: pytest.fail("trained again"))
    (tmp_path / "study.csv").unlink()
    before, again = held.values("macro_f1"), results(tmp_path, small)
    assert not run(again, laboratory, 600.0) and trained == 4 and again.values("macro_f1").equals(before)


def test_two_processes_lose_none_of_each_other_s_runs(tmp_path: Path) -> None:
    """Each adds to what is in the files then, not to what it read at first."""
    one, other = results(tmp_path), results(tmp_path)
    one.add("a", 1, outcome(0), HERE)
    other.add("b", 1, outcome(1), HERE)
    assert results(tmp_path).missing() == [("a", 2), ("b", 2)] and len(results(tmp_path).errors) == 2


def test_a_run_that_two_processes_made_is_there_once(tmp_path: Path) -> None:
    """The later one takes the place of the other, figures and wrong answers."""
    one, other = results(tmp_path), results(tmp_path)
    one.add("a", 1, outcome(0, 1), HERE)
    other.add("a", 1, outcome(3), HERE)
    held = results(tmp_path)
    assert held.errors["example"].tolist() == [3] and held.values("macro_f1")["a"].tolist() == [0.75]
    assert len(held.figures) == len(outcome().figures)


def test_runner_leaves_out_what_another_process_has_made_meanwhile(tmp_path: Path) -> None:
    """A run that was added after the study began is not made again."""
    ladder = DECLARED.replace('"training"', '"ladder"').replace("augmentation = { flip = false }", "")
    ladder = ladder.replace("epochs = 2, augmentation = { shift = 2 }", 'rung = "majority"')
    held, told = results(tmp_path, ladder), []

    def tell(arm: str, seed: int, done: int, total: int) -> None:
        told.append((arm, seed, done))
        if len(told) == 1:
            results(tmp_path, ladder).add("b", 1, outcome(0), HERE)

    run(held, open_laboratory(tmp_path), 600.0, tell)
    assert told == [("a", 1, 0), ("a", 2, 2), ("b", 2, 3)] and results(tmp_path, ladder).complete


def test_a_training_that_diverges_is_passed_over(tmp_path: Path) -> None:
    """Its run stays missing and is told; the others are made."""
    wild = DECLARED.replace("epochs = 2", 'family = "quick", width = 8, epochs = 2, batch_size = 32').replace(
        "[arms.b]", '[arms.b]\npeak_learning_rate = 1e30\nprecision = "float32"'
    )
    held = results(tmp_path, wild)
    failures = run(held, open_laboratory(tmp_path), 600.0)
    assert len(failures) == 2 and "b, seed 1: The training has diverged" in failures[0]
    assert held.missing() == [("b", 1), ("b", 2)]


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("study.csv", lambda text: "", "not as they were written"),
        ("study.csv", lambda text: text + "<<<<<<< HEAD\n", "line 4: <<<<<<< HEAD"),
        ("study.csv", lambda text: text.replace("metric", "metrics", 1), "no metric"),
        ("study.csv", lambda text: text + text.splitlines()[1] + "\n", "A figure is there twice"),
        ("study.errors.csv", lambda text: text + "a,1\n", "line 3: a,1"),
    ],
)
def test_files_that_were_spoilt_are_told(file: str, change: Callable[[str], str], said: str, tmp_path: Path) -> None:
    """Nothing is read from a file that a merge or an editor has left half right."""
    results(tmp_path).add("a", 1, outcome(0), HERE)
    spoilt = tmp_path / file
    spoilt.write_text(change(spoilt.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ResultsError, match=said):
        results(tmp_path)


def test_wrong_answers_are_as_many_as_the_accuracy_says(tmp_path: Path) -> None:
    """Without their file two arms would not differ in anything, as little as with half of it."""
    found = outcome(0, 1)
    found.figures.extend([("validation", "group_accuracy", 0.5), ("Footwear", "support", 4.0)])
    found.figures.remove(("Bags", "support", 7.0))
    results(tmp_path).add("a", 1, found, HERE)
    assert len(results(tmp_path).errors) == 2
    (tmp_path / "study.errors.csv").unlink()
    with pytest.raises(ResultsError, match="Expected: 2 of a, seed 1. Received: 0"):
        results(tmp_path)


def test_hardware_names_the_processor_and_what_else_computes() -> None:
    """A GPU is told, several of a kind are counted; without one there is the processor alone."""
    assert hardware("abacus", 2, []) == "abacus, 2 cores"
    assert hardware("abacus", 16, ["NVIDIA H100", "NVIDIA H100"]) == "abacus, 16 cores, 2 x NVIDIA H100"
    assert " cores" in here().hardware and here().backend.split()[0] in ("tensorflow", "jax", "torch")
