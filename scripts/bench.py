"""Measures the figures of the README: `make bench`. Prints a table and writes JSON.

All figures are measured on this machine; nothing is asserted. The script takes about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pipeline.contract.artifacts import Artifact, Examples, ModelEvaluation

T = TypeVar("T", bound=Artifact)

FASHION = [sys.executable, "-m", "pipeline.commands.cli"]
ROOT = Path(__file__).resolve().parent.parent
INGESTION = ("example_gen", "statistics_gen", "schema_gen", "example_validator", "label_grouping")


def main() -> None:
    """Runs the measurements chosen on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", choices=["run", "quick", "full", "cached", "cli", "reading", "explore"], action="append"
    )
    parser.add_argument("--repeat", type=int, default=5, help="measured runs of the short commands")
    parser.add_argument("--workspace", type=Path, help="a workspace with a finished default run, to skip it")
    parser.add_argument("--profile", help="the profile of the run in --workspace")
    parser.add_argument("--set", action="append", help="a parameter of the run in --workspace; may be repeated")
    parser.add_argument("--json", type=Path, default=Path("workspace/bench.json"))
    options = parser.parse_args()
    chosen = options.only or ["run", "quick", "cached", "cli", "reading", "explore"]
    with tempfile.TemporaryDirectory(prefix="fashion-bench-") as scratch:
        rows = _measure(chosen, options, Path(scratch))
    report(rows, options.json)


def _measure(chosen: Sequence[str], options: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, profile in (("run", "default"), ("quick", "quick"), ("full", "full")):
        if name in chosen:
            rows += _cold_run(profile, scratch / profile)
    # The rest needs a finished run of any profile.
    profile = "quick" if "quick" in chosen else "default"
    workspace = options.workspace or scratch / profile
    settings = [word for each in options.set or [] for word in ("--set", each)]
    cached = ["run", "-w", str(workspace), "--profile", options.profile or profile, *settings]
    if "cached" in chosen or "cli" in chosen:
        rows += _idle_commands(workspace, cached if "cached" in chosen else None, options.repeat)
    if "reading" in chosen:
        rows += _reading(workspace, options.repeat)
    if "explore" in chosen:
        rows += _exploration(scratch / "explored", options.repeat)
    return rows


def _cold_run(profile: str, workspace: Path) -> list[dict[str, Any]]:
    """Runs a profile in an empty workspace; returns its minutes, memory and scores."""
    print(f"running the {profile} profile in an empty workspace ...", flush=True)
    start = time.perf_counter()
    done = subprocess.run(
        [*FASHION, "run", "-w", str(workspace), "--profile", profile], cwd=ROOT, check=False, stdout=subprocess.DEVNULL
    )
    seconds = time.perf_counter() - start
    if done.returncode not in (0, 3):
        raise SystemExit(f"The {profile} run ended with {done.returncode}; see {workspace}/logs")
    stages = _stages(workspace)
    metrics = _artifacts(stages, ModelEvaluation)[-1].metrics()
    ingestion = sum(stages[name]["seconds"] for name in INGESTION)
    limit = {"default": 15.0, "quick": 4.0, "full": 30.0}[profile]
    return [
        row(f"{profile} run", seconds / 60, "minutes", f"under {limit:g}"),
        row(f"{profile} run, blessed", float(done.returncode == 0), "yes = 1", "1"),
        *[row(f"{profile} run, {name}", stage["seconds"], "s", "") for name, stage in stages.items()],
        row(f"{profile} run, ExampleGen to LabelGrouping", ingestion, "s", "under 60"),
        row(f"{profile} run, peak memory", _peak_mebibytes(stages) / 1024, "GiB", "under 4"),
        *_scores(profile, metrics),
    ]


def _scores(profile: str, metrics: dict[str, Any]) -> list[dict[str, Any]]:
    bound = {"default": "at least 0.985", "quick": "at least 0.97", "full": "at least 0.990"}[profile]
    accuracy = metrics["overall"]["accuracy"]
    f1 = metrics["groups"]["One piece"]["f1"]
    return [
        row(f"{profile} run, group accuracy (test)", accuracy["value"], "", bound, accuracy["interval"]),
        row(
            f"{profile} run, One piece F1 (test)",
            f1["value"],
            "",
            {"default": "at least 0.94", "quick": "", "full": "at least 0.958"}[profile],
            f1["interval"],
        ),
    ]


def _idle_commands(workspace: Path, cached: list[str] | None, repeat: int) -> list[dict[str, Any]]:
    """Measures the commands that have nothing to do, in seconds and as multiples of `fashion --help`.

    The commands take turns, so that a busy moment of the machine slows all of them.
    """
    commands = {"--help": ["--help"], "show": ["show"], "status": ["status", "-w", str(workspace)]}
    commands |= {} if cached is None else {"run": cached}
    limits = {"show": 2, "status": 2, "run": 4}
    names = {name: f"fashion {name}" for name in commands} | {"run": "fully cached run"}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeat + 1):
        for name, words in commands.items():
            begun = time.perf_counter()
            done = subprocess.run([*FASHION, *words], cwd=ROOT, check=False, capture_output=True, env=_environment())
            if done.returncode not in (0, 3):
                raise SystemExit(f"fashion {' '.join(words)} ended with {done.returncode}:\n{done.stderr.decode()}")
            if turn:  # the first turn writes byte code and fills the disk's cache
                seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    rows = [row(names[name], medians[name], "s", "", [min(each), max(each)]) for name, each in seconds.items()]
    ratio = "times as long as --help"
    return rows + [
        row(names[name], medians[name] / medians["--help"], ratio, f"at most {limit}")
        for name, limit in limits.items()
        if name in medians
    ]


def _environment() -> dict[str, str]:
    """Returns the environment with byte code, which an installed command has as well."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _timed(name: str, command: list[str], repeat: int, limit: float) -> dict[str, Any]:
    subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
    seconds = [
        _seconds(lambda: subprocess.run(command, cwd=ROOT, check=False, capture_output=True)) for _ in range(repeat)
    ]
    return row(name, statistics.median(seconds), "s", f"under {limit:g}", [min(seconds), max(seconds)])


def _reading(workspace: Path, repeat: int) -> list[dict[str, Any]]:
    """Measures the reading of the training examples and the Trainer's batches, on one core."""
    code = """
import json, os, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from pathlib import Path
from analysis.data.examples import read_arrays
from models.batches import Batches, one_hot
from pipeline.contract.artifacts import Examples
shards = Examples(Path(sys.argv[1])).split("train")
read_arrays(shards[:1])
start = time.perf_counter(); arrays = read_arrays(shards); read = time.perf_counter() - start
count = len(arrays["image"])
batches = Batches(arrays["image"], one_hot(arrays["garment"], 10), batch_size=256, seed=1)
start = time.perf_counter()
for index in range(batches.steps_per_epoch): batches[index]
print(json.dumps([count / read, batches.steps_per_epoch * 256 / (time.perf_counter() - start)]))
"""
    examples = str(_artifacts(_stages(workspace), Examples)[-1].path)
    runs = [json.loads(_output([sys.executable, "-c", code, examples])) for _ in range(repeat)]
    names = ("reading the training examples", "batches with augmentation")
    return [
        row(name, statistics.median(values), "images/s per core", "at least 50,000", [min(values), max(values)])
        for name, values in zip(names, zip(*runs, strict=True), strict=True)
    ]


def _exploration(workspace: Path, repeat: int) -> list[dict[str, Any]]:
    """Measures an exploration in an empty workspace, and a second one that reuses it."""
    command = [*FASHION, "explore", "-w", str(workspace)]
    seconds = _seconds(lambda: subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL))
    stages = _stages(workspace)
    page = workspace / "reports" / "exploration.html"
    return [
        row("exploration", seconds / 60, "minutes", "under 4"),
        *[row(f"exploration, {name}", stage["seconds"], "s", "") for name, stage in stages.items()],
        row("exploration, peak memory", _peak_mebibytes(stages) / 1024, "GiB", "under 3"),
        row("exploration, page", page.stat().st_size / 1e6, "MB", "under 12"),
        _timed("exploration, nothing changed", command, repeat, 1.5),
    ]


def _stages(workspace: Path) -> dict[str, dict[str, Any]]:
    """Returns the stages of the latest run, by name, as `fashion status --json` prints them."""
    status = json.loads(_output([*FASHION, "status", "-w", str(workspace), "--json"]))
    return {stage["stage"]: stage for stage in status["stages"]}


def _artifacts(stages: dict[str, dict[str, Any]], kind: type[T]) -> list[T]:
    """Returns the artifacts of a type, in the order of the stages."""
    found = [each for stage in stages.values() for each in stage["artifacts"].values()]
    return [kind(Path(each["path"])) for each in found if each["type"] == kind.__name__]


def _peak_mebibytes(stages: dict[str, dict[str, Any]]) -> float:
    return max(float(stage["peak_mebibytes"] or 0) for stage in stages.values())


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _output(command: list[str]) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def row(name: str, value: float, unit: str, target: str, spread: Sequence[float] | None = None) -> dict[str, Any]:
    """Returns a figure with its unit, its target, and its spread or interval."""
    return {"figure": name, "value": value, "unit": unit, "target": target, "spread": list(spread) if spread else None}


def machine() -> dict[str, Any]:
    """Returns what a reader has to know of this machine to compare figures."""
    from pipeline.contract.processor import has_bfloat16

    cpuinfo = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*:\s*(.+)", cpuinfo.read_text(encoding="utf-8")) if cpuinfo.exists() else []
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "bfloat16": has_bfloat16(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def report(rows: list[dict[str, Any]], path: Path) -> None:
    """Prints the figures as a table and writes them as JSON, with a description of this machine."""
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value", "unit", "spread or interval", "target")
    for each in rows:
        spread = "" if each["spread"] is None else f"{each['spread'][0]:,.4g} to {each['spread'][1]:,.4g}"
        table.add_row(each["figure"], f"{each['value']:,.4g}", each["unit"], spread, each["target"])
    # Without a terminal rich assumes 80 columns, which would fold every cell.
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), "figures": rows}, indent=2) + "\n", encoding="utf-8")
    print(f"JSON: {path}")


if __name__ == "__main__":
    main()
