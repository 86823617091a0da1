"""The training loop: epochs of steps, each validated and kept on disk before the next begins."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim.swa_utils import AveragedModel

from workbench.errors import TrainingFailed
from workbench.jobs import Progress
from workbench.segmentation.checkpoints import announce, load_checkpoint, save_checkpoint
from workbench.segmentation.devices import Device, best_device
from workbench.segmentation.figures import curve, save_figure
from workbench.segmentation.imperfect import mended
from workbench.segmentation.interrupted import Progressed
from workbench.segmentation.losses import segmentation_loss
from workbench.segmentation.networks import EncoderUnet
from workbench.segmentation.runs import CURVE, MODEL, EpochRow, save_history
from workbench.segmentation.samples import Batch, Crops, Sample
from workbench.segmentation.schedule import PATIENT, WARM_UP, Schedule
from workbench.segmentation.scores import IGNORE, Scores, confusion, scores
from workbench.segmentation.unet import STRIDE, Model, save_model

log = logging.getLogger(__name__)
STEPS_PER_EPOCH = (32, 400)
"""Least and most."""
KEEP_EVERY_S = 20.0
"""Seconds from one checkpoint to the next, at least: of quick epochs not each is worth 40 MB on the disk."""
_LARGEST_GRADIENT = 5.0
_AVERAGE = 0.03
_PIECE = 1024
_ROUGHLY = 0.35
"""Share of a training after which the network knows its classes well enough to mend masks."""
_SHARE_OF_ENCODER = 1 / 3


def validate(network: nn.Module, samples: Sequence[Sample], classes: int, device: Device) -> tuple[float, Scores]:
    """Run a network over whole chips.

    Returns:
        The mean loss over labelled pixels, and the scores over all chips together.
    """
    network.eval()
    total, matrix = 0.0, np.zeros((classes + 1, classes + 1), np.int64)
    with torch.inference_mode():
        for _, image, mask in (piece for sample in samples for piece in _pieces(sample)):
            with device.autocast():
                logits = network(image.to(device.name))
            labelled = int((mask != IGNORE).sum())
            total += labelled * float(segmentation_loss(logits, mask.long().to(device.name)))
            found = logits.argmax(dim=1).cpu().numpy().astype(np.uint8)
            matrix += confusion(found, mask.numpy(), classes)
    return total / max(1, int(matrix.sum())), scores(matrix)


def find(network: nn.Module, sample: Sample, device: Device) -> NDArray[np.uint8]:
    """The class that a network finds on each pixel of a chip, uint8 (rows, cols)."""
    found = np.zeros_like(sample.mask)
    with torch.inference_mode():
        for part, image, _ in _pieces(sample):
            with device.autocast():
                logits = network(image.to(device.name))
            rows, cols = found[part].shape
            found[part] = logits[0].argmax(dim=0)[:rows, :cols].cpu().numpy()
    return found


@dataclass
class Loop:
    """The state of one training: epochs of steps, each epoch validated, the best one kept."""

    model: Model
    crops: Crops
    validation: Sequence[Sample]
    batch: int
    schedule: Schedule
    weights: Tensor | None
    tolerance_px: int
    settings: Mapping[str, Any]
    folder: Path
    rows: list[EpochRow] = field(default_factory=list)
    best: int = 0
    kept_at: float = -math.inf

    @property
    def kept(self) -> str:
        """What is on disk, in words."""
        return (
            f"The best model so far, of epoch {self.best}, is in {self.folder}." if self.best else "No model was kept."
        )

    def run(
        self,
        patience: int,
        reached: Progressed | None,
        progress: Progress,
        on_epoch: Callable[[EpochRow], None] | None,
    ) -> None:
        """Train until the schedule or the patience ends, from the first epoch or from where another run stopped."""
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
        self.steps = int(np.clip(math.ceil(self.crops.labelled / crop_area), *STEPS_PER_EPOCH))
        waited = 0
        if reached is not None:
            load_checkpoint(self.folder, self.network, self.average, self.optimiser)
            self.rows, self.best, waited = list(reached.rows), reached.best, reached.waited
            self.crops.state = reached.random
        else:
            announce(self.folder, self._progressed(waited))
        progress.begin("training", self.schedule.epochs * self.steps, "batches", done=len(self.rows) * self.steps)
        while self.schedule.done(len(self.rows)) < 1 and waited < patience:
            row = self._epoch(progress)
            self.rows.append(row)
            if self.best == 0 or row.mean_iou > self.rows[self.best - 1].mean_iou:
                self.best, waited = row.epoch, 0
                save_model(Model(self.average.module, self.model.card), self.folder / MODEL)
            elif self.schedule.done(row.epoch) > PATIENT:
                waited += 1
            save_history(self.folder, self.rows, self.best)
            if time.monotonic() - self.kept_at >= KEEP_EVERY_S:
                now = self._progressed(waited)
                save_checkpoint(self.folder, self.network, self.average, self.optimiser, now)
                self.kept_at = time.monotonic()
            save_figure(curve(self.rows, self.best, self.model.card.classes), self.folder / CURVE)
            log.info("epoch %d: loss %.3f, IoU %.3f", row.epoch, row.val_loss, row.mean_iou)
            if on_epoch is not None:
                on_epoch(row)
            if row.epoch == 1:
                total = self.schedule.epochs_in_all(row.seconds) * self.steps
                progress.begin("training", total, "batches", done=self.steps)

    def _progressed(self, waited: int) -> Progressed:
        return Progressed(self.settings, tuple(self.rows), self.best, waited, self.schedule.seconds(), self.crops.state)

    def _epoch(self, progress: Progress) -> EpochRow:
        since, losses = time.monotonic(), list[float]()
        self.network.train()
        for step in range(self.steps):
            passed = len(self.rows) + step / self.steps
            self._freeze(self.schedule.done(passed) < WARM_UP)
            if losses and self.schedule.done(passed) >= 1:
                break
            drawn = self.crops.batch(self.batch)
            losses.append(self._step(drawn, passed))
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

    def _step(self, drawn: Batch, passed: float) -> float:
        """One update; none when the loss is no number, so that the weights stay finite."""
        rate, target = self.schedule.learning_rate(passed), drawn.masks.to(self.device.name)
        with self.device.autocast():
            logits = self.network(drawn.images.to(self.device.name))
        if self.tolerance_px and self.schedule.done(passed) > _ROUGHLY:
            target = mended(target, logits, self.tolerance_px)
        loss = segmentation_loss(logits, target, class_weights=self.weights)
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


def _pieces(sample: Sample) -> Iterator[tuple[tuple[slice, slice], Tensor, Tensor]]:
    """A chip in parts that fit in memory: rows and columns, and a batch of one, (1, bands, rows, cols) and (1, rows, cols)."""
    for row in range(0, sample.mask.shape[0], _PIECE):
        for col in range(0, sample.mask.shape[1], _PIECE):
            part = slice(row, row + _PIECE), slice(col, col + _PIECE)
            image = torch.from_numpy(sample.image[:, *part].astype(np.float32))
            mask = torch.from_numpy(sample.mask[part])
            fill = (0, -mask.shape[1] % STRIDE, 0, -mask.shape[0] % STRIDE)
            image = F.pad(image, fill)[None].contiguous(memory_format=torch.channels_last)
            yield part, image, F.pad(mask, fill, value=IGNORE)[None]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
