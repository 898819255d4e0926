"""The figures of the exploration as plain JSON, section by section, for the documents that name them.

Shares are fractions. An estimate with a confidence interval is `{"value": ..., "interval": [low, high]}`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.evaluation.bootstrap import Estimate
from analysis.exploration import distribution_shift
from analysis.exploration.data_maps import REGIONS
from analysis.exploration.group_separation import measure_separation
from analysis.exploration.near_duplicates import ACCURACY_MARGIN, CUT, NEAR, SHARE_MARGIN
from analysis.exploration.principal_components import directions_for
from analysis.exploration.report import ExplorationInputs, Explored
from analysis.exploration.two_sample_tests import smallest_detected

Figures = dict[str, Any]

DIGITS = 6
"""Significant digits of every figure."""


def summarize(inputs: ExplorationInputs, explored: Explored) -> Figures:
    """Returns the figures of every section."""
    figures = {
        "classes": _classes(explored),
        "features": _features(explored),
        "shift": _shift(explored),
        "geometry": _geometry(explored),
        "near_duplicates": _near_duplicates(explored),
        "label_quality": _label_quality(explored),
        "difficulty": _difficulty(explored),
        "data_needed": _data_needed(inputs.curves, explored.fits),
    }
    return {name: _rounded(section) for name, section in figures.items()}


def _classes(explored: Explored) -> Figures:
    data, found = explored.data, explored.classes
    taxonomy, information = data.taxonomy, found.information
    sizes = found.sizes.groupby("group", sort=False)[["train", "test"]].sum()
    members = [len(taxonomy.members(group)) for group in range(len(taxonomy.groups))]
    return {
        "train_images": len(data.train_rows),
        "test_images": len(data.test_rows),
        "garments": _by(found.sizes, "garment"),
        "garments_of": {
            group: [taxonomy.garments[garment] for garment in taxonomy.members(number)]
            for number, group in enumerate(taxonomy.groups)
        },
        "groups": _by(sizes.reset_index(), "group"),
        "harmless_confusions": sum(count * (count - 1) for count in members),
        "confusions": len(taxonomy.garments) * (len(taxonomy.garments) - 1),
        "naive": _by(found.naive, "classifier"),
        "entropy_bits": {"garment": information.garment_entropy, "group": information.group_entropy},
        "variance_explained": {"garment": found.garments_explain, "group": found.groups_explain},
        "silhouette_share": float(information.silhouette.sum() / max(information.group.sum(), 1e-12)),
    }


def _features(explored: Explored) -> Figures:
    data, table = explored.data, explored.features
    separated = measure_separation(data, table, explored.classes.pair)
    areas = separated.of_pair.copy()
    folded = areas["area"] < 0.5
    areas.loc[folded, ["area", "low", "high"]] = 1 - areas.loc[folded, ["area", "high", "low"]].to_numpy()
    longest = table[["height", "width"]].max(axis=1)
    return {
        "pair": [data.taxonomy.groups[group] for group in separated.pair],
        "area_under_roc": {row.feature: _estimate(row.area, row.low, row.high) for row in _rows(areas)},
        "best": str(areas["feature"].iloc[0]),
        "all_features_area": separated.together,
        "spans_the_picture": float((longest >= min(data.images.shape[1:]) - 1).mean()),
    }


def _shift(explored: Explored) -> Figures:
    shift = explored.shift
    first = shift.by_feature.iloc[0]
    power = smallest_detected(shift.power).min(axis=1)
    largest = shift.differences.iloc[int(shift.differences["difference"].abs().argmax())]
    return {
        "tests_that_detect": list(shift.found),
        "comparisons": len(shift.by_feature),
        "smallest_p": {
            "feature": first["feature"],
            "garments": first["garments"],
            "p": first["p"],
            "p_holm": first["adjusted"],
        },
        "classifier": {"area": shift.classifier.statistic, "p": shift.classifier.p},
        "mean_discrepancy": {"p": shift.discrepancy.p},
        "features": len(shift.differences),
        "largest_difference": {
            "feature": largest["feature"],
            **_estimate(largest["difference"], largest["low"], largest["high"]),
        },
        "margin": distribution_shift.MARGIN,
        "largest_bound": shift.largest_bound,
        "equivalent": shift.largest_bound < distribution_shift.MARGIN,
        "smallest_detected_share": {
            str(name): None if np.isnan(share) else float(share) for name, share in power.items()
        },
    }


def _geometry(explored: Explored) -> Figures:
    geometry, taxonomy = explored.geometry, explored.data.taxonomy
    every = geometry.dimensions[geometry.dimensions["kind"] == "all"].iloc[0]
    nearest, group_of = geometry.nearest_garment, np.array(taxonomy.group_of)
    across = np.where(group_of[:, None] == group_of[None], 0, nearest)
    spaces = ("pixels_garment", "pixels_group", "network_garment", "network_group")
    return {
        "pixels": len(geometry.components.variances),
        "intrinsic_dimension": _estimate(every["two_nearest"], every["low"], every["high"]),
        "linear_dimension": directions_for(geometry.components.variances, 0.95),
        "nearest_has_garment": _named(np.diagonal(nearest), taxonomy.garments),
        "nearest_has_other_group": _named(across.sum(axis=1), taxonomy.garments),
        "same_class_among_ten": {name: float(geometry.purity[name].mean()) for name in spaces},
        "same_class_among_ten_by_garment": _by(geometry.purity[["garment", *spaces]], "garment"),
        "models": {
            row.model: {
                "accuracy": _estimate(row.accuracy, row.accuracy_low, row.accuracy_high),
                "macro_f1": _estimate(row.macro_f1, row.macro_f1_low, row.macro_f1_high),
                "most_confused": row.worst_pair,
                "share_of_errors": row.worst_share,
            }
            for row in _rows(geometry.separability)
        },
    }


def _near_duplicates(explored: Explored) -> Figures:
    found = explored.near_duplicates
    counts = {f"{row['rmse']:g}": row.drop("rmse").astype(int).to_dict() for _, row in found.counts.iterrows()}
    conflicts = found.garment_conflicts
    effects = {}
    for row in found.effects.to_dict("records"):
        names = ("all", "near", "far", "added", "fair_gap")
        effects[row["model"]] = {name: _estimate(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in names}
    garments = found.by_garment
    return {
        "near": NEAR,
        "cut": CUT,
        "exact": found.exact,
        "counts": counts,
        "share_difference": _equivalence(found.share_difference, SHARE_MARGIN),
        "by_garment": {row.garment: {"test": row.test, "images": row.test_images} for row in _rows(garments)},
        "garment_conflicts": int(conflicts["pairs"].sum()),
        "group_conflicts": len(found.conflicts),
        "conflicts_within_a_group": float(
            conflicts.loc[conflicts["same_group"], "pairs"].sum() / max(conflicts["pairs"].sum(), 1)
        ),
        "other_shade": len(found.brightness.variants(NEAR)),
        "removed": found.removed,
        "removal": _equivalence(found.removal, ACCURACY_MARGIN),
        "effects": effects,
    }


def _label_quality(explored: Explored) -> Figures:
    quality, data = explored.label_quality, explored.data
    table = quality.by_garment
    noise = {
        row.estimate: {**_estimate(row.share, row.low, row.high), "assumes": row.assumes}
        for row in _rows(quality.noise)
        if not np.isnan(row.share)
    }
    return {
        "suspected": {
            "train_garments": len(quality.train_garments.rows),
            "train_groups": len(quality.train_groups.rows),
            "test_groups": len(quality.test_groups.rows),
        },
        "suspected_share": {
            "train_garments": len(quality.train_garments.rows) / len(data.train_rows),
            "train_groups": len(quality.train_groups.rows) / len(data.train_rows),
            "test_groups": len(quality.test_groups.rows) / len(data.test_rows),
        },
        "across_groups_share": float(table["across"].sum() / max(table["suspected"].sum(), 1)),
        "by_garment": {
            row.garment: {
                "suspected": row.suspected / max(row.images, 1),
                "group_suspected": row.group_suspected / max(row.images, 1),
                "suggested": row.suggested,
            }
            for row in _rows(table)
        },
        "noise": noise,
        "ceiling": {
            name: _estimate(1 - found["value"], 1 - found["interval"][1], 1 - found["interval"][0])
            for name, found in noise.items()
        },
        "accuracy_without": {
            row.model: {
                "official": row.official,
                "without": row.without,
                "at_most": row.at_most,
                "suspected_misclassified": row.suspected_misclassified,
            }
            for row in _rows(quality.excluded)
        },
        "out_of_fold_accuracy": {"garment": quality.out_of_fold[0], "group": quality.out_of_fold[1]},
        "planted": {
            p.kind: {"swapped": p.swapped, "recall": p.recall, "precision": p.precision}
            for p in quality.planted
            if p.target == "group"
        },
    }


def _difficulty(explored: Explored) -> Figures:
    found, taxonomy = explored.difficulty, explored.data.taxonomy
    shared, pair = found.shared, found.pair
    groups = np.bincount(explored.data.groups[explored.data.test_rows[shared.by_all]], minlength=len(taxonomy.groups))
    kappa = shared.consistency[np.triu_indices(len(shared.models), 1)]
    regions = np.bincount(found.map.region, minlength=len(REGIONS)) / len(found.map.region)
    return {
        "models": list(shared.models),
        "misclassified_by_all": {
            "images": len(shared.by_all),
            "expected_if_independent": float(shared.expected[-1]),
            "suspected_of_a_wrong_group": found.suspected_of_all,
            "by_labelled_group": _named(groups, taxonomy.groups),
        },
        "correct_by_all": int((~shared.wrong.any(axis=0)).sum()),
        "error_consistency": {"least": float(kappa.min()), "most": float(kappa.max())},
        "data_map": _named(regions, REGIONS),
        "data_map_by_garment": _by(found.map.by_garment, "garment"),
        "pair": {
            "groups": [taxonomy.groups[group] for group in pair.groups],
            "share_of_errors": {
                f"{row.model}, {row.on}": {"errors": row.errors, **_estimate(row.share, row.low, row.high)}
                for row in _rows(pair.shares)
            },
            "by_garment": {
                row.garment: {"confused": row.confused, "predicted": row.predicted}
                | _estimate(row.share, row.low, row.high)
                for row in _rows(pair.by_garment)
            },
            "directions": {taxonomy.groups[way.labelled]: _direction(way) for way in pair.directions},
        },
    }


def _direction(way: Any) -> Figures:
    best = way.measures.iloc[0]
    return {
        "images": len(way.rows),
        "neighbours_of_the_other_group": way.neighbours,
        "neighbours_of_the_other_group_if_correct": way.neighbours_correct,
        "suspected": way.suspected / max(len(way.rows), 1),
        "best_feature": {
            "name": best["measure"],
            "confused": best["confused"],
            "correct": best["correct"],
            "other": best["other"],
            "area": _estimate(best["auc"], best["low"], best["high"]),
        },
    }


def _data_needed(curves: pd.DataFrame, fits: pd.DataFrame) -> Figures:
    targets: Figures = {"group": {}, "garment": {}}
    for row in fits.to_dict("records"):
        estimates = [row[name] for name in ("tenfold", "tenfold_without_floor", "tenfold_from_larger")]
        bounds = [row["tenfold_low"], row["tenfold_high"], *estimates]
        errors = curves[curves["model"] == row["model"]].groupby("images")[f"{row['target']}_error"].mean()
        targets[row["target"]][row["model"]] = {
            "images": int(row["images"]),
            "error": row["error"],
            "error_of_half": float(errors.iloc[max(len(errors) - 2, 0)]),
            "floor": _estimate(row["floor"], row["floor_low"], row["floor_high"]),
            "exponent": _estimate(row["exponent"], row["exponent_low"], row["exponent_high"]),
            "tenfold": _estimate(row["tenfold"], row["tenfold_low"], row["tenfold_high"]),
            "tenfold_of_all_fits": [min(bounds), max(bounds)],
        }
    return targets


def _estimate(value: float, low: float, high: float) -> Figures:
    return {"value": float(value), "interval": [float(low), float(high)]}


def _equivalence(found: Estimate, margin: float) -> Figures:
    """Returns a difference, and whether its interval lies within a margin on both sides of zero."""
    figures = _estimate(found.value, found.low, found.high)
    return figures | {"margin": margin, "equivalent": max(abs(found.low), abs(found.high)) < margin}


def _by(table: pd.DataFrame, key: str) -> Figures:
    """Returns the rows of a table by the value of one column; spaces in column names become underscores."""
    named = table.rename(columns=lambda name: str(name).replace(" ", "_")).set_index(key)
    return {str(name): row for name, row in named.to_dict("index").items()}


def _rows(table: pd.DataFrame) -> list[Any]:
    """Returns the rows of a table as named tuples."""
    return list(table.itertuples())


def _named(values: Any, names: tuple[str, ...]) -> Figures:
    return {name: value.item() for name, value in zip(names, np.asarray(values), strict=True)}


def _rounded(value: Any) -> Any:
    """Returns plain JSON values: numbers of Python, rounded to `DIGITS` significant digits."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, np.generic):
        return _rounded(value.item())
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
