"""Records how long a profile takes on this machine, from a run in a workspace, in `docs/measurements/times.json`.

    python -m scripts.documents.times --workspace workspace --profile default

Where other programs used the machine during some epochs, these took longer. So `minutes` counts every epoch with the
seconds of an undisturbed one; `elapsed_minutes` is what the run took.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.contract.files import write_json
from pipeline.runner.workspace import Workspace
from scripts.documents.evaluation import FinishedRun
from scripts.documents.values import DOCS

TIMES = DOCS / "measurements" / "times.json"
PROFILES = ("default", "quick", "full")
SCALED = "scaled"
UNDISTURBED = 25
"""The percentile of the epochs' seconds that counts as undisturbed."""


def main() -> None:
    """Writes the times of one profile on this machine, and leaves the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--profile", default="default")
    options = parser.parse_args()
    run = FinishedRun.read(Workspace(options.workspace.resolve())).describe()
    times = json.loads(TIMES.read_text(encoding="utf-8"))
    arithmetic = "bfloat16" if run["hardware"]["bfloat16"] else "float32"
    times.setdefault(options.profile, {})[arithmetic] = measured_times(run)
    write_json(TIMES, with_scaled(times, options.profile))


def with_scaled(times: dict[str, Any], profile: str) -> dict[str, Any]:
    """Adds the minutes without bfloat16 of the profiles that are measured with it alone, by the ratio of a profile.

    Args:
        times: The content of `times.json`.
        profile: The profile that is measured with and without bfloat16.
    """
    ratio = times[profile]["float32"]["minutes"] / times[profile]["bfloat16"]["minutes"]
    for name in PROFILES:
        if times[name].get("float32", {}).get("kind", SCALED) == SCALED:
            source = f"{ratio:.2f} times the minutes with bfloat16, as for the profile {profile}"
            minutes = round(ratio * times[name]["bfloat16"]["minutes"], 1)
            times[name]["float32"] = {"minutes": minutes, "kind": SCALED, "source": source}
    return times


def measured_times(run: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the minutes of a run with the seconds of its stages.

    Args:
        run: A record of a run, as `FinishedRun.describe` returns it.
    """
    import numpy as np

    epochs = [epoch["seconds"] for epoch in run["model"]["history"]]
    undisturbed = float(np.percentile(epochs, UNDISTURBED))
    saved = sum(epochs) - len(epochs) * undisturbed
    return {
        "minutes": round((run["total_seconds"] - saved) / 60, 1),
        "elapsed_minutes": round(run["total_seconds"] / 60, 1),
        "kind": "measured, with the seconds of undisturbed epochs",
        "source": f"{run['hardware']['processor']}, {run['hardware']['cores']} cores; {run['date']}",
        "epoch_seconds": round(undisturbed, 1),
        "stage_seconds": run["seconds"],
    }


if __name__ == "__main__":
    main()
