"""What the experiments share: the images, and every network that was trained, once for all of them."""

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

from analysis.experiments.place import Place, here
from analysis.experiments.results import digest
from analysis.experiments.training_settings import TrainingSettings
from models.taxonomy import Taxonomy

if TYPE_CHECKING:
    import keras

    from models.training import Task

Images = npt.NDArray[np.uint8]
Garments = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
Report = Callable[[int, int, str], None]
PREDICT_BATCH = 500
FOLD_SEED = 0


@dataclass(frozen=True)
class Trained:
    """A network that was trained.

    Attributes:
        network: From uint8 images [N, 28, 28] to logits, with its mirror image's where the settings say so.
        history: An entry an epoch, as `models.training.Trained` has it.
        seconds: That the training took, without the looks at validation.
        place: What it was trained on.
    """

    network: keras.Model
    history: list[dict[str, float]]
    seconds: float
    place: Place


class Laboratory:
    """The images, and the networks trained on them so far.

    Args:
        images: By split, "train", "validation" and "test": uint8 [N, 28, 28].
        garments: By split: int64 [N].
        taxonomy: Which garment belongs to which group.
        store: A directory for what was trained.
    """

    def __init__(
        self, images: dict[str, Images], garments: dict[str, Garments], taxonomy: Taxonomy, store: Path
    ) -> None:
        self.images, self.garments, self.taxonomy, self._store = images, garments, taxonomy, store
        self.membership = np.array(taxonomy.membership())
        self.report: Report = lambda done, total, note: None
        store.mkdir(parents=True, exist_ok=True)
        content = hashlib.sha256(images["train"].tobytes()).hexdigest()
        self._data = digest([content, garments["train"].tolist(), self.membership.tolist()])

    def groups(self, split: str) -> npt.NDArray[np.int64]:
        """Returns the groups of a split, int64 [N]."""
        return np.array(self.taxonomy.group_of, np.int64)[self.garments[split]]

    def train(self, settings: TrainingSettings, seed: int) -> Trained:
        """Trains a network, or takes it from the store where it was trained before."""
        from models.families import with_flip_tta

        key = f"{digest([self._data, settings.trained_by()])}-{seed}"
        weights, facts = self._store / f"{key}.npz", self._store / f"{key}.json"
        if not facts.exists():
            self._train(settings, seed, weights, facts)
        network = settings.recipe.build_network(self.membership, settings.augmentation.final_side)
        with np.load(weights) as content:
            network.set_weights([content[name] for name in sorted(content.files)])
        known = json.loads(facts.read_text(encoding="utf-8"))
        asked = with_flip_tta(network) if settings.mirror else network
        return Trained(asked, known["history"], known["seconds"], Place(**known["place"]))

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
            after_epoch=lambda epoch, logits: self.report(epoch + 1, settings.epochs, "epochs"),
        )
        values = {f"w{place:04d}": array for place, array in enumerate(trained.model.get_weights())}
        np.savez(weights, **values)
        seconds = sum(entry["seconds"] for entry in trained.history)
        unfinished = facts.with_suffix(".unfinished")
        known = {"history": trained.history, "seconds": seconds, "place": asdict(here())}
        unfinished.write_text(json.dumps(known), encoding="utf-8")
        unfinished.replace(facts)
        checkpoint.unlink(missing_ok=True)
        forget()

    def task(self, settings: TrainingSettings, seed: int) -> Task:
        """Returns what a training learns: images and targets as the settings ask for."""
        from models.training import Task

        images, garments = self.images["train"], self.garments["train"]
        task = Task(images, garments, self.images["validation"], self.garments["validation"], self.membership)
        if settings.labels == "without_suspects":
            kept = np.setdiff1d(np.arange(len(garments)), self._suspects)
            task = replace(task, images=images[kept], garments=garments[kept])
        if settings.labels == "soft":
            task = replace(task, targets=_float(0.5 * np.eye(len(self.membership))[garments] + 0.5 * self._out_of_fold))
        if settings.known_garments < 1:
            task = replace(task, targets=self._partly_known(settings.known_garments, garments))
        if settings.teacher is not None:
            task = replace(task, targets=_float(self._taught(settings, seed, task.garments)))
        return task

    def _partly_known(self, share: float, garments: Garments) -> npt.NDArray[np.float32]:
        """Returns [N, garments]: 1 at the garment where it is known, else at every garment of the group."""
        of_group = self.membership @ self.membership.T
        known = np.random.default_rng(FOLD_SEED).random(len(garments)) < share
        return _float(np.where(known[:, None], np.eye(len(of_group))[garments], of_group[garments]))

    def learned(self, settings: TrainingSettings) -> int:
        """Returns how many images a training with these settings learns from."""
        left_out = len(self._suspects) if settings.labels == "without_suspects" else 0
        return len(self.images["train"]) - left_out

    def _taught(self, settings: TrainingSettings, seed: int, garments: Garments) -> npt.NDArray[np.float64]:
        from models.probabilities import softmax

        assert settings.teacher is not None
        answers = softmax(self.logits(settings.teacher, seed, "train") / settings.teacher_temperature)
        given = np.eye(len(self.membership))[garments]
        return settings.teacher_weight * answers + (1 - settings.teacher_weight) * given

    @cached_property
    def _out_of_fold(self) -> npt.NDArray[np.float64]:
        """float64 [N, garments]: what small networks say of training images that they were not trained on."""
        from analysis.exploration.cross_validation import cross_validate
        from analysis.exploration.data import Data
        from models.probabilities import fit_temperature, softmax

        file = self._store / f"out-of-fold-{self._data}.npy"
        if not file.exists():
            # Cross-validation also asks about images outside the folds: one of validation stands for them.
            images, garments = (np.concatenate([a["train"], a["validation"][:1]]) for a in (self.images, self.garments))
            outside = np.arange(len(garments)) == len(garments) - 1
            data = Data(images, garments, outside, np.full(len(garments), -1), outside.astype(str), self.taxonomy)
            unfinished = file.with_suffix(".unfinished.npy")
            np.save(unfinished, cross_validate(data, seed=FOLD_SEED).logits[-1])
            unfinished.replace(file)
            forget()
        logits = np.load(file)
        return softmax(logits / fit_temperature(logits, self.garments["train"]))

    @cached_property
    def _suspects(self) -> Garments:
        """int64, the rows of the training images whose garment is suspected to be given wrongly."""
        from analysis.exploration.label_errors import find_suspected_errors

        garments = self.garments["train"]
        return find_suspected_errors(garments, self._out_of_fold, np.arange(len(garments))).rows


def predict(network: keras.Model, images: Images) -> Logits:
    """Returns a network's logits [N, outputs] for images uint8 [N, 28, 28]."""
    answers: Logits = network.predict(images, batch_size=PREDICT_BATCH, verbose=0)
    return answers


def _float(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return values.astype(np.float32)


def forget() -> None:
    """Frees what Keras keeps of networks that are no longer used."""
    import gc

    import keras

    policy = keras.config.dtype_policy()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)
    gc.collect()
