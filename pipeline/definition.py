"""The pipeline: from the raw images to a model that TensorFlow Serving answers with. Read it from top to bottom."""

from __future__ import annotations

from components.bulk_inferrer import bulk_inferrer
from components.evaluator import evaluator
from components.example_gen import example_gen
from components.example_validator import example_validator
from components.infra_validator import infra_validator
from components.label_grouping import label_grouping
from components.pusher import pusher
from components.schema_gen import schema_gen
from components.statistics_gen import statistics_gen
from components.trainer import trainer
from components.tuner import tuner
from models.taxonomy import Taxonomy
from pipeline.configuration import Configuration
from pipeline.graph import LatestBlessed, Pipeline
from pipeline.workspace import Workspace

COMPONENTS = (
    example_gen, statistics_gen, schema_gen, example_validator, label_grouping,
    tuner, trainer, evaluator, infra_validator, pusher, bulk_inferrer,
)  # fmt: skip


def fashion(c: Configuration, workspace: Workspace) -> Pipeline:
    """Chains the stages for a configuration; nothing runs and nothing heavy is imported."""
    taxonomy = Taxonomy.load(c.taxonomy)
    pipeline = Pipeline("fashion")

    ingested = pipeline.add(example_gen, c.example_gen, seed=c.seed)

    described = pipeline.add(statistics_gen, c.statistics_gen, examples=ingested["examples"])
    expected = pipeline.add(schema_gen, c.schema_gen, statistics=described["statistics"])
    validated = pipeline.add(
        example_validator, c.example_validator, statistics=described["statistics"], schema=expected["schema"]
    )

    grouped = pipeline.add(
        label_grouping,
        c.label_grouping,
        examples=ingested["examples"],
        schema=expected["schema"],
        anomalies=validated["anomalies"],
        taxonomy=taxonomy,
    )["grouped"]

    tuned = pipeline.add(tuner, c.tuner, examples=grouped, taxonomy=taxonomy, seed=c.seed)
    model = pipeline.add(
        trainer,
        c.trainer,
        examples=grouped,
        hyperparameters=tuned["hyperparameters"],
        taxonomy=taxonomy,
        seed=c.seed,
    )["model"]

    judged = pipeline.add(
        evaluator,
        c.evaluator,
        examples=grouped,
        model=model,
        baseline=LatestBlessed(model),
        taxonomy=taxonomy,
        seed=c.seed,
    )
    served = pipeline.add(
        infra_validator,
        c.infra_validator,
        model=model,
        examples=grouped,
        **c.pusher.model_dump(include={"warmup_requests", "warmup_batch"}),
    )

    pushed = pipeline.add(
        pusher,
        c.pusher,
        model=model,
        model_blessing=judged["blessing"],
        infra_blessing=served["blessing"],
        examples=grouped,
        destination=workspace.serving,
    )["pushed"]
    pipeline.add(bulk_inferrer, c.bulk_inferrer, examples=grouped, model=model, pushed=pushed)
    return pipeline
