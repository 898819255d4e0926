"""What TensorBoard shows of a search: every trial's epochs as scalars, and all trials in the HParams tab."""

from __future__ import annotations

import shutil
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from analysis.search.journal import Outcome
from analysis.search.oracles import OBJECTIVE
from analysis.search.space import SearchSpace

METRICS = {OBJECTIVE: "validation macro F1", "val_group_accuracy": "validation accuracy", "loss": "training loss"}
NAME = "trial-"


def begin_logs(logs: Path, space: SearchSpace, epochs: int) -> None:
    """Writes what the HParams tab is told of the space, and removes the trials that an earlier start has logged.

    Args:
        logs: The directory that TensorBoard reads.
        space: The choices and ranges.
        epochs: The most epochs of a trial.
    """
    for old in [*logs.glob(f"{NAME}*"), *logs.glob("events.out.tfevents.*")]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    declared = [hparams.HParam(name, hparams.Discrete(list(values))) for name, values in space.choices.items()]
    declared += [hparams.HParam(name, hparams.RealInterval(low, high)) for name, (low, high, _) in space.ranges.items()]
    declared.append(hparams.HParam("epochs", hparams.IntInterval(1, epochs)))
    metrics = [hparams.Metric(tag, display_name=name) for tag, name in METRICS.items()]
    with tf.summary.create_file_writer(str(logs)).as_default():
        hparams.hparams_config(hparams=declared, metrics=metrics)


def log_trial(logs: Path, outcome: Outcome) -> None:
    """Writes a trial into a directory of its own: its values, and the scalars of every epoch."""
    name = f"{NAME}{outcome.trial}"
    # Written when the trial has ended, so that a kill leaves no half of it, and a resumed search has them all.
    with tf.summary.create_file_writer(str(logs / name)).as_default():
        hparams.hparams({**outcome.values, "epochs": outcome.epochs}, trial_id=name)
        for epoch, scores in enumerate(outcome.history):
            for tag, score in scores.items():
                tf.summary.scalar(tag, score, step=epoch)
