"""Results are read and written as CSV: what is in the files counts as finished, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.experiments.declaration import load
from analysis.experiments.laboratory import Laboratory
from analysis.experiments.results import Machine, Outcome, Results, ResultsError, describe_hardware, this_machine
from analysis.experiments.runner import run
from models.taxonomy import Taxonomy
from tests.analysis.experiments.test_declaration import DECLARED, declare
from tests.synthetic import images_and_garments

MACHINE = Machine("none 1.0", "abacus, 2 cores")
TRUTH = np.array([0, 1, 2, 0], np.int64)


def outcome(*wrong: int) -> Outcome:
    """Returns an outcome of four examples of which some are misclassified."""
    predicted = TRUTH.copy()
    predicted[list(wrong)] = 4
    return Outcome([("validation", "macro_f1", 1 - len(wrong) / 4), ("Bags", "support", 7.0)], TRUTH, predicted)


def results(directory: Path, text: str = DECLARED) -> Results:
    """Returns the results of the declared experiment as a new process reads them."""
    return Results(load("study", declare(directory, text)), directory)


def open_laboratory(directory: Path) -> Laboratory:
    """Returns a laboratory with 96 images to train on and 32 to evaluate."""
    images, garments = images_and_garments(160, 0)
    splits = {"train": slice(0, 96), "validation": slice(96, 128), "test": slice(128, 160)}
    return Laboratory(
        {name: images[part] for name, part in splits.items()},
        {name: garments[part] for name, part in splits.items()},
        Taxonomy.load(),
        directory / "store",
    )


def test_the_next_process_reads_what_was_added(tmp_path: Path) -> None:
    """Figures and misclassified examples are read back unchanged, in the order of the declaration."""
    first = results(tmp_path)
    first.add("b", 1, outcome(2, 3), MACHINE)
    first.add("a", 1, outcome(), MACHINE)
    again = results(tmp_path)
    assert again.missing() == [("a", 2), ("b", 2)] and not again.complete
    assert again.values("macro_f1").to_dict() == {"a": {1: 1.0}, "b": {1: 0.5}}
    assert list(again.figures["arm"].unique()) == ["a", "b"] and again.supports(["Bags"]).tolist() == [7]
    assert again.errors.values.tolist() == [["b", 1, 2, 2, 4], ["b", 1, 3, 0, 4]]
    assert set(again.figures["hardware"]) == {"abacus, 2 cores"}


def test_arrays_of_the_first_seed_alone_are_stored(tmp_path: Path) -> None:
    """Pictures are drawn from them; figures are stored with seven digits."""
    store = results(tmp_path)
    for seed in (2, 1):
        found = outcome()
        found.figures[0] = ("validation", "macro_f1", 0.123456789)
        found.arrays["seed"] = np.array([seed])
        store.add("a", seed, found, MACHINE)
        assert store.array_file.exists() == (seed == 1)
    with np.load(store.array_file) as content:
        assert content["seed"].tolist() == [1]
    assert results(tmp_path).values("macro_f1")["a"].tolist() == [0.1234568, 0.1234568]


def test_files_do_not_depend_on_the_order_of_the_runs(tmp_path: Path) -> None:
    """An interrupted experiment leaves the same bytes as an undisturbed one."""
    contents = []
    for name, order in (("one", [0, 1, 2, 3]), ("other", [3, 1, 0, 2])):
        (tmp_path / name).mkdir()
        store, runs = results(tmp_path / name), [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
        for i in order:
            store.add(*runs[i], outcome(i), MACHINE)
            store = results(tmp_path / name)
        contents.append([(tmp_path / name / f).read_bytes() for f in ("study.csv", "study.errors.csv")])
    assert contents[0] == contents[1]


def test_results_of_other_settings_do_not_count(tmp_path: Path) -> None:
    """A changed declaration makes the runs of the changed arms missing, and of no others."""
    store = results(tmp_path)
    for arm, seed in store.missing():
        store.add(arm, seed, outcome(0), MACHINE)
    assert results(tmp_path).complete
    changed = results(tmp_path, DECLARED.replace("flip = false", "flip = false, scale = 0.1"))
    assert changed.missing() == [("b", 1), ("b", 2)] and set(changed.errors["arm"]) == {"a"}


def test_a_measure_without_answers_can_be_added(tmp_path: Path) -> None:
    """Figures alone are results too."""
    store = results(tmp_path)
    for arm, seed in store.missing():
        store.add(arm, seed, Outcome([("noise", "auroc", 0.5)]), MACHINE)
        store = results(tmp_path)
    assert store.complete and store.errors.empty


@pytest.mark.slow
def test_runner_makes_one_seed_of_all_arms_before_the_next_within_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run starts after the budget; the next call makes the missing ones, and networks are trained once."""
    small = DECLARED.replace("epochs = 2", 'family = "quick", width = 8, epochs = 1, batch_size = 32')
    store, calls = results(tmp_path, small), []
    laboratory = open_laboratory(tmp_path)
    assert not run(store, laboratory, -1.0) and store.figures.empty
    assert not run(store, laboratory, 600.0, lambda arm, seed, done, total: calls.append((arm, seed, done, total)))
    assert (
        calls == [("a", 1, 0, 4), ("b", 1, 1, 4), ("a", 2, 2, 4), ("b", 2, 3, 4)] and results(tmp_path, small).complete
    )
    trained = len(list((tmp_path / "store").glob("*.json")))
    monkeypatch.setattr("models.training.train", lambda *_, **__: pytest.fail("trained again"))
    (tmp_path / "study.csv").unlink()
    before, again = store.values("macro_f1"), results(tmp_path, small)
    assert not run(again, laboratory, 600.0) and trained == 4 and again.values("macro_f1").equals(before)


def test_two_processes_lose_none_of_each_other_s_runs(tmp_path: Path) -> None:
    """Each adds to the current files, not to what it read at first."""
    one, other = results(tmp_path), results(tmp_path)
    one.add("a", 1, outcome(0), MACHINE)
    other.add("b", 1, outcome(1), MACHINE)
    assert results(tmp_path).missing() == [("a", 2), ("b", 2)] and len(results(tmp_path).errors) == 2


def test_a_run_that_two_processes_made_is_there_once(tmp_path: Path) -> None:
    """The later one replaces the other, figures and misclassified examples."""
    one, other = results(tmp_path), results(tmp_path)
    one.add("a", 1, outcome(0, 1), MACHINE)
    other.add("a", 1, outcome(3), MACHINE)
    store = results(tmp_path)
    assert store.errors["example"].tolist() == [3] and store.values("macro_f1")["a"].tolist() == [0.75]
    assert len(store.figures) == len(outcome().figures)


def test_runner_skips_what_another_process_has_finished_meanwhile(tmp_path: Path) -> None:
    """A run that was added after the start is not made again."""
    ladder = DECLARED.replace('"training"', '"ladder"').replace("augmentation = { flip = false }", "")
    ladder = ladder.replace("epochs = 2, augmentation = { shift = 2 }", 'rung = "majority"')
    store, calls = results(tmp_path, ladder), []

    def on_run(arm: str, seed: int, done: int, total: int) -> None:
        calls.append((arm, seed, done))
        if len(calls) == 1:
            results(tmp_path, ladder).add("b", 1, outcome(0), MACHINE)

    run(store, open_laboratory(tmp_path), 600.0, on_run)
    assert calls == [("a", 1, 0), ("a", 2, 2), ("b", 2, 3)] and results(tmp_path, ladder).complete


@pytest.mark.slow
def test_a_training_that_diverges_is_skipped(tmp_path: Path) -> None:
    """Its run stays missing and is reported; the others are made."""
    wild = DECLARED.replace("epochs = 2", 'family = "quick", width = 8, epochs = 2, batch_size = 32').replace(
        "[arms.b]", '[arms.b]\npeak_learning_rate = 1e30\nprecision = "float32"'
    )
    store = results(tmp_path, wild)
    failures = run(store, open_laboratory(tmp_path), 600.0)
    assert len(failures) == 2 and "b, seed 1: The training has diverged" in failures[0]
    assert store.missing() == [("b", 1), ("b", 2)]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("study.csv", lambda text: "", "A file of results is damaged"),
        ("study.csv", lambda text: text + "<<<<<<< HEAD\n", "line 4: <<<<<<< HEAD"),
        ("study.csv", lambda text: text.replace("metric", "metrics", 1), "no metric"),
        ("study.csv", lambda text: text + text.splitlines()[1] + "\n", "A figure is repeated"),
        ("study.errors.csv", lambda text: text + "a,1\n", "line 3: a,1"),
    ],
)
def test_damaged_files_are_an_error(file: str, change: Callable[[str], str], message: str, tmp_path: Path) -> None:
    """Nothing is read from a file that a merge or an editor has damaged."""
    results(tmp_path).add("a", 1, outcome(0), MACHINE)
    damaged = tmp_path / file
    damaged.write_text(change(damaged.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ResultsError, match=message):
        results(tmp_path)


def test_misclassified_examples_are_as_many_as_the_accuracy_implies(tmp_path: Path) -> None:
    """A missing or truncated file of errors would make arms look equal."""
    found = outcome(0, 1)
    found.figures.extend([("validation", "group_accuracy", 0.5), ("Footwear", "support", 4.0)])
    found.figures.remove(("Bags", "support", 7.0))
    results(tmp_path).add("a", 1, found, MACHINE)
    assert len(results(tmp_path).errors) == 2
    (tmp_path / "study.errors.csv").unlink()
    with pytest.raises(ResultsError, match="Expected: 2 of a, seed 1\nReceived: 0"):
        results(tmp_path)


def test_hardware_names_processor_and_accelerators() -> None:
    """GPUs of a kind are counted; without one there is only the processor."""
    assert describe_hardware("abacus", 2, []) == "abacus, 2 cores"
    assert describe_hardware("abacus", 16, ["NVIDIA H100", "NVIDIA H100"]) == "abacus, 16 cores, 2 x NVIDIA H100"
    assert " cores" in this_machine().hardware and this_machine().backend.split()[0] in ("tensorflow", "jax", "torch")
