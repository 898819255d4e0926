"""The laboratory: the images and the trained networks that all experiments share, each network trained once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.experiments.results import Machine, digest, this_machine
from analysis.experiments.training_settings import TrainingSettings
from models.taxonomy import Taxonomy
from pipeline.contract.files import atomic_path, write_json

if TYPE_CHECKING:
    import keras

    from models.training import Task

Images = npt.NDArray[np.uint8]
Garments = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
OnProgress = Callable[[int, int, str], None]
PREDICT_BATCH = 500
FOLD_SEED = 0


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        network: From uint8 images [N, 28, 28] to logits, with flip TTA where the settings ask for it.
        history: One entry per epoch, as in `models.training.Trained`.
        seconds: Duration of the training without the evaluations on validation.
        machine: What it was trained on.
    """

    network: keras.Model
    history: list[dict[str, float]]
    seconds: float
    machine: Machine


class Laboratory:
    """The images, and the networks that have been trained on them.

    Args:
        images: uint8 [N, 28, 28] of each split, "train", "validation" and "test".
        garments: int64 [N] of each split.
        taxonomy: The groups and their garments.
        store: A directory for the trained networks.
    """

    def __init__(
        self, images: dict[str, Images], garments: dict[str, Garments], taxonomy: Taxonomy, store: Path
    ) -> None:
        self.images, self.garments, self.taxonomy, self._store = images, garments, taxonomy, store
        self.membership = np.array(taxonomy.membership())
        self.on_progress: OnProgress = lambda done, total, unit: None
        store.mkdir(parents=True, exist_ok=True)
        content = hashlib.sha256(images["train"].tobytes()).hexdigest()
        self._data = digest([content, garments["train"].tolist(), self.membership.tolist()])

    def groups(self, split: str) -> npt.NDArray[np.int64]:
        """Returns the groups of a split, int64 [N]."""
        return np.array(self.taxonomy.group_of, np.int64)[self.garments[split]]

    def train(self, settings: TrainingSettings, seed: int) -> Trained:
        """Trains a network, or loads it from the store if it was trained before."""
        from models.families import with_flip_tta

        key = f"{digest([self._data, settings.trained_by()])}-{seed}"
        weights, facts = self._store / f"{key}.npz", self._store / f"{key}.json"
        if not facts.exists():
            self._train(settings, seed, weights, facts)
        network = settings.recipe.build_network(self.membership, settings.augmentation.final_side)
        with np.load(weights) as content:
            network.set_weights([content[name] for name in sorted(content.files)])
        stored = json.loads(facts.read_text(encoding="utf-8"))
        # Earlier versions stored the machine as "place".
        machine = Machine(**stored.get("machine", stored.get("place")))
        served = with_flip_tta(network) if settings.flip_tta else network
        return Trained(served, stored["history"], stored["seconds"], machine)

    def logits(self, settings: TrainingSettings, seed: int, split: str = "validation") -> Logits:
        """Returns a network's logits [N, outputs] for the images of a split."""
        return predict(self.train(settings, seed).network, self.images[split])

    def _train(self, settings: TrainingSettings, seed: int, weights: Path, facts: Path) -> None:
        from models.training import Plan, train

        plan = Plan(
            settings.epochs, settings.batch_size, seed, settings.augmentation, settings.precision, settings.balanced
        )
        checkpoint = weights.with_suffix(".checkpoint.npz")
        trained = train(
            settings.recipe,
            self.task(settings, seed),
            plan,
            checkpoint,
            after_epoch=lambda epoch, logits: self.on_progress(epoch + 1, settings.epochs, "epochs"),
        )
        values = {f"w{index:04d}": array for index, array in enumerate(trained.model.get_weights())}
        with atomic_path(weights) as path:
            np.savez(path, **values)
        seconds = sum(entry["seconds"] for entry in trained.history)
        # The network counts as trained when this file is there.
        write_json(facts, {"history": trained.history, "seconds": seconds, "machine": asdict(this_machine())})
        checkpoint.unlink(missing_ok=True)
        clear_session()

    def task(self, settings: TrainingSettings, seed: int) -> Task:
        """Returns the images and targets of a training."""
        from models.training import Task

        images, garments = self.images["train"], self.garments["train"]
        task = Task(images, garments, self.images["validation"], self.garments["validation"], self.membership)
        if settings.labels == "without_suspected_errors":
            clean = np.setdiff1d(np.arange(len(garments)), self._suspected_errors)
            task = replace(task, images=images[clean], garments=garments[clean])
        if settings.labels == "soft":
            task = replace(task, targets=_float(0.5 * np.eye(len(self.membership))[garments] + 0.5 * self._out_of_fold))
        if settings.known_garments < 1:
            task = replace(task, targets=self._partial_targets(settings.known_garments, garments))
        if settings.teacher is not None:
            task = replace(task, targets=_float(self._distillation_targets(settings, seed, task.garments)))
        return task

    def _partial_targets(self, share: float, garments: Garments) -> npt.NDArray[np.float32]:
        """Returns [N, garments]: 1 at the garment where it is known, else at every garment of the group."""
        of_group = self.membership @ self.membership.T
        known = np.random.default_rng(FOLD_SEED).random(len(garments)) < share
        return _float(np.where(known[:, None], np.eye(len(of_group))[garments], of_group[garments]))

    def training_size(self, settings: TrainingSettings) -> int:
        """Returns the number of training images with these settings."""
        left_out = len(self._suspected_errors) if settings.labels == "without_suspected_errors" else 0
        return len(self.images["train"]) - left_out

    def _distillation_targets(
        self, settings: TrainingSettings, seed: int, garments: Garments
    ) -> npt.NDArray[np.float64]:
        from models.probabilities import softmax

        assert settings.teacher is not None
        softened = softmax(self.logits(settings.teacher, seed, "train") / settings.teacher_temperature)
        labels = np.eye(len(self.membership))[garments]
        return settings.teacher_weight * softened + (1 - settings.teacher_weight) * labels

    @cached_property
    def _out_of_fold(self) -> npt.NDArray[np.float64]:
        """Out-of-fold garment probabilities of the training images by small networks, float64 [N, garments]."""
        from analysis.exploration.cross_validation import cross_validate
        from analysis.exploration.data import Data
        from models.probabilities import fit_temperature, softmax

        file = self._store / f"out-of-fold-{self._data}.npy"
        if not file.exists():
            # Cross-validation also needs images outside the folds: one of validation stands for them.
            images, garments = (np.concatenate([a["train"], a["validation"][:1]]) for a in (self.images, self.garments))
            outside = np.arange(len(garments)) == len(garments) - 1
            data = Data(images, garments, outside, np.full(len(garments), -1), outside.astype(str), self.taxonomy)
            with atomic_path(file) as path:
                np.save(path, cross_validate(data, seed=FOLD_SEED).logits[-1])
            clear_session()
        logits = np.load(file)
        return softmax(logits / fit_temperature(logits, self.garments["train"]))

    @cached_property
    def _suspected_errors(self) -> Garments:
        """Rows of the training images whose label is suspected to be wrong, int64."""
        from analysis.exploration.label_errors import find_suspected_errors

        garments = self.garments["train"]
        return find_suspected_errors(garments, self._out_of_fold, np.arange(len(garments))).rows


def predict(network: keras.Model, images: Images) -> Logits:
    """Returns a network's logits [N, outputs] for images uint8 [N, 28, 28]."""
    logits: Logits = network.predict(images, batch_size=PREDICT_BATCH, verbose=0)
    return logits


def _float(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return values.astype(np.float32)


def clear_session() -> None:
    """Frees the memory that Keras holds for networks that are no longer used."""
    import gc

    import keras

    policy = keras.config.dtype_policy()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)
    gc.collect()
