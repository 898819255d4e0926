"""The label review: its rows are complete and name the published images, and its figures follow from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.data import fashion_mnist
from analysis.exploration import label_review
from analysis.exploration.label_review import AMBIGUOUS, CONTROL, CONTROLS, RIGHT, SOME_RUNS, WRONG
from models.taxonomy import Taxonomy

REVIEW = label_review.read_review()


def reviewed(counts: dict[tuple[str, str, str], int], split: str = "test") -> pd.DataFrame:
    """Returns a review with a number of images for each reason and pair of verdicts."""
    rows = []
    for (reason, first, second), count in counts.items():
        for _ in range(count):
            image = {"source_id": f"{split}/{len(rows):016x}", "split": split, "original_index": len(rows)}
            image |= {"labelled_garment": "Dress", "labelled_group": "One piece", "reason": reason}
            image |= {"misclassified_runs": int(reason != CONTROL)}
            for number, verdict in ((1, first), (2, second)):
                shown = {RIGHT: "One piece", WRONG: "Upper part", AMBIGUOUS: ""}[verdict]
                rows.append(image | {"pass": number, "shows": "", "shown_group": shown, "verdict": verdict})
    return pd.DataFrame(rows).assign(certainty=2)


def test_both_passes_judge_every_image() -> None:
    """Each image has one row a pass, with a verdict that follows from the labelled group and the group it shows."""
    assert list(REVIEW.columns) == [*label_review.IMAGE_COLUMNS, *label_review.PASS_COLUMNS]
    assert set(REVIEW.groupby("source_id")["pass"].apply(tuple)) == {(1, 2)}
    assert len(label_review.pair_passes(REVIEW)) == REVIEW["source_id"].nunique()
    assert set(REVIEW["certainty"]) <= {1, 2, 3} and (REVIEW["shows"] != "").all()
    follows = np.where(REVIEW["shown_group"] == REVIEW["labelled_group"], RIGHT, WRONG)
    assert (REVIEW["verdict"] == np.where(REVIEW["shown_group"] == "", AMBIGUOUS, follows)).all()


def test_the_review_names_the_published_images() -> None:
    """Source ids, indices in the official files and labels are those of the data."""
    source = fashion_mnist.locate()
    if source.kind == "download":
        pytest.skip("Fashion-MNIST is not on this machine")
    images = label_review.official_images(fashion_mnist.load(source), Taxonomy.load())
    columns = list(images.columns)
    assert len(REVIEW.merge(images, on=columns)) == len(REVIEW)


def test_every_misclassified_test_image_is_reviewed() -> None:
    """The review covers all test images that a run of the final experiment misclassifies, and the controls."""
    images = REVIEW.drop_duplicates("source_id")
    test = images[images["split"] == "test"]
    errors = pd.read_csv(label_review.FILE.parents[1] / "experiments" / "studies" / "final_evaluation.errors.csv")
    all_seeds = test["reason"].isin([label_review.ALL_SEEDS, label_review.BOTH])
    assert all_seeds.sum() == len(label_review.misclassified_by_all_seeds(errors))
    assert (test["misclassified_runs"] > 0).sum() == errors["example"].nunique()
    assert test["misclassified_runs"].sum() == len(errors)
    assert (images.groupby("split")["reason"].agg(lambda reason: (reason == CONTROL).sum()) == CONTROLS).all()


def test_agreement_and_kappa_of_a_known_table() -> None:
    """70 of 100 equal verdicts, of which chance gives 50: kappa is 20 of 50."""
    counts = {(SOME_RUNS, RIGHT, RIGHT): 35, (SOME_RUNS, WRONG, WRONG): 35}
    counts |= {(SOME_RUNS, RIGHT, WRONG): 15, (SOME_RUNS, WRONG, RIGHT): 15}
    found = label_review.measure_agreement(label_review.pair_passes(reviewed(counts)))
    assert found["agreement"]["value"] == 0.7
    assert found["kappa"]["value"] == pytest.approx(0.4)
    low, high = found["kappa"]["interval"]
    assert low < 0.4 < high
    assert found["table"] == [[35, 0, 15], [0, 0, 0], [15, 0, 35]]


def test_the_ceiling_counts_wrong_labels_above_and_doubtful_ones_below() -> None:
    """A label that both passes call wrong lowers both ends, a doubtful one the lower end, a control neither."""
    counts = {(label_review.ALL_SEEDS, WRONG, WRONG): 5, (label_review.ALL_SEEDS, WRONG, RIGHT): 3}
    counts |= {(SOME_RUNS, RIGHT, AMBIGUOUS): 2, (SOME_RUNS, RIGHT, RIGHT): 10, (CONTROL, AMBIGUOUS, RIGHT): 8}
    ceiling = label_review.estimate_ceiling(label_review.pair_passes(reviewed(counts)))
    assert (ceiling["low"], ceiling["high"]) == (pytest.approx(0.9990), pytest.approx(0.9995))
    assert (ceiling["covered"], ceiling["wrong_by_pass"]) == (20, [8, 5])
    low, high = ceiling["interval"]
    assert low < ceiling["low"] and ceiling["high"] < high < 1


def test_images_are_selected_by_reason() -> None:
    """Images that all seeds misclassify, suspected ones, both, those of some runs, and controls; the choice repeats."""
    images = pd.DataFrame({"source_id": [f"{split}/{row}" for split in ("train", "test") for row in range(300)]})
    images["split"] = images["source_id"].str.split("/").str[0]
    seeds = [("the default", seed, row) for seed in (1, 2) for row in range(5)]
    some = [("the default without mixup", 1, row) for row in range(5, 105)]
    errors = pd.DataFrame([*seeds, *some], columns=["arm", "seed", "example"])
    chosen = label_review.select_images(images, errors, ["train/7", "test/0"])
    assert chosen.equals(label_review.select_images(images, errors, ["train/7", "test/0"]))
    reasons = chosen.set_index("source_id")["reason"]
    assert reasons["train/7"] == label_review.SUSPECTED and reasons["test/0"] == label_review.BOTH
    assert sorted(reasons.index[reasons == label_review.ALL_SEEDS]) == [f"test/{row}" for row in range(1, 5)]
    assert sorted(reasons.index[reasons == SOME_RUNS]) == sorted(f"test/{row}" for row in range(5, 105))
    runs = chosen.set_index("source_id")["misclassified_runs"]
    assert (runs["test/1"], runs["test/9"], runs["train/7"]) == (2, 1, 0)
    assert (runs[reasons == CONTROL] == 0).all() and (reasons == CONTROL).sum() == 2 * CONTROLS


def test_wrong_labels_are_counted_by_direction() -> None:
    """Only labels that both passes call wrong count, in all and in the test split."""
    counts = {(SOME_RUNS, WRONG, WRONG): 3, (SOME_RUNS, WRONG, RIGHT): 2}
    both_splits = pd.concat([reviewed(counts), reviewed({(label_review.SUSPECTED, WRONG, WRONG): 4}, "train")])
    summary = label_review.summarize(both_splits)
    assert summary["directions"] == [{"labelled": "One piece", "shows": "Upper part", "images": 7, "test": 3}]
    assert (summary["reviewed"], summary["label_wrong"]) == (9, 7)


def test_the_summary_counts_verdicts_by_split_reason_and_pass() -> None:
    """Each count has its own name; controls are no verdict of a pass, and differing passes count apart."""
    suspected, every = label_review.SUSPECTED, label_review.ALL_SEEDS
    test = reviewed({(CONTROL, RIGHT, RIGHT): 6, (every, WRONG, WRONG): 3, (every, WRONG, RIGHT): 2})
    train = reviewed({(suspected, AMBIGUOUS, AMBIGUOUS): 4, (suspected, RIGHT, WRONG): 1}, "train")
    found = label_review.summarize(pd.concat([test, train]))
    counts = {RIGHT: 0, AMBIGUOUS: 0, WRONG: 0, "passes differ": 0}
    assert found["splits"] == {
        "test": {"images": 11} | counts | {RIGHT: 6, WRONG: 3, "passes differ": 2},
        "train": {"images": 5} | counts | {AMBIGUOUS: 4, "passes differ": 1},
    }
    assert list(found["reasons"]) == [f"{suspected}, train", f"{every}, test", f"{CONTROL}, test"]
    assert found["reasons"][f"{every}, test"] == {"images": 5} | counts | {WRONG: 3, "passes differ": 2}
    assert found["passes"] == {
        "pass 1": {RIGHT: 1, AMBIGUOUS: 4, WRONG: 5},
        "pass 2": {RIGHT: 2, AMBIGUOUS: 4, WRONG: 4},
    }
    assert found["table"] == [[0, 0, 1], [0, 4, 0], [2, 0, 3]], "pass 1 down, pass 2 across, controls left out"
    assert (found["agreement"]["value"], found["label_wrong"]) == (0.7, 3)


def test_official_images_stand_in_the_order_of_the_examples() -> None:
    """They are sorted by their names, and the index is that in the official file."""
    pixels = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((28, 28), np.uint8)
    content = fashion_mnist.LabelledImages(pixels, np.array([3, 0, 9, 8]))
    found = label_review.official_images({"train": content, "test": content}, Taxonomy.load())
    names = np.array(fashion_mnist.content_ids(pixels))
    order = np.argsort(names)
    assert found["original_index"].tolist() == [*order, *order]
    assert found["source_id"].tolist() == [f"{split}/{name}" for split in ("train", "test") for name in names[order]]
    garments = np.array(["Dress", "T-shirt/top", "Ankle boot", "Bag"])[order]
    groups = np.array(["One piece", "Upper part", "Footwear", "Bags"])[order]
    assert found["labelled_garment"].tolist() == [*garments] * 2 and found["labelled_group"].tolist() == [*groups] * 2
    assert found["split"].tolist() == ["train"] * 4 + ["test"] * 4


def test_passes_of_an_image_stand_side_by_side() -> None:
    """The common verdict is empty where the passes differ, and each pass keeps its own."""
    paired = label_review.pair_passes(reviewed({(SOME_RUNS, WRONG, RIGHT): 1, (SOME_RUNS, WRONG, WRONG): 1}))
    assert paired["verdict"].tolist() == ["", WRONG]
    assert paired[["verdict_1", "verdict_2"]].to_numpy().tolist() == [[WRONG, RIGHT], [WRONG, WRONG]]
    assert paired[["shown_group_1", "shown_group_2"]].iloc[0].tolist() == ["Upper part", "One piece"]
