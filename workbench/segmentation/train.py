"""Training a U-Net on chips: everything is checked before the first step, and the best epoch is kept."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import Cancelled, FileExists, TrainingFailed, TrainingRefused
from workbench.files import sha256
from workbench.imagery.opening import open_imagery
from workbench.jobs import Progress, shown_progress
from workbench.labels.chips import Chips, Split, open_chips
from workbench.labels.fold import LabelClass
from workbench.segmentation.checkpoints import CHECKPOINT, Progressed, read_checkpoint
from workbench.segmentation.devices import best_device
from workbench.segmentation.loop import Loop
from workbench.segmentation.runs import MODEL, EpochRow, Run
from workbench.segmentation.samples import Crops, fit_normalisation, load_samples, require_enough
from workbench.segmentation.schedule import Schedule
from workbench.segmentation.unet import (
    AERIAL,
    FROM_NOTHING,
    STRIDE,
    Model,
    ModelCard,
    Normalisation,
    build_unet,
    highest_id,
    load_model,
)

_RATE, _RATE_FROM_NOTHING = 1e-3, 3e-3
_SPLITS: tuple[Split, Split] = ("train", "validation")


def train_unet(
    chips: Chips | str | Path,
    out: str | Path,
    *,
    encoder: str = AERIAL,
    weights: str | Path | None = None,
    start: str | Path | None = None,
    epochs: int = 20,
    minutes: float | None = None,
    batch: int = 8,
    crop: int = 256,
    learning_rate: float | None = None,
    patience: int = 6,
    class_weights: Mapping[str, float] | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    on_epoch: Callable[[EpochRow], None] | None = None,
) -> Run:
    """Train a U-Net and keep the epoch with the best mean IoU on the validation chips.

    An encoder that begins with weights is left alone while the learning rate rises, until the decoder makes sense of it, and
    learns a third as fast afterwards (Howard and Ruder 2018, gradual unfreezing and discriminative fine-tuning).
    AdamW (Loshchilov and Hutter, 2019) under a one-cycle learning rate (Smith and Topin, 2018) that ends with the
    last epoch or with ``minutes``, whichever comes first. On a processor, equal arguments give equal weights, unless
    ``minutes`` cuts the schedule. Stopping it (Cancel, an interrupt, a crash) leaves the best checkpoint so far.

    Args:
        chips: a folder of `export_chips`, or what it returned.
        out: folder for model.safetensors, history.json and curve.png.
        encoder: see `build_unet`; the one that archives are searched with, if not told otherwise.
        weights: of the encoder, see `build_unet`.
        start: a model to go on from with these chips, instead of an encoder: after corrections, or after many masks that are
            not quite right with few that are (Maggiori et al. 2017, "Convolutional neural networks for large-scale
            remote-sensing image classification", section III-C).
        epochs: most passes; a pass draws as many crops as would cover the labelled area once, 32 batches at least.
        minutes: most time for training and validation.
        batch: crops per step.
        crop: side of a crop in pixels, a multiple of 32.
        learning_rate: at the top of the cycle; when None, 0.001, or 0.003 for a network that starts from nothing.
        patience: epochs without a better validation IoU after which training stops.
        class_weights: factors of the cross-entropy by class name ("background" too); 1 where not named.
        seed: of the first weights, the crops and their augmentation.
        resume: go on with a training in ``out`` that was killed, from at most 20 s or an epoch before, if there is one.
        overwrite: replace what is in ``out`` already, a model or an interrupted training.
        progress: counts batches.
        on_epoch: called after each epoch.

    Raises:
        TrainingRefused: one class only, or too little of it, in training or validation; nothing was written.
        TrainingFailed: the loss is no number any more, or memory is out; the best checkpoint so far is kept.
        WeightsUnavailable: see `build_unet` and `load_model`.
        FileExists: ``out`` holds a model or an interrupted training, and neither ``resume`` nor ``overwrite`` is true.
    """
    started = time.monotonic()
    chips = chips if isinstance(chips, Chips) else open_chips(chips)
    _check_sizes(batch, crop, epochs)
    settings = {
        "chips": sha256(chips.folder / "manifest.json"),
        "begun": [encoder, weights and Path(weights).name, start and sha256(start)],
        "schedule": [epochs, minutes, learning_rate, patience],
        "crops": [batch, crop, seed],
        "class_weights": class_weights and dict(class_weights),
    }
    folder, reached = _run_folder(Path(out), settings, resume=resume, overwrite=overwrite)
    before = None if start is None else load_model(start)
    encoder = encoder if before is None else before.card.encoder
    learning_rate = learning_rate or _usual_rate(encoder) / (1 if before is None else 3)
    normalisation = fit_normalisation(chips) if before is None else before.card.normalisation
    training, validation = (load_samples(chips, split, normalisation) for split in _SPLITS)
    require_enough(training, validation, chips.classes)
    model = _first_model(chips, normalisation, encoder, weights, before, seed)
    folder.mkdir(parents=True, exist_ok=True)
    training_loop = Loop(
        model=model,
        crops=Crops(training, highest_id(chips.classes), crop, seed),
        validation=validation,
        batch=batch,
        schedule=Schedule(epochs, minutes, learning_rate, started - (reached.seconds if reached else 0)),
        weights=_class_weights(chips.classes, class_weights),
        settings=settings,
        folder=folder,
    )
    try:
        with shown_progress(progress) as shown:
            training_loop.run(patience, reached, shown, on_epoch)
    except Cancelled as stop:
        raise Cancelled(f"Training was stopped. {training_loop.kept}") from stop
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
    else:
        (folder / CHECKPOINT).unlink()  # there is nothing left to go on with
        return Run(folder, folder / MODEL, training_loop.rows, training_loop.best, chips.classes)
    # Raised here and not above, so that no traceback holds on to tensors: a smaller batch must work right away.
    del training_loop, model, before
    _free_memory()
    raise TrainingFailed(
        f"Memory ran out with batch={batch} and crop={crop}. Try batch={max(1, batch // 2)}, or a smaller crop."
    )


def _check_sizes(batch: int, crop: int, epochs: int) -> None:
    if crop < STRIDE or crop % STRIDE:
        raise TrainingRefused(f"crop={crop} does not fit the network. Choose a multiple of {STRIDE}, such as 256.")
    if batch < 1 or epochs < 1:
        raise TrainingRefused(f"batch={batch}, epochs={epochs}: both must be at least 1.")


def _run_folder(
    folder: Path, settings: Mapping[str, Any], *, resume: bool, overwrite: bool
) -> tuple[Path, Progressed | None]:
    """Check that a training may write into a folder, and how far one came there that is to go on."""
    reached = None if overwrite else read_checkpoint(folder)
    if reached is None:
        if (folder / MODEL).exists() and not overwrite:
            raise FileExists(f"{folder} holds a trained model already. Choose another folder, or pass overwrite=True.")
        return folder, None
    done = f"{folder} holds a training that stopped after epoch {len(reached.rows)} of at most {reached.settings['schedule'][0]}"
    if not resume:
        raise FileExists(f"{done}. Go on with resume=True and the same settings, or start anew with overwrite=True.")
    other = [name for name, value in settings.items() if reached.settings.get(name) != value]
    if other:
        raise TrainingRefused(
            f"{done}, with other {other[0]}: {reached.settings.get(other[0])!r} and not {settings[other[0]]!r}. Go on with "
            "the settings it was started with, or start anew with overwrite=True."
        )
    return folder, reached


def _first_model(
    chips: Chips,
    normalisation: Normalisation,
    encoder: str,
    weights: str | Path | None,
    before: Model | None,
    seed: int,
) -> Model:
    """What training begins with: a network on an encoder, or one that was trained before on the same classes."""
    raster = open_imagery(chips.folder / chips.of("train")[0].image)[0]
    bands, classes = len(raster.bands), chips.classes
    card = ModelCard(encoder, classes, bands, raster.pixel_size_m, normalisation, dict(chips.stretch))
    if before is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Model(build_unet(encoder, bands, highest_id(classes), weights), card)
    known, asked = ([(item.id, item.name) for item in every] for every in (before.card.classes, classes))
    if known != asked or before.card.bands != bands:
        raise TrainingRefused(
            f"The model to start from knows {', '.join(name for _, name in known)} in {before.card.bands} bands; the chips "
            f"have {', '.join(name for _, name in asked)} in {bands}. Start from a model of the same classes, or from an "
            "encoder."
        )
    return Model(before.network, card)


def _usual_rate(encoder: str) -> float:
    return _RATE_FROM_NOTHING if encoder in FROM_NOTHING else _RATE


def _class_weights(classes: Sequence[LabelClass], given: Mapping[str, float] | None) -> Tensor | None:
    if given is None:
        return None
    numbers = {"background": 0} | {item.name: item.id for item in classes}
    wrong = [name for name, value in given.items() if name not in numbers or not 0 < value < math.inf]
    if wrong:
        raise TrainingRefused(
            f"class_weights={dict(given)}: {wrong[0]!r} is no class here, or its factor is not above 0. "
            f"There are {', '.join(numbers)}."
        )
    weights = torch.ones(highest_id(classes) + 1)
    for name, value in given.items():
        weights[numbers[name]] = value
    return weights.to(best_device().name)


def _is_out_of_memory(error: BaseException) -> bool:
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "can't allocate memory" in str(error) or "not enough memory" in str(error)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
