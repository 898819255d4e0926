"""Trainer: trains the best recipe on all training examples, calibrates it on validation and exports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples, HyperParameters, Model
from pipeline.contract.component import Input, Logs, Output, Scratch, component
from pipeline.contract.errors import UserError, suggest
from pipeline.contract.files import write_json
from pipeline.contract.progress import Progress

if TYPE_CHECKING:
    from keras.callbacks import Callback

    from models.training import Task


def _check_profile(profile_batches: tuple[int, int] | None) -> None:
    if profile_batches is not None and not 1 <= profile_batches[0] <= profile_batches[1]:
        raise UserError(
            "trainer.profile_batches is no range of batches.",
            expected="first and last batch, counted from 1 through all epochs, such as [10, 20]",
            received=str(list(profile_batches)),
            next_step="correct trainer.profile_batches, or leave it out",
        )


def check_batches(images: int, batch_size: int, epochs: int, profile_batches: tuple[int, int] | None) -> None:
    """Raises UserError for a batch, or for profiled batches, that a training on so many images does not have."""
    if images < batch_size:
        raise UserError(
            "trainer.batch_size is larger than the training split.",
            expected=f"at most {images} images a batch",
            received=str(batch_size),
            next_step="set a smaller trainer.batch_size",
        )
    batches = epochs * (images // batch_size)
    if profile_batches is not None and profile_batches[1] > batches:
        raise UserError(
            "trainer.profile_batches lies beyond the end of the training.",
            expected=f"batches 1 to {batches:,}: {epochs} epochs of {images // batch_size:,}",
            received=str(list(profile_batches)),
            next_step="correct trainer.profile_batches, or leave it out",
        )


def _check_examples(examples: Examples, batch_size: int, epochs: int, profile_batches: tuple[int, int] | None) -> None:
    images = examples.properties.get("train")
    if images is not None:  # examples of version 0.1 have no record of their number
        check_batches(int(images), batch_size, epochs, profile_batches)


@component(checks=(_check_profile, _check_examples))
def trainer(
    examples: Input[Examples],
    hyperparameters: Input[HyperParameters],
    model: Output[Model],
    scratch: Scratch,
    logs: Logs,
    progress: Progress,
    *,
    taxonomy: Taxonomy,
    seed: int,
    epochs: Annotated[
        int, Field(ge=1, le=1000, description="Number of epochs; the experiment `twenty_epochs` chose it.")
    ] = 20,
    batch_size: Annotated[
        int, Field(ge=8, le=8192, description="Images a step; in the experiment `recipe` 128 and 512 are not better.")
    ] = 256,
    augmentation: Annotated[
        Literal["none", "flip", "flip_and_shift", "flip_shift_erase", "flip_shift_mixup"],
        Field(description="Changes to the training images; the experiment `twenty_epochs` chose them."),
    ] = "flip_shift_mixup",
    precision: Annotated[
        Literal["auto", "float32", "mixed_bfloat16"],
        Field(
            description='"auto" is bfloat16 where the processor multiplies in it, else float32; '
            "in the experiment `recipe` the difference is not significant."
        ),
    ] = "auto",
    flip_tta: Annotated[
        bool,
        Field(
            description="Whether the exported model uses flip TTA: it averages the logits for an image and for "
            "the same image flipped left to right; in the experiment `recipe` it gains 0.12 points, not significant."
        ),
    ] = True,
    coverage: Annotated[
        float,
        Field(
            gt=0.5,
            lt=1,
            description="Nominal share of each group's prediction sets that hold the true group; the experiments "
            "`calibration` and `calibration_default` measure what it costs.",
        ),
    ] = 0.99,
    texts: Annotated[
        bool,
        Field(
            description="Whether the exported model also has the signature `serving_text`, which reads a description "
            "with the image; the experiment `text` measures when that helps."
        ),
    ] = False,
    pictures_every: Annotated[
        int, Field(ge=1, description="Epochs between two pictures of confusion and errors in TensorBoard.")
    ] = 1,
    projected_examples: Annotated[
        int, Field(ge=0, le=10_000, description="Validation examples in TensorBoard's projector; 0 for none.")
    ] = 1000,
    profile_batches: Annotated[
        tuple[int, int] | None, Field(description="First and last batch to profile for TensorBoard; none by default.")
    ] = None,
) -> None:
    """Trains the best recipe, calibrates it on validation, and exports it with its signatures."""
    from keras.callbacks import TensorBoard

    from analysis.training.tensorboard_pictures import PictureLog, write_projector
    from analysis.training.text_model import fit_descriptions, read_descriptions
    from models.augmentation import AUGMENTATIONS
    from models.calibration import calibrate
    from models.export import export_model
    from models.families import with_flip_tta
    from models.probabilities import group_confusion, macro_f1
    from models.recipe import Recipe
    from models.text_evidence import fit_text_model
    from models.training import PREDICT_BATCH, Plan, train

    recipe = Recipe.from_values(hyperparameters.best())
    task = _read_task(examples, taxonomy)
    text_model = evidence_model = None
    if texts:
        # Before the images, so that a lack of descriptions is reported at once.
        with suggest("fashion run --set trainer.texts=false"):
            descriptions = {name: read_descriptions(examples.split(name)) for name in ("train", "validation")}
            text_model = fit_text_model(descriptions["train"], task.garments, len(task.membership))
    plan = Plan(epochs, batch_size, seed, AUGMENTATIONS[augmentation], precision)
    scalars = TensorBoard(log_dir=str(logs), write_graph=True, profile_batch=profile_batches or 0)
    callbacks = [scalars, _progress(progress, epochs, len(task.images) // batch_size)]
    pictures = PictureLog(logs, task, taxonomy, pictures_every)
    trained = train(recipe, task, plan, scratch / "epoch.npz", callbacks, pictures)
    write_projector(logs, trained.model, task, taxonomy, projected_examples)

    network = with_flip_tta(trained.model) if flip_tta else trained.model
    logits = network.predict(task.validation_images, batch_size=PREDICT_BATCH, verbose=0)
    calibration = calibrate(logits, task.validation_garments, task.membership, coverage)
    garments = calibration.garment_probabilities(logits)
    if text_model is not None:
        evidence_model, record = fit_descriptions(text_model, descriptions["validation"], task, garments)
        write_json(model.texts_file, record)
        model.properties["validation_macro_f1_with_texts"] = record["validation"]["image_and_text"]["macro_f1"]
    export_model(network, calibration, taxonomy, model.saved_model, evidence_model)
    network.save(model.keras_file)
    write_json(model.calibration_file, calibration.to_json())
    write_json(model.training_file, {"recipe": recipe.to_values(), "history": trained.history})
    model.properties["parameters"] = network.count_params()
    confusion = group_confusion(garments @ task.membership, task.validation_groups)
    model.properties["validation_macro_f1"] = round(macro_f1(confusion), 4)


def _read_task(examples: Examples, taxonomy: Taxonomy) -> Task:
    import numpy as np

    from analysis.data.examples import read_arrays
    from models.training import Task

    train, validation = (read_arrays(examples.split(s), ("image", "garment")) for s in ("train", "validation"))
    membership = np.array(taxonomy.membership())
    return Task(train["image"], train["garment"], validation["image"], validation["garment"], membership)


def _progress(progress: Progress, epochs: int, steps: int) -> Callback:
    """Returns a callback that reports the epoch, the step, the loss and the last validation score."""
    from keras.callbacks import LambdaCallback

    finished, score = 0, ""

    def on_epoch_begin(epoch: int, logs: object) -> None:
        nonlocal finished
        finished = epoch

    def on_train_batch_end(step: int, logs: dict[str, float]) -> None:
        if step % 10 == 0:
            progress(finished, epochs, "epochs", f"step {step + 1}/{steps}, loss {logs['loss']:.3f}{score}")

    def on_epoch_end(epoch: int, logs: dict[str, float]) -> None:
        nonlocal score
        score = f", validation macro F1 {logs['val_group_macro_f1']:.4f}"
        progress(epoch + 1, epochs, "epochs", score.removeprefix(", "))

    return LambdaCallback(
        on_epoch_begin=on_epoch_begin, on_train_batch_end=on_train_batch_end, on_epoch_end=on_epoch_end
    )
