"""Pusher: makes a model with both blessings the newest version that TensorFlow Serving loads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from analysis.data.examples import read_arrays
from pipeline.contract.artifacts import Blessing, Examples, InfraBlessing, Model, ModelBlessing, PushedModel
from pipeline.contract.component import Input, Output, component
from pipeline.contract.errors import suggest
from pipeline.contract.files import write_json


@component
def pusher(
    model: Input[Model],
    model_blessing: Input[ModelBlessing],
    infra_blessing: Input[InfraBlessing],
    examples: Input[Examples],
    pushed: Output[PushedModel],
    *,
    destination: Path,
    keep_versions: Annotated[int, Field(ge=1, le=1000, description="The number of newest versions to keep.")] = 5,
    warmup_requests: Annotated[
        int, Field(ge=1, le=249, description="Warm-up requests of one image for each signature.")
    ] = 8,
    warmup_batch: Annotated[
        int, Field(ge=1, le=1000, description="Images in each signature's one large warm-up request.")
    ] = 32,
) -> None:
    """Makes a blessed model the newest version for TensorFlow Serving, with warm-up requests."""
    reason = _missing_blessing("Evaluator", model_blessing) or _missing_blessing("InfraValidator", infra_blessing)
    if reason:
        _record(pushed, {"pushed": False, "version": None, "path": None, "reason": reason, "digest": None})
        return
    from serving.requests.warmup import push_warm
    from serving.versions import versions

    earlier = {version.number for version in versions(destination)}
    images = read_arrays(examples.split("validation"), ("image",))["image"]
    with suggest("fashion run --from trainer"):
        version = push_warm(
            model.saved_model,
            destination,
            images,
            singles=warmup_requests,
            batch=warmup_batch,
            keep=keep_versions,
        )
    reason = f"Version {version.number} holds this model already." if version.number in earlier else ""
    path = os.path.relpath(version.path.absolute(), pushed.path.absolute())
    _record(
        pushed,
        {"pushed": True, "version": version.number, "path": path, "reason": reason, "digest": version.digest},
    )
    pushed.properties["version"] = version.number


def _missing_blessing(validator: str, blessing: Blessing) -> str:
    """Returns why a verdict forbids the push; empty when it allows it."""
    verdict = blessing.verdict()
    if verdict["blessed"]:
        return ""
    broken = [_describe(rule) for rule in verdict["rules"] if not rule["passed"]]
    return f"The {validator} has not blessed the model. " + (verdict.get("reason") or "; ".join(broken))


def _describe(rule: dict[str, Any]) -> str:
    where = f" ({rule['slice']})" if rule["slice"] else ""
    note = f", {rule['note']}" if rule.get("note") else ""
    return f"{rule['rule']}{where}: {rule['metric']} is {rule['value']}, bound {rule['bound']}{note}"


def _record(pushed: PushedModel, content: dict[str, Any]) -> None:
    write_json(pushed.record_file, content)
    pushed.properties["pushed"] = content["pushed"]
