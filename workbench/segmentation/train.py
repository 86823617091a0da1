"""Training a U-Net on chips: one loop to read in one sitting, and the checkpoint of the best epoch kept."""

from __future__ import annotations

import gc
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim.swa_utils import AveragedModel

from workbench.errors import Cancelled, FileExists, TrainingFailed, TrainingRefused
from workbench.imagery.opening import open_imagery
from workbench.jobs import Progress, shown_progress
from workbench.labels.chips import Chips, open_chips
from workbench.segmentation.devices import Device, best_device
from workbench.segmentation.losses import segmentation_loss
from workbench.segmentation.networks import EncoderUnet
from workbench.segmentation.runs import MODEL, EpochRow, Run, save_curve, save_history
from workbench.segmentation.samples import Batch, Crops, Sample, fit_normalisation, load_samples, require_enough
from workbench.segmentation.schedule import WARM_UP, Schedule
from workbench.segmentation.scores import IGNORE, Scores, confusion, scores
from workbench.segmentation.unet import (
    AERIAL,
    SMALL,
    STRIDE,
    Model,
    ModelCard,
    build_unet,
    highest_id,
    save_model,
)

log = logging.getLogger(__name__)
_STEPS_PER_EPOCH = (32, 400)
_LARGEST_GRADIENT = 5.0
_AVERAGE = 0.03
_RATE, _RATE_SMALL = 1e-3, 3e-3
_PIECE = 1024
_SHARE_OF_ENCODER = 1 / 3


def train_unet(
    chips: Chips | str | Path,
    out: str | Path,
    *,
    encoder: str = AERIAL,
    weights: str | Path | None = None,
    epochs: int = 20,
    minutes: float | None = None,
    batch: int = 8,
    crop: int = 256,
    learning_rate: float | None = None,
    patience: int = 6,
    seed: int = 0,
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
        epochs: most passes; a pass draws as many crops as would cover the labelled area once, 32 batches at least.
        minutes: most time for training and validation.
        batch: crops per step.
        crop: side of a crop in pixels, a multiple of 32.
        learning_rate: at the top of the cycle; when None, 0.001, or 0.003 for a small network from random weights.
        patience: epochs without a better validation IoU after which training stops.
        seed: of the first weights, the crops and their augmentation.
        overwrite: replace the model that is in ``out`` already.
        progress: counts batches.
        on_epoch: called after each epoch.

    Raises:
        TrainingRefused: one class only, or too little of it, in training or validation; nothing was written.
        TrainingFailed: the loss is no number any more, or memory is out; the best checkpoint so far is kept.
        WeightsUnavailable: see `build_unet`.
        FileExists: ``out`` holds a model and ``overwrite`` is false.
    """
    started = time.monotonic()
    chips = chips if isinstance(chips, Chips) else open_chips(chips)
    folder = _run_folder(Path(out), overwrite)
    _check_sizes(batch, crop, epochs)
    learning_rate = learning_rate or (_RATE_SMALL if encoder == SMALL else _RATE)
    classes, highest = chips.classes, highest_id(chips.classes)
    normalisation = fit_normalisation(chips)
    training = load_samples(chips, "train", normalisation)
    validation = load_samples(chips, "validation", normalisation)
    require_enough(training, validation, classes)
    bands = training[0].image.shape[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_unet(encoder, bands, highest, weights)
    pixel = open_imagery(chips.folder / chips.of("train")[0].image)[0].pixel_size_m
    model = Model(network, ModelCard(encoder, classes, bands, pixel, normalisation, dict(chips.stretch)))
    folder.mkdir(parents=True, exist_ok=True)
    training_loop = _Loop(
        model=model,
        crops=Crops(training, highest, crop, seed),
        validation=validation,
        batch=batch,
        schedule=Schedule(epochs, minutes, learning_rate, started),
        folder=folder,
    )
    try:
        with shown_progress(progress) as shown:
            training_loop.run(patience, shown, on_epoch)
    except Cancelled as stop:
        raise Cancelled(f"Training was stopped. {training_loop.kept}") from stop
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
    else:
        return Run(folder, folder / MODEL, training_loop.rows, training_loop.best, classes)
    # Raised here and not above, so that no traceback holds on to tensors: a smaller batch must work right away.
    del training_loop, model, network
    _free_memory()
    raise TrainingFailed(
        f"Memory ran out with batch={batch} and crop={crop}. Try batch={max(1, batch // 2)}, or a smaller crop."
    )


def validate(network: nn.Module, samples: Sequence[Sample], classes: int, device: Device) -> tuple[float, Scores]:
    """Run a network over whole chips.

    Returns:
        The mean loss over labelled pixels, and the scores over all chips together.
    """
    network.eval()
    total, matrix = 0.0, np.zeros((classes + 1, classes + 1), np.int64)
    with torch.inference_mode():
        for image, mask in _pieces(samples):
            with device.autocast():
                logits = network(image.to(device.name))
            labelled = int((mask != IGNORE).sum())
            total += labelled * float(segmentation_loss(logits, mask.long().to(device.name)))
            found = logits.argmax(dim=1).cpu().numpy().astype(np.uint8)
            matrix += confusion(found, mask.numpy(), classes)
    return total / max(1, int(matrix.sum())), scores(matrix)


@dataclass
class _Loop:
    """The state of one training: epochs of steps, each epoch validated, the best one kept."""

    model: Model
    crops: Crops
    validation: Sequence[Sample]
    batch: int
    schedule: Schedule
    folder: Path
    rows: list[EpochRow] = field(default_factory=list)
    best: int = 0

    @property
    def kept(self) -> str:
        """What is on disk, in words."""
        return (
            f"The best model so far, of epoch {self.best}, is in {self.folder}." if self.best else "No model was kept."
        )

    def run(self, patience: int, progress: Progress, on_epoch: Callable[[EpochRow], None] | None) -> None:
        self.device = best_device()
        self.network = self.model.network.to(self.device.name)
        self.encoder = nn.Module()
        if isinstance(self.network, EncoderUnet) and self.network.pretrained:
            self.encoder = self.network.encoder
        known = list(self.encoder.parameters())
        own = {id(parameter) for parameter in known}
        new = [each for each in self.network.parameters() if id(each) not in own]
        self.optimiser = torch.optim.AdamW(
            [{"params": new, "share": 1.0}, {"params": known, "share": _SHARE_OF_ENCODER}]
        )
        self.average = AveragedModel(self.network, avg_fn=_moving_average, use_buffers=True)
        crop_area = self.crops.crop**2 * self.batch
        self.steps = int(np.clip(math.ceil(self.crops.labelled / crop_area), *_STEPS_PER_EPOCH))
        progress.begin("training", self.schedule.epochs * self.steps, "batches")
        waited = 0
        while self.schedule.done(len(self.rows)) < 1 and waited < patience:
            row = self._epoch(progress)
            self.rows.append(row)
            if self.best == 0 or row.mean_iou > self.rows[self.best - 1].mean_iou:
                self.best, waited = row.epoch, 0
                save_model(Model(self.average.module, self.model.card), self.folder / MODEL)
            elif self.schedule.done(row.epoch) > WARM_UP:
                waited += 1
            save_history(self.folder, self.rows, self.best)
            save_curve(self.folder, self.rows, self.best, self.model.card.classes)
            log.info("epoch %d: loss %.3f, IoU %.3f", row.epoch, row.val_loss, row.mean_iou)
            if on_epoch is not None:
                on_epoch(row)
            if row.epoch == 1:
                total = self.schedule.epochs_in_all(row.seconds) * self.steps
                progress.begin("training", total, "batches", done=self.steps)

    def _epoch(self, progress: Progress) -> EpochRow:
        since, losses = time.monotonic(), list[float]()
        self.network.train()
        for step in range(self.steps):
            passed = len(self.rows) + step / self.steps
            self._freeze(self.schedule.done(passed) < WARM_UP)
            if losses and self.schedule.done(passed) >= 1:
                break
            drawn = self.crops.batch(self.batch)
            losses.append(self._step(drawn, self.schedule.learning_rate(passed)))
            if not math.isfinite(losses[-1]):
                raise self._diverged(f"on the chips {', '.join(sorted(set(drawn.names)))}")
            progress.advance()
        classes = self.model.card.classes
        val_loss, result = validate(self.average.module, self.validation, self.model.card.highest, self.device)
        if not math.isfinite(val_loss):
            raise self._diverged("on the validation chips")
        overlap = {item.name: _number(result.iou[item.id]) for item in classes}
        seconds = time.monotonic() - since
        mean_iou, mean_loss = result.mean_iou, sum(losses) / len(losses)
        return EpochRow(len(self.rows) + 1, mean_loss, val_loss, overlap, mean_iou, result.accuracy, seconds)

    def _freeze(self, frozen: bool) -> None:
        """Keep an encoder that began with weights as it is, its normalisation too, or let it learn."""
        self.encoder.requires_grad_(not frozen).train(not frozen)

    def _step(self, drawn: Batch, rate: float) -> float:
        """One update; none when the loss is no number, so that the weights stay finite."""
        with self.device.autocast():
            logits = self.network(drawn.images.to(self.device.name))
        loss = segmentation_loss(logits, drawn.masks.to(self.device.name))
        value = float(loss.detach())
        if math.isfinite(value):
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["share"]
            self.optimiser.step()
            self.average.update_parameters(self.network)
        return value

    def _diverged(self, where: str) -> TrainingFailed:
        return TrainingFailed(
            f"The loss is no number any more, in epoch {len(self.rows) + 1} {where}. {self.kept} "
            f"Try a learning rate below {self.schedule.rate:g}, or look at those chips."
        )


def _moving_average(average: Tensor, now: Tensor, steps: Tensor | int) -> Tensor:
    """Polyak averaging over about the last 33 steps, fewer at the start: smoother than the last step and better."""
    return average + (now - average) * max(_AVERAGE, 3 / (3 + int(steps)))


def _pieces(samples: Sequence[Sample]) -> Iterator[tuple[Tensor, Tensor]]:
    """Chips as batches of one, (1, bands, rows, cols) and (1, rows, cols), large ones in parts that fit in memory."""
    for sample in samples:
        rows, cols = sample.mask.shape
        for row in range(0, rows, _PIECE):
            for col in range(0, cols, _PIECE):
                part = np.s_[..., row : row + _PIECE, col : col + _PIECE]
                image = torch.from_numpy(sample.image[part].astype(np.float32))
                mask = torch.from_numpy(sample.mask[part])
                fill = (0, -mask.shape[1] % STRIDE, 0, -mask.shape[0] % STRIDE)
                image = F.pad(image, fill)[None].contiguous(memory_format=torch.channels_last)
                yield image, F.pad(mask, fill, value=IGNORE)[None]


def _check_sizes(batch: int, crop: int, epochs: int) -> None:
    if crop < STRIDE or crop % STRIDE:
        raise TrainingRefused(f"crop={crop} does not fit the network. Choose a multiple of {STRIDE}, such as 256.")
    if batch < 1 or epochs < 1:
        raise TrainingRefused(f"batch={batch}, epochs={epochs}: both must be at least 1.")


def _run_folder(folder: Path, overwrite: bool) -> Path:
    if (folder / MODEL).exists() and not overwrite:
        raise FileExists(f"{folder} holds a trained model already. Choose another folder, or pass overwrite=True.")
    return folder


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _is_out_of_memory(error: BaseException) -> bool:
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "can't allocate memory" in str(error) or "not enough memory" in str(error)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
