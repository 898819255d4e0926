"""A toy judge that reads its own earlier verdict beside the latest blessed model."""

from __future__ import annotations

import json

from pipeline.contract.artifacts import Model, ModelBlessing
from pipeline.contract.component import Input, Output, component
from pipeline.runner.graph import LatestBlessed, Pipeline
from tests.pipeline.runner.toy import learn, source


@component
def remember(
    model: Input[Model],
    earlier: Input[ModelBlessing] | None,
    blessing: Output[ModelBlessing],
) -> None:
    """Blesses every model, and lists the totals of those before it."""
    before = earlier.verdict() if earlier is not None else None
    remembered = [] if before is None else [*before["remembered"], before["total"]]
    total = json.loads((model.path / "model.json").read_text())["total"]
    blessing.write_json("verdict.json", {"blessed": True, "total": total, "remembered": remembered})
    blessing.properties["blessed"] = True


def remembering(count: int) -> Pipeline:
    """Chains the toy stages before a judge that remembers."""
    pipeline = Pipeline("memory")
    examples = pipeline.add(source, seed=1, count=count)["examples"]
    model = pipeline.add(learn, examples=examples)["model"]
    pipeline.add(remember, model=model, earlier=LatestBlessed(model, output="blessing"))
    return pipeline
