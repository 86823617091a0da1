"""The demo's plan for the bundled scene: painted once, searched for four classes, its houses mapped by a U-Net."""

from __future__ import annotations

from pathlib import Path

from workbench.demo.played import Plan
from workbench.imagery.synthetic import CLASSES, paint_scene

SEARCHED = ["house", "boat", "tank", "panel"]


def scene_plan(out: Path, size: int = 8192, minutes: float = 7.5) -> Plan:
    """Paint the scene where it is not there yet and say what to do with it.

    Train and test rows are far apart: the upper 60 % may be traced, the lowest 35 % are never seen.
    """
    scene = paint_scene(out / f"scene-{size}", size=size)
    return Plan(
        imagery=scene.imagery,
        truth=scene.mask,
        classes=[CLASSES[number] for number in sorted(CLASSES)],
        out=out,
        train_rows=(0, size * 60 // 100),
        test_rows=(size * 65 // 100, size),
        tile=128,
        stride=64,
        least=0.05,
        open_name=None,
        searched=SEARCHED,
        unet_classes=["house"],
        chip=512 if size >= 4096 else 256,
        minutes=minutes,
        epochs=60,
    )
