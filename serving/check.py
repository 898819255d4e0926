"""Loads an export in a process of its own and asks it: `python -m serving.check SAVED_MODEL REQUESTS OUT SECONDS`.

What a server would meet is met here first: a file that is not there, an operation that the exporting process had and
a fresh one has not. `ask` starts the process and never waits longer than it was told.
"""

from __future__ import annotations

import json
import os
import signal
import site
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

TIMED = 20
"""How often the first request is repeated for the median: 20 settle it within 10%, at under 0.1 s in all."""


@dataclass(frozen=True)
class Outcome:
    """What the fresh process reported.

    Attributes:
        fault: Why it reported nothing of use: the load failed, it crashed, or it took too long. Empty when all is well.
        answers: By request, the outputs by name; none for a request that failed.
        faults: By request, why it has no answer; empty where it has.
        milliseconds: Median time of the first request, None when that failed.
        load_seconds: How long the load took, None when it failed.
    """

    fault: str = ""
    answers: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    milliseconds: float | None = None
    load_seconds: float | None = None


def ask(saved_model: Path, requests: list[PredictionLog], timeout_seconds: float) -> Outcome:
    """Loads a SavedModel in a fresh process, sends it requests and returns what came back.

    Args:
        saved_model: The directory of the export.
        requests: What to ask, in order.
        timeout_seconds: The most that start, load and requests may take together; then the process is killed.
    """
    from serving.requests import write_logs

    with tempfile.TemporaryDirectory(prefix="fashion-check-") as name:
        place = Path(name)
        write_logs(place / "requests", requests)
        command = [sys.executable, "-m", "serving.check", str(saved_model.resolve()), "requests", "answers"]
        # To a file: a pipe is held open by whatever the process may have started.
        with (place / "stderr").open("wb") as stderr:
            try:
                ended = subprocess.run(
                    [*command, str(timeout_seconds)],
                    cwd=place,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=stderr,
                    stderr=stderr,
                    timeout=timeout_seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return Outcome(fault=_late(timeout_seconds))
        if ended.returncode == -signal.SIGALRM:
            return Outcome(fault=_late(timeout_seconds))
        if ended.returncode:
            return Outcome(fault=_crash(ended.returncode, place / "stderr"))
        return _read(place / "answers")


def main(saved_model: Path, requests: Path, out: Path, timeout_seconds: float) -> None:
    """Answers the requests; writes the answers to `out` and the rest of the report beside it."""
    # The system kills this process then, also when whoever started it is gone and whatever it hangs in.
    signal.setitimer(signal.ITIMER_REAL, timeout_seconds)
    from serving.requests import RequestError, answer, first_line, load, read_logs, with_answers, write_logs

    begun = time.perf_counter()
    try:
        model = load(saved_model)
    except Exception as error:
        _write(out, {"fault": f"The export cannot be loaded: {first_line(error)}"})
        return
    report: dict[str, Any] = {"load_seconds": time.perf_counter() - begun, "faults": []}
    logs = read_logs(requests)
    answered = []
    for log in logs:
        try:
            answered.append(with_answers(log, answer(model, log)))
            report["faults"].append("")
        except RequestError as error:
            answered.append(log)
            report["faults"].append(str(error))
    if logs and not report["faults"][0]:
        report["milliseconds"] = 1000 * statistics.median(_seconds(model, logs[0]) for _ in range(TIMED))
    write_logs(out, answered)
    _write(out, report)


def _seconds(model: Any, log: PredictionLog) -> float:
    from serving.requests import answer

    begun = time.perf_counter()
    answer(model, log)
    return time.perf_counter() - begun


def _environment() -> dict[str, str]:
    """As ours, but finding this package from anywhere, and as a server is: on the processor, and without Keras."""
    root = str(Path(__file__).resolve().parent.parent)
    # Installed it is found as it is; PYTHONPATH would put all of site-packages before the standard library.
    ours = [] if root in site.getsitepackages() else [root]
    paths = [*ours, *filter(None, [os.environ.get("PYTHONPATH")])]
    # TF_USE_LEGACY_KERAS keeps `import tensorflow` from importing Keras 3 as well: 3.5 s of processor instead of 4.6.
    server = {"CUDA_VISIBLE_DEVICES": "-1", "TF_USE_LEGACY_KERAS": "1"}
    return os.environ | server | {"PYTHONPATH": os.pathsep.join(paths)}


def _late(timeout_seconds: float) -> str:
    return f"The export did not load and answer within {timeout_seconds:g} seconds."


def _crash(returncode: int, stderr: Path) -> str:
    how = f"signal {signal.Signals(-returncode).name}" if returncode < 0 else f"exit status {returncode}"
    lines = stderr.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"The process that loaded the export ended with {how}: {lines[-1] if lines else 'it said nothing'}"


def _read(out: Path) -> Outcome:
    from serving.requests import answers_of, read_logs

    report = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    if "fault" in report:
        return Outcome(fault=report["fault"])
    return Outcome(
        answers=[answers_of(log) for log in read_logs(out)],
        faults=report["faults"],
        milliseconds=report.get("milliseconds"),
        load_seconds=report["load_seconds"],
    )


def _write(out: Path, report: dict[str, Any]) -> None:
    out.with_suffix(".json").write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
