"""Draws the pictures of the README: sample images, and screenshots of the final panel, the report and TensorBoard."""

from __future__ import annotations

import argparse
import base64
import html
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import numpy as np

from analysis.data import fashion_mnist
from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import ModelEvaluation
from pipeline.runner.metadata_store import MetadataStore
from pipeline.runner.workspace import Workspace
from scripts.documents.screenshots import browser_tab
from serving.engines.engine import free_port

if TYPE_CHECKING:
    import numpy.typing as npt

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "readme"
FASHION = [sys.executable, "-m", "pipeline.commands.cli"]
SAMPLES = 2
"""Images of each garment."""
PANEL_COLUMNS = 84
DRAWING = 10_000
"""Milliseconds in which TensorBoard loads and draws its curves."""
PAGE_STYLE = "margin:0;background:#fff;color:#1f2328;font:15px system-ui,sans-serif;width:max-content"


def main() -> None:
    """Draws the pictures from the workspace that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    write_pictures(parser.parse_args().workspace.resolve())


def write_pictures(workspace: Path) -> None:
    """Writes all pictures of the README from the latest run of a workspace."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    draw_samples(PICTURES / "samples.png")
    draw_panel(workspace, PICTURES / "panel.png")
    draw_report(workspace, PICTURES / "report.png")
    draw_tensorboard(workspace, PICTURES / "tensorboard.png")


def draw_samples(target: Path) -> None:
    """Draws training images of every garment, side by side under the name and the colour of their group."""
    data, taxonomy = fashion_mnist.load(fashion_mnist.locate())["train"], Taxonomy.load()
    blocks = []
    for group, (name, colour) in enumerate(zip(taxonomy.groups, taxonomy.colours, strict=True)):
        columns = [
            "".join(_image(data.images[row]) for row in np.flatnonzero(data.garments == garment)[:SAMPLES])
            + f"<div style='font-size:13px;margin-top:4px'>{html.escape(taxonomy.garments[garment])}</div>"
            for garment in taxonomy.members(group)
        ]
        body = "".join(f"<div style='width:84px;text-align:center'>{column}</div>" for column in columns)
        blocks.append(
            f"<div><div style='border-bottom:4px solid {colour};padding:2px 0 4px;margin-bottom:6px;"
            f"font-weight:600'>{name}</div><div style='display:flex;gap:4px'>{body}</div></div>"
        )
    _screenshot(f"<div style='display:flex;gap:18px;padding:10px'>{''.join(blocks)}</div>", target)


def draw_panel(workspace: Path, target: Path) -> None:
    """Draws what the terminal shows at the end of `fashion run`, in its colours."""
    from rich.console import Console
    from rich.text import Text

    output = _run_in_colour([*FASHION, "run", "--workspace", str(workspace)])
    output = output.replace(f"{workspace}/", "workspace/").replace(str(workspace), "workspace")
    console = Console(record=True, width=PANEL_COLUMNS, file=io.StringIO(), force_terminal=True)
    lines = output.splitlines()
    begin = next(row for row, line in enumerate(lines) if "Percent of the" in line)
    end = next(row for row, line in enumerate(lines) if line.startswith("Look"))
    console.print(Text.from_ansi("\n".join(lines[begin:end]).strip()))
    with browser_tab(width=1400) as tab:
        tab.set_content(console.export_svg(title="make run"))
        tab.locator("svg").screenshot(path=target)


def draw_report(workspace: Path, target: Path) -> None:
    """Draws the first screen of the Evaluator's report."""
    with MetadataStore(Workspace(workspace).store) as store:
        report = workspace / store.artifacts(ModelEvaluation.__name__)[-1].uri / "report.html"
    with browser_tab(width=1100) as tab:
        tab.goto(report.resolve().as_uri())
        tab.wait_for_load_state("networkidle")
        tab.screenshot(path=target)


def draw_tensorboard(workspace: Path, target: Path) -> None:
    """Draws TensorBoard with the curves of the training."""
    with _tensorboard(workspace / "logs") as address, browser_tab(width=1440) as tab:
        tab.goto(f"{address}/?darkMode=false&smoothing=0&tagFilter=epoch_#timeseries")
        tab.wait_for_selector("scalar-card", timeout=60_000)
        tab.get_by_label("Close settings panel").or_(tab.locator("button", has_text="Settings")).first.click()
        tab.wait_for_timeout(DRAWING)
        tab.screenshot(path=target)


@contextmanager
def _tensorboard(logs: Path) -> Iterator[str]:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(logs),
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urlopen(f"{address}/data/environment", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait()


def _run_in_colour(command: list[str]) -> str:
    """Returns what a command prints, with the control sequences of its colours."""
    environment = os.environ | {"COLUMNS": str(PANEL_COLUMNS), "FORCE_COLOR": "1", "TTY_INTERACTIVE": "0"}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True, check=True)
    return done.stdout


def _image(pixels: npt.NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((80, 80), Image.Resampling.BICUBIC).save(buffer, format="PNG")
    source = base64.b64encode(buffer.getvalue()).decode()
    return f"<img width=80 height=80 style='display:block;margin:2px' src='data:image/png;base64,{source}'>"


def _screenshot(body: str, target: Path) -> None:
    with browser_tab(width=1100) as tab:
        tab.set_content(f"<body style='{PAGE_STYLE}'>{body}</body>")
        tab.locator("body > div").screenshot(path=target)


if __name__ == "__main__":
    main()
