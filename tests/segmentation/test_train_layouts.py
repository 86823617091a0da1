"""A U-Net learns from chips of any layout, and from a folder that somebody else made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from small_chips import blocks_image

from workbench.labels.chips import open_chips
from workbench.segmentation.train import train_unet


def test_a_unet_learns_from_a_plain_folder(tmp_path: Path) -> None:
    for number in range(6):
        image, mask = blocks_image(number)
        for kind, pixels in (("images", image.transpose(1, 2, 0)), ("masks", mask)):
            path = tmp_path / "set" / ("val" if number > 3 else "train") / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    chips = open_chips(tmp_path / "set", classes={"roof": 1})
    run = train_unet(chips, tmp_path / "run", encoder="small", epochs=1, crop=64, batch=4)
    assert run.model.is_file() and run.best.mean_iou > 0.3 and [known.name for known in run.classes] == ["roof"]
