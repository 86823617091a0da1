"""Make the shipped encoder: ``python -m workbench.descriptors.distillation --imagery ... --teacher ... --out DIR``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from workbench.descriptors.aerial import save_aerial
from workbench.descriptors.distillation.crops import write_crops
from workbench.descriptors.distillation.teachers import load_teacher, starting_weights, targets, write_features
from workbench.descriptors.distillation.train import Recipe, train
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery
from workbench.imagery.synthetic import paint_scene
from workbench.jobs import shown_progress


def main() -> None:
    """Cut crops, ask the teachers, teach the student; each step is kept, and a second run goes on where it stopped."""
    asked = _arguments()
    torch.set_num_threads(asked.threads)
    out: Path = asked.out
    groups = [_group(text) for text in asked.imagery]
    scenes = [
        paint_scene(out / "scenes" / f"{number:03d}", size=asked.scene_size, seed=asked.seed + 1000 + number).imagery
        for number in range(asked.scenes)
    ]
    groups += [open_imagery(scenes)] if scenes else []
    with shown_progress(None) as progress:
        write_crops(groups, out / "crops.npy", asked.crops, asked.side, asked.seed, progress)
        crops = np.load(out / "crops.npy", mmap_mode="r", allow_pickle=False)
        found, weights, names = [], [], {}
        for text in asked.teacher:
            name, path = text.split("=", 1)
            teacher = load_teacher(name, path)
            features = out / f"features-{name}.npy"
            write_features(crops, teacher, features, asked.orientations, asked.seed, progress)
            found.append(np.load(features, allow_pickle=False))
            weights.append(teacher.weight)
            names[name] = teacher.weight
        wanted = targets(found, weights)
        recipe = Recipe(epochs=asked.epochs, batch=asked.batch, rate=asked.rate, seed=asked.seed)
        student = train(crops, wanted, starting_weights(asked.start), recipe, out / "checkpoint.safetensors", progress)
        card = {
            "imagery": [[Path(part).name for part in text.split(",")] for text in asked.imagery],
            "scenes": asked.scenes,
            "crops": asked.crops,
            "side": asked.side,
            "teachers": names,
            "orientations": asked.orientations,
            "recipe": asdict(recipe),
        }
        save_aerial(student, out / "aerial.safetensors", card)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workbench.descriptors.distillation", description=main.__doc__)
    parser.add_argument(
        "--imagery",
        action="append",
        required=True,
        help="files (comma between them) or a folder of one kind of imagery; again for each kind; "
        "'FOLDER:B04,B03,B02' chooses bands by name",
    )
    parser.add_argument("--scenes", type=int, default=6, help="synthetic scenes to add")
    parser.add_argument("--scene-size", type=int, default=2048, help="pixels on a side of each")
    parser.add_argument("--teacher", action="append", required=True, help="NAME=FILE of weights; again for each")
    parser.add_argument("--start", required=True, help="published weights of EfficientNet-Lite0")
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is kept")
    parser.add_argument("--crops", type=int, default=14_000)
    parser.add_argument("--side", type=int, default=192, help="pixels on a side of a crop")
    parser.add_argument("--orientations", type=int, default=2, help="that the teachers see of each crop")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--batch", type=int, default=Recipe.batch)
    parser.add_argument("--rate", type=float, default=Recipe.rate)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def _group(text: str) -> Imagery:
    source, _, bands = text.partition(":")
    paths = [Path(part) for part in source.split(",")]
    return open_imagery(paths if len(paths) > 1 else paths[0], bands=bands.split(",") if bands else None)


if __name__ == "__main__":
    main()
