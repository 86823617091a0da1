"""Training a U-Net on chips: everything is checked before the first step, and the best epoch is kept."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from workbench.errors import Busy, Cancelled, FileExists, TrainingFailed, TrainingRefused
from workbench.files import held, is_held
from workbench.imagery.opening import open_imagery
from workbench.jobs import Progress, shown_progress
from workbench.labels.chips import Chips, Split, open_chips
from workbench.segmentation.devices import best_device
from workbench.segmentation.interrupted import CHECKPOINT, Progressed, interrupted_runs, read_checkpoint
from workbench.segmentation.loop import Loop
from workbench.segmentation.report import judge, judge_test, write_report
from workbench.segmentation.runs import MODEL, EpochRow, Run, save_history
from workbench.segmentation.samples import Crops, fit_normalisation, load_samples, require_enough
from workbench.segmentation.schedule import Schedule, Shape
from workbench.segmentation.settings import Settings, difference
from workbench.segmentation.unet import (
    AERIAL,
    FROM_NOTHING,
    Model,
    ModelCard,
    Normalisation,
    build_unet,
    highest_id,
    load_model,
)

log = logging.getLogger(__name__)
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
    schedule: Shape = "one-cycle",
    patience: int = 6,
    class_weights: Mapping[str, float] | None = None,
    tolerance_px: int = 0,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    on_epoch: Callable[[EpochRow], None] | None = None,
) -> Run:
    """Train a U-Net and keep the epoch with the best mean IoU on the validation chips.

    An encoder that begins with weights is left alone while the learning rate rises, until the decoder makes sense of it, and
    learns a third as fast afterwards (Howard and Ruder 2018, gradual unfreezing and discriminative fine-tuning).
    AdamW (Loshchilov and Hutter, 2019) under a learning rate (see `Schedule`) that ends with the last epoch or with
    ``minutes``, whichever comes first. On a processor, equal arguments give equal weights, unless ``minutes`` cuts the
    schedule. Stopping it (Cancel, an interrupt, a crash) leaves the best checkpoint so far.

    Args:
        chips: a folder of `export_chips`, or what it returned.
        out: folder for model.safetensors, history.json, and report.md with its pictures.
        encoder: see `build_unet`; the one that archives are searched with, if not told otherwise.
        weights: of the encoder, see `build_unet`.
        start: a model to go on from with these chips, instead of an encoder: after corrections, or after many masks that are
            not quite right with few that are (Maggiori et al. 2017, "Convolutional neural networks for large-scale
            remote-sensing image classification", section III-C).
        epochs: most passes; one draws as many crops as would cover the labelled area once, 32 batches at least.
        minutes: most time for training and validation.
        batch: crops per step.
        crop: side of a crop in pixels, a multiple of 32.
        learning_rate: at the top of the cycle; when None, 0.001, or 0.003 for a network that starts from nothing.
        schedule: of the learning rate: ``one-cycle`` or ``cyclic``.
        patience: epochs without a better validation IoU that end training; none counts in its first three fifths.
        class_weights: factors of the cross-entropy by class name ("background" too); 1 where not named.
        tolerance_px: outlines may be off by so many pixels and objects missing (see `mended`); 0 where masks are exact.
        seed: of the first weights, the crops and their augmentation.
        resume: go on with a training in ``out`` that was killed, from at most 20 s or an epoch before, if there is one;
            ``batch`` may be another then. `resume_training` needs no other argument.
        overwrite: replace what is in ``out`` already, a model or an interrupted training.
        progress: counts batches.
        on_epoch: called after each epoch.

    Raises:
        TrainingRefused: one class only, or too little of it, in training or validation; nothing was written.
        TrainingFailed: the loss is no number any more, or memory is out; the best checkpoint so far is kept.
        WeightsUnavailable: see `build_unet` and `load_model`.
        FileExists: ``out`` holds a model or an interrupted training, and neither ``resume`` nor ``overwrite`` is true.
        Busy: a training is running in ``out``.
    """
    started = time.monotonic()
    chips = chips if isinstance(chips, Chips) else open_chips(chips)
    settings = Settings(
        encoder=encoder,
        weights=None if weights is None else str(Path(weights).absolute()),
        start=None if start is None else str(Path(start).absolute()),
        epochs=epochs,
        minutes=minutes,
        batch=batch,
        crop=crop,
        learning_rate=learning_rate,
        schedule=schedule,
        patience=patience,
        class_weights=class_weights and dict(class_weights),
        tolerance_px=tolerance_px,
        seed=seed,
    )
    record = settings.record(chips.folder, chips.digest)
    folder = Path(out)
    reached = _reached(folder, record, resume=resume, overwrite=overwrite)
    training_loop = _prepared(chips, settings, record, folder, started - (reached.seconds if reached else 0))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with held(folder), shown_progress(progress) as shown:
            return _train(training_loop, chips, patience, reached, shown, on_epoch)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
    # Raised here and not above, so that no traceback holds on to tensors: a smaller batch must work right away.
    del training_loop
    _free_memory()
    raise TrainingFailed(
        f"Memory ran out with batch={batch} and crop={crop}. Try batch={max(1, batch // 2)}, or a smaller crop."
    )


def resume_training(
    folder: str | Path,
    *,
    batch: int | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[EpochRow], None] | None = None,
) -> Run:
    """Go on with a training that was interrupted, with the settings it was started with; see `train_unet`.

    Args:
        folder: of the run.
        batch: crops per step, if other than before: where memory ran out, a smaller one.
        progress: counts batches.
        on_epoch: called after each epoch.

    Raises:
        TrainingRefused: nothing was interrupted there, or its chips are others now.
    """
    reached = read_checkpoint(Path(folder))
    if reached is None:
        raise TrainingRefused(
            f"{folder} holds no training that was interrupted. Name the folder of a run with a {CHECKPOINT}."
        )
    given = asdict(Settings.of(reached.settings))
    given |= {} if batch is None else {"batch": batch}
    return train_unet(reached.settings["folder"], folder, **given, resume=True, progress=progress, on_epoch=on_epoch)


def _prepared(chips: Chips, settings: Settings, record: Mapping[str, Any], folder: Path, started: float) -> Loop:
    """All that a training needs, in memory; refused when it is too little."""
    before = None if settings.start is None else load_model(settings.start)
    encoder = settings.encoder if before is None else before.card.encoder
    rate = settings.learning_rate or _usual_rate(encoder) / (1 if before is None else 3)
    normalisation = fit_normalisation(chips) if before is None else before.card.normalisation
    training, validation = (load_samples(chips, split, normalisation) for split in _SPLITS)
    require_enough(training, validation, chips.classes)
    factors = settings.factors(chips.classes)
    return Loop(
        model=_first_model(chips, normalisation, encoder, settings.weights, before, settings.seed),
        crops=Crops(training, highest_id(chips.classes), settings.crop, settings.seed),
        validation=validation,
        batch=settings.batch,
        schedule=Schedule(settings.epochs, settings.minutes, rate, started, settings.schedule),
        weights=None if factors is None else torch.tensor(factors, device=best_device().name),
        tolerance_px=settings.tolerance_px,
        settings=record,
        folder=folder,
    )


def _train(
    loop: Loop,
    chips: Chips,
    patience: int,
    reached: Progressed | None,
    progress: Progress,
    on_epoch: Callable[[EpochRow], None] | None,
) -> Run:
    checkpoint = loop.folder / CHECKPOINT
    try:
        loop.run(patience, reached, progress, on_epoch)
    except Cancelled as stop:
        raise Cancelled(f"Training was stopped. {loop.kept}") from stop
    finally:
        if not loop.rows:  # there is nothing to go on with, and whoever started it was told why
            checkpoint.unlink(missing_ok=True)
    run = _judged(loop, chips)
    checkpoint.unlink()
    return run


def _judged(loop: Loop, chips: Chips) -> Run:
    """Score the best network, on the test chips only now, and write what came of it all."""
    model, card = load_model(loop.folder / MODEL), loop.model.card
    validation, judged = judge(model, loop.validation)
    test = judge_test(model, chips)
    run = Run(loop.folder, loop.folder / MODEL, loop.rows, loop.best, card.classes, validation, test)
    save_history(run.folder, run.history, run.best_epoch, validation=validation, test=test)
    knows = getattr(loop.model.network, "pretrained", False)
    begun = f"what the encoder {card.encoder} knows" if knows else f"random weights of {card.encoder}"
    if loop.settings["start"]:
        begun = f"the model {loop.settings['start']}"
    write_report(run, model, chips, judged, begun)
    return run


def _reached(folder: Path, settings: Mapping[str, Any], *, resume: bool, overwrite: bool) -> Progressed | None:
    """Check that a training may write into a folder, and how far one came there that is to go on."""
    if folder.is_dir() and is_held(folder):
        raise Busy(f"A training is running in {folder}. Wait for its end, or choose another folder.")
    for other in interrupted_runs(folder.parent, levels=1):
        if other.folder.absolute() != folder.absolute():
            log.warning("%s", other.words)
    reached = None if overwrite else read_checkpoint(folder)
    if reached is None or not reached.rows:
        if (folder / MODEL).exists() and not overwrite:
            raise FileExists(f"{folder} holds a trained model already. Choose another folder, or pass overwrite=True.")
        return None
    done = f"{folder} holds a training that stopped {reached.words}"
    if not resume:
        raise FileExists(
            f"{done}. Go on with resume=True, with a smaller batch if memory ran out, or start anew with overwrite=True."
        )
    other_settings = difference(settings, reached.settings)
    if other_settings:
        raise TrainingRefused(
            f"{done}, with {other_settings}. Go on with the settings it was started with, or start anew with overwrite=True."
        )
    return reached


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
    card = ModelCard(encoder, classes, bands, chips.pixel_size_m, normalisation, dict(chips.stretch))
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


def _is_out_of_memory(error: BaseException) -> bool:
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "can't allocate memory" in str(error) or "not enough memory" in str(error)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
