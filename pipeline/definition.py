"""The two pipelines: from the raw images to a served model, and the exploration of the images."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from analysis.evaluation.verdict import Rule, check_rules, load_rules
from components.bulk_inferrer import bulk_inferrer
from components.cross_validator import cross_validator
from components.embedder import embedder
from components.evaluator import evaluator
from components.example_gen import check_garments, example_gen
from components.example_validator import example_validator
from components.explorer import explorer
from components.infra_validator import infra_validator
from components.label_grouping import label_grouping
from components.learning_curve_gen import learning_curve_gen
from components.neighbour_finder import neighbour_finder
from components.pusher import pusher
from components.schema_gen import schema_gen
from components.statistics_gen import statistics_gen
from components.trainer import check_batches, trainer
from components.tuner import tuner
from models.taxonomy import DEFAULT_PATH, Taxonomy
from pipeline.contract.artifacts import Artifact, Model, ServedModel
from pipeline.contract.errors import suggest
from pipeline.runner.configuration import Configuration
from pipeline.runner.graph import Latest, LatestBlessed, Pipeline, Previous
from pipeline.runner.workspace import Workspace
from serving.versions import newest_other

COMPONENTS = (
    example_gen, statistics_gen, schema_gen, example_validator, label_grouping,
    tuner, trainer, evaluator, infra_validator, pusher, bulk_inferrer,
    neighbour_finder, cross_validator, learning_curve_gen, embedder, explorer,
)  # fmt: skip

IMAGES_OF_A_GARMENT = 6_000
"""The images of each garment in the official training split of Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017)."""


def fashion(c: Configuration, workspace: Workspace) -> Pipeline:
    """Chains the stages from the images to the served model; no stage runs and no heavy library is imported."""
    taxonomy = _taxonomy(c)
    taxonomy_rules = load_rules(c.taxonomy)
    _check_rules(c, taxonomy, taxonomy_rules)
    _check_batches(c, len(taxonomy.garments))
    pipeline = Pipeline("fashion")

    ingested = pipeline.add(example_gen, c.example_gen, seed=c.seed, garments=taxonomy.garments)

    described = pipeline.add(statistics_gen, c.statistics_gen, examples=ingested["examples"])
    expected = pipeline.add(schema_gen, c.schema_gen, statistics=described["statistics"])
    validated = pipeline.add(
        example_validator,
        c.example_validator,
        examples=ingested["examples"],
        statistics=described["statistics"],
        schema=expected["schema"],
        previous=Previous(ingested["examples"], same=("source", "garments")),
        source=c.example_gen.source,
        garments=taxonomy.garments,
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
        baseline=LatestBlessed(model, otherwise=partial(_newest_other_version, workspace.serving)),
        earlier=LatestBlessed(model, output="evaluation"),
        taxonomy_rules=taxonomy_rules,
        taxonomy=taxonomy,
        seed=c.seed,
    )
    served = pipeline.add(
        infra_validator,
        c.infra_validator,
        model=model,
        examples=grouped,
        warmup_requests=c.pusher.warmup_requests,
        warmup_batch=c.pusher.warmup_batch,
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


def _check_rules(c: Configuration, taxonomy: Taxonomy, taxonomy_rules: tuple[Rule, ...]) -> None:
    """Raises UserError for a rule with a name that the taxonomy does not have, before any stage runs."""
    with suggest("correct [[evaluator.rules]] in the profile; fashion show --parameters describes it"):
        check_rules(c.evaluator.rules, taxonomy.groups, taxonomy.garments)
    with suggest(f"correct [[rules]] in {c.taxonomy or DEFAULT_PATH}"):
        check_rules(taxonomy_rules, taxonomy.groups, taxonomy.garments)


def _check_batches(c: Configuration, garments: int) -> None:
    """Raises UserError for batches beyond the training on the published images; that of other data is checked later."""
    if c.example_gen.source == "fashion_mnist" and c.example_gen.verify_checksums:
        training = IMAGES_OF_A_GARMENT - round(IMAGES_OF_A_GARMENT * c.example_gen.validation_share)
        check_batches(garments * training, c.trainer.batch_size, c.trainer.epochs, c.trainer.profile_batches)


def _newest_other_version(serving: Path, candidate: Artifact) -> ServedModel | None:
    """Returns the newest version that was pushed to a directory and holds another model than the candidate."""
    found = newest_other(serving, Model(candidate.path).saved_model)
    return None if found is None else ServedModel(found.path)


def exploration(c: Configuration, workspace: Workspace) -> Pipeline:
    """Chains the stages of `fashion explore`; it shares the first stage with `fashion`, so its result is reused."""
    taxonomy = _taxonomy(c)
    pipeline = Pipeline("exploration")

    examples = pipeline.add(example_gen, c.example_gen, seed=c.seed, garments=taxonomy.garments)["examples"]

    similar = pipeline.add(neighbour_finder, c.neighbour_finder, examples=examples, taxonomy=taxonomy)["neighbours"]
    held_out = pipeline.add(cross_validator, c.cross_validator, examples=examples, taxonomy=taxonomy, seed=c.seed)[
        "predictions"
    ]
    curves = pipeline.add(learning_curve_gen, c.learning_curve_gen, examples=examples, taxonomy=taxonomy, seed=c.seed)[
        "learning_curves"
    ]
    maps = pipeline.add(
        embedder,
        c.embedder,
        examples=examples,
        predictions=held_out,
        trained=Latest(Model),
        taxonomy=taxonomy,
        seed=c.seed,
    )["embedding"]

    pipeline.add(
        explorer,
        c.explorer,
        examples=examples,
        neighbours=similar,
        predictions=held_out,
        learning_curves=curves,
        embedding=maps,
        taxonomy=taxonomy,
        seed=c.seed,
    )
    return pipeline


def _taxonomy(c: Configuration) -> Taxonomy:
    """Returns the configured taxonomy; raises UserError if the data set's labels do not fit it.

    No check of ExampleGen: a run that starts at a later stage must not exchange garments either.
    """
    taxonomy = Taxonomy.load(c.taxonomy)
    check_garments(taxonomy.garments, c.example_gen.source, c.example_gen.verify_checksums)
    return taxonomy
