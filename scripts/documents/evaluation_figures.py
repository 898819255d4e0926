"""The figures of `docs/evaluation.md`, from the committed `metrics.json` and `run.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from analysis.evaluation.corruptions import CLEAN
from analysis.evaluation.metrics import wilson_interval
from analysis.pages.figure_style import NEUTRAL, TEMPLATE, group_colours
from models.taxonomy import Taxonomy

Metrics = Mapping[str, Any]

WIDTH = 800
INK, GRID = "#1f2328", "#d8dee4"
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
ERRORS = [[0.0, "#ffffff"], [0.001, "#fdeee4"], [1.0, "#e08a4e"]]
"""A colour scale for shares of errors: none is white, and every other is visible."""


FONT = "'Liberation Sans', Arial, sans-serif"
FEWEST_IN_BIN = 10
"""Images in a bin of the reliability diagram; the interval of fewer spans most of the axis."""


def draw_all(metrics: Metrics, history: Sequence[Mapping[str, float]]) -> dict[str, go.Figure]:
    """Returns the figures by the names of their files."""
    taxonomy = Taxonomy.load()
    return {
        "confusion-groups": confusion_of_groups(metrics, taxonomy),
        "confusion-garments": confusion_of_garments(metrics, taxonomy),
        "group-figures": group_figures(metrics),
        "reliability": reliability(metrics),
        "curves": curves(metrics),
        "risk-coverage": risk_coverage(metrics),
        "training": training(history),
        "corruptions": corruptions(metrics),
    }


def confusion_of_groups(metrics: Metrics, taxonomy: Taxonomy) -> go.Figure:
    """Draws the confusion matrix of the groups: counts, and the share of each true group."""
    drawn = _confusion(metrics["confusion_matrix"], taxonomy.groups, group_colours(taxonomy), "group", text_size=18)
    drawn.update_layout(width=700, height=500)
    return drawn


def confusion_of_garments(metrics: Metrics, taxonomy: Taxonomy) -> go.Figure:
    """Draws the confusion matrix of the garments, in the order of their groups, with lines between the groups."""
    order = [garment for group in range(len(taxonomy.groups)) for garment in taxonomy.members(group)]
    counts = metrics["garments"]["confusion_matrix"]
    colours = [taxonomy.colours[taxonomy.group_of[garment]] for garment in order]
    names = [taxonomy.garments[garment] for garment in order]
    drawn = _confusion(
        [[counts[row][column] for column in order] for row in order], names, colours, "garment", text_size=14
    )
    border = -0.5
    for group in range(len(taxonomy.groups) - 1):
        border += len(taxonomy.members(group))
        drawn.add_hline(border, line={"color": INK, "width": 1.5})
        drawn.add_vline(border, line={"color": INK, "width": 1.5})
    drawn.update_layout(width=WIDTH, height=640)
    drawn.update_xaxes(tickangle=-35)
    return drawn


def group_figures(metrics: Metrics) -> go.Figure:
    """Draws precision, recall and F1 of each group with their intervals."""
    names = list(metrics["groups"])
    drawn = _figure("precision, recall, F1", "", height=360)
    marks = {"precision": (BLUE, "square"), "recall": (VERMILLION, "diamond"), "f1": (INK, "circle")}
    for offset, (metric, (colour, symbol)) in zip((-0.22, 0, 0.22), marks.items(), strict=True):
        figures = [metrics["groups"][name][metric] for name in names]
        drawn.add_scatter(
            x=[figure["value"] for figure in figures],
            y=[index + offset for index in range(len(names))],
            error_x=_error_bars(figures),
            mode="markers",
            name="F1" if metric == "f1" else metric,
            marker={"color": colour, "symbol": symbol, "size": 9},
        )
    drawn.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5], showgrid=False)
    drawn.update_xaxes(range=[0.9, 1.002], tickformat=".0%", dtick=0.02)
    return drawn


def reliability(metrics: Metrics) -> go.Figure:
    """Draws the accuracy of predictions by their confidence, and how many predictions there are."""
    from plotly.subplots import make_subplots

    bins = [b for b in metrics["reliability"] if b["count"] >= FEWEST_IN_BIN]
    low, high = wilson_interval([round(b["accuracy"] * b["count"]) for b in bins], [b["count"] for b in bins])
    figures = [
        {"value": b["accuracy"], "interval": [float(lower), float(upper)]}
        for b, lower, upper in zip(bins, low, high, strict=True)
    ]
    confidences = [b["confidence"] for b in bins]
    drawn = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.74, 0.26], vertical_spacing=0.06)
    drawn.add_scatter(
        x=[0.45, 1], y=[0.45, 1], mode="lines", name="perfect calibration", line={"color": NEUTRAL, "dash": "dash"}
    )
    drawn.add_scatter(
        x=confidences,
        y=[figure["value"] for figure in figures],
        error_y=_error_bars(figures),
        mode="markers",
        name="accuracy with 95% interval",
        marker={"color": BLUE, "size": 9},
    )
    counts = [b["count"] for b in bins]
    drawn.add_bar(
        x=confidences,
        y=counts,
        row=2,
        col=1,
        width=0.03,
        showlegend=False,
        marker={"color": BLUE},
        text=[f"{count:,}" for count in counts],
        textposition="outside",
        cliponaxis=False,
    )
    _style(drawn, height=520)
    drawn.update_xaxes(range=[0.45, 1.03], tickformat=".0%")
    drawn.update_xaxes(title_text="confidence of the prediction", row=2, col=1)
    drawn.update_yaxes(title_text="accuracy", tickformat=".0%", range=[0.3, 1.03], row=1, col=1)
    drawn.update_yaxes(title_text="images (log)", type="log", range=[0, 5], dtick=2, row=2, col=1)
    return drawn


def curves(metrics: Metrics) -> go.Figure:
    """Draws the ROC curve and the precision-recall curve of the group with the lowest F1, side by side."""
    from plotly.subplots import make_subplots

    group, found = metrics["curves"]["group"], metrics["groups"][metrics["curves"]["group"]]
    titles = [
        f"ROC, area {_estimate(found['auc'], 4)}",
        f"precision-recall, area {_estimate(found['average_precision'], 3)}",
    ]
    drawn = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.12)
    roc, precision_recall = metrics["curves"]["roc"], metrics["curves"]["precision_recall"]
    line = {"color": VERMILLION, "width": 2.5}
    drawn.add_scatter(
        x=roc["false_positive_rate"], y=roc["recall"], mode="lines", line=line, name=f"{group} against the rest"
    )
    drawn.add_scatter(
        x=precision_recall["recall"], y=precision_recall["precision"], mode="lines", line=line, showlegend=False,
        row=1, col=2,
    )  # fmt: skip
    index = list(metrics["groups"]).index(group)
    matrix = metrics["confusion_matrix"]
    false_positives = sum(row[index] for row in matrix) - matrix[index][index]
    rate = false_positives / (metrics["examples"] - found["support"])
    point = {"color": INK, "size": 11, "symbol": "circle"}
    recall = found["recall"]["value"]
    drawn.add_scatter(x=[rate], y=[recall], mode="markers", marker=point, name="the model's predictions")
    drawn.add_scatter(
        x=[recall], y=[found["precision"]["value"]], mode="markers", marker=point, showlegend=False, row=1, col=2
    )
    _style(drawn, height=420)
    drawn.update_layout(margin={"t": 84}, legend={"y": 1.14})
    percent = {"tickformat": ".0%"}
    drawn.update_xaxes(title_text="false positive rate (share of other groups)", range=[-0.002, 0.1], row=1, col=1)
    drawn.update_yaxes(title_text=f"recall of {group}", range=[0.6, 1.01], row=1, col=1)
    drawn.update_xaxes(title_text=f"recall of {group}", range=[0.6, 1.01], row=1, col=2)
    drawn.update_yaxes(title_text=f"precision of {group}", range=[0.6, 1.01], row=1, col=2)
    drawn.update_xaxes(percent)
    drawn.update_yaxes(percent)
    return drawn


def risk_coverage(metrics: Metrics) -> go.Figure:
    """Draws the error among answered images against the share that is answered, with thresholds and `abstain`."""
    selective = metrics["selective"]
    drawn = _figure("images answered", "error among answered images", height=420)
    drawn.add_scatter(
        x=selective["curve"]["answered"],
        y=selective["curve"]["error"],
        mode="lines",
        name="answer the most confident images first",
        line={"color": BLUE, "width": 2.5},
    )
    points = [point for point in selective["thresholds"] if point["threshold"] in (0.6, 0.8, 0.9, 0.95, 0.99)]
    drawn.add_scatter(
        x=[point["answered"]["value"] for point in points],
        y=[point["error"]["value"] for point in points],
        mode="markers+text",
        name="confidence thresholds",
        text=[f"{point['threshold']:g}" for point in points],
        textposition="bottom right",
        marker={"color": BLUE, "size": 9},
    )
    rule = selective["abstain"]
    drawn.add_scatter(
        x=[rule["answered"]["value"]],
        y=[rule["error"]["value"]],
        error_x=_error_bars([rule["answered"]]),
        error_y=_error_bars([rule["error"]]),
        mode="markers",
        name="the model's abstain output, with 95% intervals",
        marker={"color": VERMILLION, "size": 12, "symbol": "diamond"},
    )
    drawn.update_xaxes(range=[0.8, 1.004], tickformat=".0%")
    drawn.update_yaxes(range=[0, 0.016], tickformat=".1%")
    return drawn


def training(history: Sequence[Mapping[str, float]]) -> go.Figure:
    """Draws the training loss, and validation accuracy and macro F1 of the groups, by epoch."""
    from plotly.subplots import make_subplots

    epochs = list(range(1, len(history) + 1))
    drawn = make_subplots(rows=1, cols=2, horizontal_spacing=0.12)
    lines = (
        ("loss", "loss of the last batch of each epoch", NEUTRAL, 1),
        ("val_group_accuracy", "validation group accuracy", BLUE, 2),
        ("val_group_macro_f1", "validation macro F1", VERMILLION, 2),
    )
    for key, name, colour, column in lines:
        drawn.add_scatter(
            x=epochs, y=[epoch[key] for epoch in history], name=name, mode="lines+markers",
            line={"color": colour, "width": 2}, marker={"size": 6}, row=1, col=column,
        )  # fmt: skip
    _style(drawn, height=380)
    drawn.update_xaxes(title_text="epoch", range=[0.2, len(history) + 0.8])
    drawn.update_yaxes(title_text="cross-entropy (nats)", row=1, col=1)
    drawn.update_yaxes(title_text="group accuracy, macro F1", tickformat=".1%", row=1, col=2)
    return drawn


def corruptions(metrics: Metrics) -> go.Figure:
    """Draws the group accuracy on corrupted images, the lowest last, with clean images first."""
    lines = sorted(metrics["corruptions"], key=lambda line: (line["name"] != CLEAN, -line["accuracy"]["value"]))
    names = ["clean images" if line["name"] == CLEAN else line["name"].replace("_", " ") for line in lines]
    drawn = _figure("group accuracy", "", height=80 + 26 * len(lines))
    drawn.add_scatter(
        x=[line["accuracy"]["value"] for line in lines],
        y=names,
        error_x=_error_bars([line["accuracy"] for line in lines]),
        mode="markers",
        showlegend=False,
        marker={"color": [GREEN if line["name"] == CLEAN else BLUE for line in lines], "size": 9},
    )
    drawn.update_yaxes(autorange="reversed", showgrid=True)
    drawn.update_xaxes(tickformat=".0%")
    drawn.update_layout(margin={"t": 12})
    return drawn


def _confusion(
    counts: Sequence[Sequence[int]], names: Sequence[str], colours: Sequence[str], kind: str, text_size: int
) -> go.Figure:
    """Draws a confusion matrix: errors coloured by their share of the true class, the diagonal in grey."""
    totals = [sum(row) for row in counts]
    shares = [[count / total for count in row] for row, total in zip(counts, totals, strict=True)]
    errors = [[None if r == c else share for c, share in enumerate(row)] for r, row in enumerate(shares)]
    size = len(names)
    drawn = _figure(f"predicted {kind}", f"labelled {kind}", height=500)
    drawn.add_heatmap(
        z=[[1 if r == c else None for c in range(size)] for r in range(size)],
        x=list(range(size)), y=list(range(size)), colorscale=[[0, "#dfe5ec"], [1, "#dfe5ec"]], showscale=False,
        xgap=2, ygap=2,
    )  # fmt: skip
    drawn.add_heatmap(
        z=errors, x=list(range(size)), y=list(range(size)), colorscale=ERRORS, showscale=False, zmin=0,
        xgap=2, ygap=2,
    )  # fmt: skip
    for row in range(size):
        for column in range(size):
            drawn.add_annotation(
                x=column, y=row, showarrow=False, text=_cell(counts[row][column], totals[row], row == column, size),
                font={"size": text_size, "color": "#9aa4af" if not counts[row][column] else INK},
            )  # fmt: skip
    ticks = [f'<span style="color:{colour}">■</span> {name}' for name, colour in zip(names, colours, strict=True)]
    drawn.update_xaxes(tickvals=list(range(size)), ticktext=ticks, ticks="", showgrid=False, showline=False)
    drawn.update_yaxes(
        tickvals=list(range(size)), ticktext=ticks, autorange="reversed", ticks="", showgrid=False, showline=False,
    )  # fmt: skip
    drawn.update_layout(margin={"t": 12, "r": 12})
    return drawn


def _cell(count: int, total: int, is_correct: bool, size: int) -> str:
    if not count:
        return "0"
    text = f"<b>{count:,}</b>" if is_correct else f"{count:,}"
    return text if size > 5 else f"{text}<br><span style='font-size:14px'>{100 * count / total:.1f}%</span>"


def _figure(x: str, y: str, height: int) -> go.Figure:
    drawn = _style(go.Figure(), height)
    drawn.update_xaxes(title_text=x)
    drawn.update_yaxes(title_text=y)
    return drawn


def _style(drawn: go.Figure, height: int) -> go.Figure:
    """Applies the style of the figures, on white and with a grid, at the width of the documents' pictures."""
    drawn.update_layout(template=TEMPLATE, width=WIDTH, height=height, font={"family": FONT, "size": 15, "color": INK})
    drawn.update_layout(paper_bgcolor="white", plot_bgcolor="white")
    drawn.update_xaxes(gridcolor=GRID, linecolor=NEUTRAL, zeroline=False)
    drawn.update_yaxes(gridcolor=GRID, linecolor=NEUTRAL, zeroline=False)
    return drawn


def _error_bars(figures: Sequence[Metrics]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [figure["interval"][1] - figure["value"] for figure in figures],
        "arrayminus": [figure["value"] - figure["interval"][0] for figure in figures],
        "thickness": 1.5,
        "width": 4,
    }


def _estimate(figure: Metrics, digits: int) -> str:
    low, high = figure["interval"]
    return f"{figure['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
