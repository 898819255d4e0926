"""Power laws fitted to learning curves, and the section on how much data is needed.

Hestness et al., "Deep Learning Scaling is Predictable, Empirically", 2017 (https://arxiv.org/abs/1712.00409): the error
is floor + scale * images ** -exponent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from analysis.exploration.data import Data
from analysis.exploration.learning_curves import epochs_for
from analysis.pages import figure_style as style
from analysis.pages.section import Listing, Picture, Section

Values = npt.NDArray[np.float64]

EXPONENTS = np.linspace(0.05, 2.0, 391)
FEWEST_SIZES = 3
"""A law has three parameters, so fewer numbers of training images determine none."""
COLOURS = (style.NEUTRAL, style.TEST, "#8f6bb3")
"""Colours of the models, none of which is the colour of a group."""


@dataclass(frozen=True)
class PowerLaw:
    """One law or many: float64 of one shape, [] or [curves].

    Attributes:
        floor: The error that no number of images removes, at least 0.
        scale: The error above the floor at one image.
        exponent: The rate at which the error falls.
    """

    floor: Any
    scale: Any
    exponent: Any

    def error(self, images: Any) -> Any:
        """Returns the error with `images` training images, broadcast with the shape of the law."""
        return self.floor + self.scale * np.asarray(images, np.float64) ** -self.exponent


def fit_power_law(images: Values, errors: Values, floor: bool = True) -> PowerLaw:
    """Fits power laws by least squares of the relative deviations.

    For a fixed exponent the law is linear in floor and scale, which have an exact solution; the exponent is the best of
    a fine grid. So the fit needs no starting point, has no local minima, and takes milliseconds for a thousand curves.

    Args:
        images: [S], the numbers of training images.
        errors: [S] or [curves, S], positive.
        floor: Whether there may be a floor above 0. Defaults to True.
    """
    y = np.atleast_2d(errors)
    basis = (images / images.max()) ** -EXPONENTS[:, None]
    scale, base, loss = _solve(basis, y, floor)
    best = loss.argmin(axis=1)
    rows = np.arange(len(y))
    exponent = EXPONENTS[best]
    law = PowerLaw(base[rows, best], scale[rows, best] * images.max() ** exponent, exponent)
    return law if np.ndim(errors) == 2 else PowerLaw(law.floor[0], law.scale[0], law.exponent[0])


def _solve(basis: Values, y: Values, floor: bool) -> tuple[Values, Values, Values]:
    """Returns scale, floor and loss, each [curves, exponents], of y [curves, S] on basis [exponents, S]."""
    weight = 1 / y**2
    w, wy = weight.sum(axis=1, keepdims=True), (weight * y).sum(axis=1, keepdims=True)
    wu, wuu, wuy = weight @ basis.T, weight @ (basis**2).T, (weight * y) @ basis.T
    scale = (w * wuy - wu * wy) / (w * wuu - wu**2)
    base = (wy - scale * wu) / w
    without_floor = (base < 0) | (not floor)
    scale, base = np.where(without_floor, wuy / wuu, scale), np.where(without_floor, 0.0, base)
    loss = y.shape[1] - 2 * base * wy - 2 * scale * wuy + base**2 * w + 2 * base * scale * wu + scale**2 * wuu
    return scale, base, loss


def fit_curves(curves: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Fits a power law to every curve and extrapolates it to ten times as many images.

    The 95% intervals come from a bootstrap over the repeats at every size. Means of few repeats vary too little in
    resamples, by the factor sqrt((R - 1) / R), which the bootstrap corrects. The intervals cover the variation between
    repeats, not the error of the extrapolation; two other fits of the same curve show that.

    Args:
        curves: As `learning_curves.curves` returns them.
        resamples: The number of resamples. Defaults to 1000.
        seed: Of the resamples. Defaults to 0.

    Returns:
        A row for each model and target ("garment" or "group"): model, target, images (the largest size), error (at that
        size), floor, scale and exponent of floor + scale * images ** -exponent, floor_low, floor_high, exponent_low,
        exponent_high, then the error for ten times as many images: tenfold, tenfold_low, tenfold_high,
        tenfold_without_floor (fitted with a floor of 0), tenfold_from_larger (fitted without the smaller half of the
        sizes). No row where the curves have fewer than `FEWEST_SIZES` sizes.
    """
    rows: list[dict[str, Any]] = []
    if curves["images"].nunique() < FEWEST_SIZES:
        return pd.DataFrame(rows, columns=["model", "target", "error"])
    for model, of_model in curves.groupby("model", sort=False):
        for target in ("garment", "group"):
            table = of_model.pivot(index="repeat", columns="images", values=f"{target}_error")
            sizes, errors = table.columns.to_numpy(np.float64), table.to_numpy(np.float64)
            rows.append({"model": model, "target": target} | _fit_curve(sizes, errors, resamples, seed))
    return pd.DataFrame(rows)


def _fit_curve(sizes: Values, errors: Values, resamples: int, seed: int) -> dict[str, float]:
    mean, ten = errors.mean(axis=0), 10 * sizes[-1]
    law, drawn = fit_power_law(sizes, mean), fit_power_law(sizes, resample_means(errors, resamples, seed))
    larger = len(sizes) // 2
    found = {"images": sizes[-1], "error": mean[-1], "floor": law.floor, "scale": law.scale, "exponent": law.exponent}
    found |= _interval("floor", drawn.floor) | _interval("exponent", drawn.exponent)
    found |= {"tenfold": law.error(ten)} | _interval("tenfold", drawn.error(ten))
    found["tenfold_without_floor"] = fit_power_law(sizes, mean, floor=False).error(ten)
    found["tenfold_from_larger"] = fit_power_law(sizes[larger:], mean[larger:]).error(ten)
    return {name: float(value) for name, value in found.items()}


def resample_means(errors: Values, resamples: int, seed: int) -> Values:
    """Returns means over resampled repeats, float64 [resamples, sizes]; each size is resampled independently."""
    repeats, sizes = errors.shape
    chosen = np.random.default_rng(seed).integers(0, repeats, (resamples, repeats, sizes))
    means = np.take_along_axis(errors[None], chosen, axis=1).mean(axis=1)
    widened = errors.mean(axis=0) + np.sqrt(repeats / max(repeats - 1, 1)) * (means - errors.mean(axis=0))
    return np.maximum(widened, 1e-6)


def _interval(name: str, drawn: Values) -> dict[str, float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {f"{name}_low": low, f"{name}_high": high}


def section(data: Data, curves: pd.DataFrame, fits: pd.DataFrame) -> Section:
    """Returns the section "How much data is needed".

    Args:
        data: The images.
        curves: As `learning_curves.curves` returns them.
        fits: As `fit_curves` returns them.
    """
    if fits.empty:
        return Section(
            name="data-needed",
            title="How much data is needed",
            finding=few_sizes_text(data, curves),
            decision="So we predict nothing about more images.",
            blocks=(Listing("measured-errors", _measured(curves), "Mean error rates on held-out images."),),
        )
    return Section(
        name="data-needed",
        title="How much data is needed",
        finding=_finding(curves, fits),
        decision=_decision(fits),
        blocks=(
            Picture("learning-curves-groups", _figure(curves, fits, "group"), _caption("groups", curves)),
            Picture("learning-curves-garments", _figure(curves, fits, "garment"), _caption("garments", curves)),
            Listing("power-laws", _table(fits), _table_caption(fits)),
        ),
    )


def few_sizes_text(data: Data, curves: pd.DataFrame) -> str:
    """Returns the sentence for a data set that is too small for a learning curve."""
    sizes = sorted(curves["images"].unique())
    return (
        f"**Too few examples for a learning curve.** The error was measured at {len(sizes)} "
        f"{'number' if len(sizes) == 1 else 'numbers'} of training images ({', '.join(f'{n:,}' for n in sizes)}), and "
        f"a power law needs at least {FEWEST_SIZES}. About 6,000 training images are enough; there are "
        f"{len(data.train_rows):,}."
    )


def _measured(curves: pd.DataFrame) -> pd.DataFrame:
    means = curves.groupby(["model", "images"], sort=False)[["garment_error", "group_error"]].mean().reset_index()
    for column in ("garment_error", "group_error"):
        means[column] = means[column].map("{:.1%}".format)
    return means.rename(columns={"garment_error": "error on garments", "group_error": "error on groups"})


def _finding(curves: pd.DataFrame, fits: pd.DataFrame) -> str:
    groups = fits[fits["target"] == "group"].sort_values("error")
    best, worst = groups.iloc[0], groups.iloc[-1]
    halved = _of_half(curves, str(best["model"]), "group_error")
    most = int(best["images"])
    return (
        f"With {most:,} training images, the {best['model']} misclassifies {best['error']:.2%} of held-out groups, "
        f"{_others(groups)}. The last doubling of the images reduced the error of the {best['model']} from "
        f"{halved:.2%} to {best['error']:.2%}.\n\nA power law predicts the error with ten times as many images, "
        f"{10 * most:,}: {_prediction(best)}. {_equivalent(best, worst)}\n\nOn the garments: {_garments(fits)}"
    )


def _others(groups: pd.DataFrame) -> str:
    return " and ".join(f"{row.model} {row.error:.2%}" for row in groups.iloc[1:].itertuples())


def _prediction(row: pd.Series) -> str:
    low, high = _widest_range(row)
    return (
        f"{row['model']} {row['tenfold']:.2%} [{row['tenfold_low']:.2%}, {row['tenfold_high']:.2%}] of the groups. "
        "The interval covers the variation between repeats. Other fits of the same curve, without a floor or without "
        f"its smaller sizes, widen it to between {low:.2%} and {high:.2%}, because the extrapolation spans a factor "
        f"of ten. The floor itself, {row['floor']:.2%} [{row['floor_low']:.2%}, {row['floor_high']:.2%}], is the "
        f"least certain figure; for a network it also falls with more than these {epochs_for(int(row['images']))} "
        "epochs on the largest size"
    )


def _widest_range(row: pd.Series) -> tuple[float, float]:
    """Returns the least and the largest error with ten times as many images, over all fits and intervals."""
    columns = ["tenfold_low", "tenfold_high", "tenfold_without_floor", "tenfold_from_larger"]
    return float(row[columns].min()), float(row[columns].max())


def _equivalent(best: pd.Series, worst: pd.Series) -> str:
    """Returns how many images the weaker model needs to match the better one."""
    above = best["error"] - worst["floor"]
    if above <= 0:
        return (
            f"No number of images suffices for {worst['model']} to match {best['model']}: the floor of its law is "
            f"{worst['floor']:.2%}, above the current error of {best['error']:.2%}."
        )
    needed = (above / worst["scale"]) ** (-1 / worst["exponent"])
    return (
        f"By its own law {worst['model']} needs about {needed / worst['images']:,.0f} times as many images to match "
        f"the current error of {best['model']}: the choice of model matters more than the number of images."
    )


def _garments(fits: pd.DataFrame) -> str:
    rows = fits[fits["target"] == "garment"].sort_values("error")
    errors = [
        f"{r.model} {r.error:.1%} now, {r.tenfold:.1%} [{r.tenfold_low:.1%}, {r.tenfold_high:.1%}] with ten times as "
        "many"
        for r in rows.itertuples()
    ]
    return "; ".join(errors) + "."


def _decision(fits: pd.DataFrame) -> str:
    best = fits[fits["target"] == "group"].sort_values("error").iloc[0]
    low, _ = _widest_range(best)
    return (
        "So we train on every image of the training split outside the validation set, with flips and shifts of one "
        "pixel, and improve the network instead. No fit predicts that ten times as many images reduce the error of "
        f"the small network by more than {100 * (best['error'] - low):.1f} points."
    )


def _figure(curves: pd.DataFrame, fits: pd.DataFrame, target: str) -> go.Figure:
    figure = style.figure("training images", f"error rate on {target}s (%)", height=460)
    for colour, symbol, (_, row) in zip(
        COLOURS, style.SYMBOLS, fits[fits["target"] == target].iterrows(), strict=False
    ):
        of_model = curves[curves["model"] == row["model"]]
        errors = 100 * of_model.groupby("images")[f"{target}_error"].agg(["mean", "min", "max"])
        _add_measured(figure, row["model"], errors, colour, symbol)
        _add_law(figure, row, errors.index.to_numpy(np.float64), colour)
    figure.update_xaxes(type="log", dtick=1)
    figure.update_yaxes(type="log", tickvals=[0.5, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50])
    return figure


def _add_measured(figure: go.Figure, model: str, errors: pd.DataFrame, colour: str, symbol: str) -> None:
    above, below = errors["max"] - errors["mean"], errors["mean"] - errors["min"]
    figure.add_scatter(
        x=errors.index.tolist(),
        y=errors["mean"].round(3).tolist(),
        error_y={"array": above.round(3).tolist(), "arrayminus": below.round(3).tolist(), "thickness": 1},
        mode="markers",
        name=model,
        legendgroup=model,
        marker={"color": colour, "symbol": symbol, "size": 8},
        hovertemplate="%{x:,} images: %{y:.2f}%",
    )


def _add_law(figure: go.Figure, row: pd.Series, sizes: np.ndarray, colour: str) -> None:
    law = PowerLaw(row["floor"], row["scale"], row["exponent"])
    measured, beyond = np.geomspace(sizes[0], sizes[-1], 24), np.geomspace(sizes[-1], 10 * sizes[-1], 12)
    for images, dash in ((measured, "solid"), (beyond, "dot")):
        figure.add_scatter(
            x=images.round().tolist(),
            y=(100 * law.error(images)).round(3).tolist(),
            mode="lines",
            line={"color": colour, "dash": dash, "width": 1.5},
            legendgroup=row["model"],
            showlegend=False,
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=[10 * sizes[-1]],
        y=[round(100 * row["tenfold"], 3)],
        error_y={
            "array": [round(100 * max(row["tenfold_high"] - row["tenfold"], 0), 3)],
            "arrayminus": [round(100 * max(row["tenfold"] - row["tenfold_low"], 0), 3)],
        },
        mode="markers",
        marker={"color": colour, "symbol": "circle-open", "size": 9},
        legendgroup=row["model"],
        showlegend=False,
        hovertemplate="%{x:,} images, extrapolated: %{y:.2f}%",
    )


def _table(fits: pd.DataFrame) -> pd.DataFrame:
    def interval(row: pd.Series, name: str, form: str) -> str:
        return f"{row[name]:{form}} [{row[f'{name}_low']:{form}}, {row[f'{name}_high']:{form}}]"

    return pd.DataFrame(
        [
            {
                "model": row["model"],
                "error on": f"{row['target']}s",
                "now": f"{row['error']:.2%}",
                "exponent": interval(row, "exponent", ".2f"),
                "floor": interval(row, "floor", ".2%"),
                "ten times more": interval(row, "tenfold", ".2%"),
                "no floor": f"{row['tenfold_without_floor']:.2%}",
                "larger sizes only": f"{row['tenfold_from_larger']:.2%}",
            }
            for _, row in fits.iterrows()
        ]
    )


def _of_half(curves: pd.DataFrame, model: str, column: str) -> float:
    """Returns the mean error at the size before the largest."""
    means = curves[curves["model"] == model].groupby("images")[column].mean()
    return float(means.iloc[max(len(means) - 2, 0)])


def _caption(what: str, curves: pd.DataFrame) -> str:
    repeats = curves["repeat"].nunique()
    return (
        f"Error rate on held-out {what}, both axes logarithmic. Bars: range of {repeats} draws. Lines: "
        "fitted power laws, dotted where they are extrapolated; open circles: ten times as many images, with the 95% "
        "interval of the fit."
    )


def _table_caption(fits: pd.DataFrame) -> str:
    return (
        "Error = floor + scale × images^−exponent, fitted by relative least squares, 95% intervals by bootstrap over "
        "draws. The last two columns fit the same curve in other ways; all three are for "
        f"{10 * int(fits['images'].max()):,} images."
    )
