"""Measures the memory of the embedded server over an hour and more of load: `make bench-memory`. Writes JSON.

A run sends requests at a fixed rate or from 64 clients, with or without a new version at an interval, and samples the
server's memory. `--run NAME` measures one run; without it, all runs of `RUNS` follow each other and take three hours.
The JSON file summarizes all runs whose samples are in `--traces`.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from scripts.bench import machine
from scripts.bench_serving import generate_load, newest_model
from serving.engines.engine import BATCHING, MONITORING, Embedded, Flags, free_port
from serving.engines.server_process import ServerProcess
from serving.requests.warmup import push_warm
from serving.versions import push, versions

SAMPLE_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Run:
    """A measured run.

    Attributes:
        seconds: The duration of the load.
        rate: Requests a second, of one image each, over REST; 0 stands for 64 clients without a pause.
        push_every: The seconds between two pushes; 0 pushes nothing.
        arenas: The value of MALLOC_ARENA_MAX; 0 leaves the default of glibc.
    """

    seconds: float
    rate: float
    push_every: float = 0.0
    arenas: int = 0


RUNS: Final = {
    "steady": Run(5400.0, 20.0),
    "pushes": Run(2100.0, 5.0, push_every=20.0),
    "pushes_two_arenas": Run(2100.0, 5.0, push_every=20.0, arenas=2),
    "full_load": Run(240.0, 0.0),
    "full_load_pushes": Run(240.0, 0.0, push_every=20.0),
}
WARM_UP_SECONDS: Final = 180.0
"""The part of a run that is left out, at most a quarter: imports, the first version, the first use of each thread."""


class ProbedServer(Embedded):
    """The embedded server with the sampling of its memory.

    Attributes:
        samples: The file for the samples.
        arenas: The value of MALLOC_ARENA_MAX; 0 leaves the default of glibc.
    """

    def __init__(self, samples: Path, arenas: int) -> None:
        """Takes the file and the number of arenas."""
        self.samples = samples
        self.arenas = arenas

    def command(self, flags: Flags) -> list[str]:
        """Returns the command line of the server inside the probe."""
        probe = ["-m", "scripts.allocator_probe", str(self.samples), str(SAMPLE_SECONDS)]
        return [sys.executable, "-P", *probe, *flags.arguments()]

    def environment(self) -> dict[str, str]:
        """Returns the server's environment with the number of arenas."""
        return super().environment() | ({"MALLOC_ARENA_MAX": str(self.arenas)} if self.arenas else {})


def main() -> None:
    """Runs what the command line describes and writes the samples and the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("workspace"), help="the workspace with the model")
    parser.add_argument("--run", choices=RUNS, action="append", help="a run to measure; may be repeated")
    parser.add_argument("--seconds", type=float, help="the duration of each run, instead of the declared one")
    parser.add_argument("--traces", type=Path, default=Path("workspace/memory"), help="the folder for the samples")
    parser.add_argument("--summarize", action="store_true", help="measure nothing, only write the JSON file")
    parser.add_argument("--json", type=Path, default=Path("workspace/bench-memory.json"))
    options = parser.parse_args()
    options.traces.mkdir(parents=True, exist_ok=True)
    for name in [] if options.summarize else options.run or RUNS:
        run = RUNS[name]
        if options.seconds:
            run = dataclasses.replace(run, seconds=options.seconds)
        measure(run, newest_model(options.workspace), options.traces / f"{name}.jsonl")
    finished = [name for name in RUNS if (options.traces / f"{name}.json").exists()]
    summary = {"machine": machine(), "runs": {name: summarize(options.traces / f"{name}.jsonl") for name in finished}}
    options.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(f"JSON: {options.json}")


def measure(run: Run, model: Path, trace: Path) -> None:
    """Serves a model under a run's load; writes the samples, and the counts and errors beside them.

    Args:
        run: The load.
        model: The SavedModel.
        trace: The file for the samples.
    """
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28), np.uint8)
    trace.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="fashion-memory-") as scratch:
        base = Path(scratch) / "fashion"
        push_warm(model, base, images, singles=8, batch=8, replay=False)
        flags = Flags(base, "fashion", free_port(), free_port(), BATCHING, MONITORING)
        with ProbedServer(trace.absolute(), run.arenas).start(flags, Path(scratch) / "server.log") as server:
            server.wait_until_ready(120)
            counts = _load(server, run, model, base, images)
            # What the process keeps after this is in use; the rest was free blocks of the allocator.
            trace.with_suffix(".trim").touch()
            time.sleep(2 * SAMPLE_SECONDS + 1)
    result = {"run": dataclasses.asdict(run), **counts}
    trace.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _load(server: ServerProcess, run: Run, model: Path, base: Path, images: np.ndarray) -> dict[str, Any]:
    """Sends requests at the run's rate on one connection, and pushes versions at its interval."""
    url = urlsplit(server.rest_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    body = json.dumps({"instances": images[:1].tolist()}).encode()
    if not run.rate:
        return _full_load(server, run, model, base, images)
    pushes: list[float] = []
    answers = failures = 0
    start = time.monotonic()
    while (now := time.monotonic() - start) < run.seconds:
        if run.push_every and now >= run.push_every * (len(pushes) + 1):
            pushes.append(now)
            _push_another(model, base)
            # On a busy machine a push may take longer than the 5 s for which Uvicorn keeps an idle connection.
            connection.close()
        connection.request("POST", "/v1/models/fashion:predict", body)
        answer = connection.getresponse()
        answer.read()
        answers += answer.status == 200
        failures += answer.status != 200
        # After a delay the load goes on at its rate; it does not catch up.
        time.sleep(max(0.0, 1 / run.rate - (time.monotonic() - start - now)))
    connection.close()
    return {"answers": answers, "failures": failures, "pushes": pushes, "load_seconds": time.monotonic() - start}


def _full_load(server: ServerProcess, run: Run, model: Path, base: Path, images: np.ndarray) -> dict[str, Any]:
    """Sends requests from 64 clients without a pause, and pushes versions at the run's interval."""
    result: dict[str, Any] = {}
    load = threading.Thread(target=lambda: result.update(generate_load(server, images, run.seconds)))
    pushes: list[float] = []
    start = time.monotonic()
    load.start()
    while load.is_alive():
        load.join(1.0)
        if run.push_every and time.monotonic() - start >= run.push_every * (len(pushes) + 1) and load.is_alive():
            pushes.append(time.monotonic() - start)
            _push_another(model, base)
    counts = {"answers": result["answers"], "failures": result["failed"]}
    return {**counts, "pushes": pushes, "load_seconds": time.monotonic() - start}


def summarize(trace: Path) -> dict[str, Any]:
    """Returns a run's counts, its memory every minute, and how much of it grew after the warm-up.

    While a version replaces another, both are loaded for a while. The growth therefore compares the smallest allocated
    memory of the first and of the last five minutes, when one version is loaded.

    Args:
        trace: The samples of a finished run.
    """
    result: dict[str, Any] = json.loads(trace.with_suffix(".json").read_text(encoding="utf-8"))
    samples = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    # The last samples follow the trim, which comes after the load.
    end = next(each["seconds"] for each in samples if each["trimmed"])
    loaded = [each for each in samples if min(WARM_UP_SECONDS, end / 4) <= each["seconds"] < end]
    seconds = np.array([each["seconds"] for each in loaded])
    resident, allocated = (np.array([each[name] for each in loaded]) for name in ("resident", "allocated"))
    minutes = sorted({int(second // 60) for second in seconds})
    of_minute = [seconds // 60 == minute for minute in minutes]
    first, last = seconds < min(seconds[0] + 300, end / 2), seconds > max(end - 300, end / 2)
    growth = float(allocated[last].min() - allocated[first].min())
    return {
        **result["run"],
        "answers": result["answers"],
        "failures": result["failures"],
        "pushes": len(result["pushes"]),
        "load_minutes": round(result["load_seconds"] / 60, 1),
        "minutes": minutes,
        "resident": [round(float(resident[chosen].mean()), 1) for chosen in of_minute],
        "allocated": [round(float(allocated[chosen].mean()), 1) for chosen in of_minute],
        "resident_first": round(float(resident[first].min()), 2),
        "resident_last": round(float(resident[last].min()), 2),
        "resident_largest": round(float(resident.max()), 2),
        "resident_largest_second_half": round(float(resident[seconds > end / 2].max()), 2),
        "allocated_first": round(float(allocated[first].min()), 3),
        "allocated_last": round(float(allocated[last].min()), 3),
        "allocated_largest": round(float(allocated.max()), 2),
        "allocated_growth": round(growth, 3),
        "resident_slope_ten_minutes": round(_slope(seconds, resident, 0.0, seconds[0] + 600.0), 2),
        "resident_slope_second_half": round(_slope(seconds, resident, end / 2, end), 2),
        "after_trim": round(samples[-1]["resident"], 2),
    }


def _slope(seconds: np.ndarray, values: np.ndarray, first: float, last: float) -> float:
    """Returns the slope of a line through the values of a period, a minute."""
    chosen = (seconds >= first) & (seconds < last)
    return 60 * float(np.polyfit(seconds[chosen], values[chosen], 1)[0]) if chosen.sum() > 1 else float("nan")


def _push_another(model: Path, base: Path) -> None:
    """Pushes the model with one more file: a push of the same bytes is not a new version."""
    with tempfile.TemporaryDirectory() as directory:
        note = Path(directory) / "note"
        note.write_text(f"{time.time_ns()}", encoding="utf-8")
        warmup = versions(base)[-1].path / "assets.extra" / "tf_serving_warmup_requests"
        push(model, base, {"note": note, "tf_serving_warmup_requests": warmup}, keep=2)


if __name__ == "__main__":
    main()
