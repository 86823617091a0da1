"""Labelled images in class folders: found, turned, laid side by side in one raster, and described one by one or densely."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.windows import Window
from scipy.ndimage import rotate
from tqdm import tqdm

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.descriptors.dense import encode_alone
from workbench.descriptors.encoders import Encoder, load_encoder
from workbench.files import atomic_write

TURNS = ("0", "15", "45", "90", "180", "mirrored")
LAYOUTS = ("drawn", "by-class")
_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"}
_HALVES = ("train", "test")
_GREY = 115


@dataclass(frozen=True)
class Images:
    """Images in an order drawn by a seed, so that neither ties nor neighbours in a raster favour a class.

    Attributes:
        paths: of the files.
        labels: number of each one's class, int64 (n,).
        classes: names, in the order of the numbers.
        size: side in pixels that each image is resized to.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    size: int

    def pixels(self, number: int, turn: str = TURNS[0]) -> NDArray[np.uint8]:
        """RGB uint8 (3, size, size) of one image, turned by one of `TURNS`."""
        with Image.open(self.paths[number]) as image:
            sized = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        return turned(np.asarray(sized).transpose(2, 0, 1), turn)

    @property
    def key(self) -> str:
        """Names this set, its order and its size."""
        files = [(path.parent.name, path.name, path.stat().st_size) for path in self.paths]
        return digest(files, self.size)


def find_images(folder: Path, size: int, seed: int) -> Images:
    """Every image of DIR/CLASS, or of DIR/train/CLASS and DIR/test/CLASS as one set."""
    halves = [folder / half for half in _HALVES if (folder / half).is_dir()] or [folder]
    found = sorted(path for half in halves for path in half.glob("*/*") if path.suffix.lower() in _SUFFIXES)
    classes = tuple(sorted({path.parent.name for path in found}))
    counts = {name: sum(path.parent.name == name for path in found) for name in classes}
    few = [name for name, count in counts.items() if count < 2]
    if len(classes) < 2 or few:
        said = f"only one image of {few[0]}" if few else f"{len(classes)} class folder(s) with images"
        raise SystemExit(
            f"{folder} holds {said}; retrieval needs two classes of two images. Give DIR of DIR/CLASS/*.jpg."
        )
    order = np.random.default_rng(seed).permutation(len(found))
    paths = tuple(found[number] for number in order)
    return Images(paths, np.array([classes.index(path.parent.name) for path in paths]), classes, size)


def turned(pixels: NDArray[np.uint8], turn: str) -> NDArray[np.uint8]:
    """A square picture (3, n, n) mirrored or turned; what an oblique turn brings in from outside is reflected."""
    if turn == "mirrored":
        return np.ascontiguousarray(pixels[..., ::-1])
    degrees = int(turn)
    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(pixels, degrees // 90, axes=(1, 2)))
    return rotate(pixels, degrees, axes=(1, 2), reshape=False, order=1, mode="reflect")


def image_options(description: str | None, *, required: bool) -> argparse.ArgumentParser:
    """A parser of what every benchmark on labelled images asks for."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    told = "DIR/CLASS/*, or DIR/train/CLASS/* and DIR/test/CLASS/*"
    parser.add_argument("--images", required=required, type=Path, help=told)
    parser.add_argument("--size", type=int, default=224, help="side that images are resized to, a multiple of 32")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn; the first of several")
    parser.add_argument("--cache", type=Path, help="folder that keeps descriptors, so that tables can be made in steps")
    parser.add_argument("--json", type=Path)
    return parser


def named_encoder(spec: str, orientations: int) -> Encoder:
    """The encoder that NAME or NAME:WEIGHTS on the command line asks for."""
    name, _, weights = spec.partition(":")
    return load_encoder(name, weights or None, orientations=orientations)


def describe_chips(
    images: Images, encoder: Encoder, numbers: Sequence[int], cache: Path | None, turn: str = TURNS[0]
) -> NDArray[np.float32]:
    """Uncentred descriptors (len(numbers), dim) of images each seen alone, kept in ``cache`` if there is one."""
    if cache is None:
        return np.array([encode_alone(images.pixels(int(number), turn), encoder) for number in tqdm(numbers)])
    path = cache / f"chips-{digest(images.key, identity(encoder), list(map(int, numbers)), turn)}.npy"
    if path.is_file():
        return np.load(path, allow_pickle=False)
    cache.mkdir(parents=True, exist_ok=True)
    found = describe_chips(images, encoder, numbers, None, turn)
    with atomic_write(path) as aside, aside.open("wb") as file:
        np.save(file, found, allow_pickle=False)
    return found


def describe_dense(
    images: Images, encoder: Encoder, cache: Path, layout: str = LAYOUTS[0]
) -> tuple[Archive, NDArray[np.int64]]:
    """The archive of all images laid side by side, one tile each, and the tile that each image is (n,)."""
    order = np.arange(len(images.paths))
    if layout == "by-class":
        order = np.array(sorted(order, key=lambda number: (images.labels[number], images.paths[number].name)))
    raster = cache / f"mosaic-{digest(images.key, layout)}.tif"
    if not raster.is_file():
        write_mosaic(images, order, raster)
    folder = cache / f"dense-{digest(images.key, identity(encoder), layout)}"
    archive = build_archive(raster, folder, tile=images.size, stride=images.size, encoder=encoder)
    across = _across(images)
    places = archive.tiles["row"] // images.size * across + archive.tiles["col"] // images.size
    tile_of = {int(order[place]): tile for tile, place in enumerate(places) if place < len(order)}
    lost = [path.name for number, path in enumerate(images.paths) if number not in tile_of]
    if lost:
        raise SystemExit(f"{encoder.name} gave no usable descriptor of {lost[0]}. Leave that image out.")
    return archive, np.array([tile_of[number] for number in range(len(images.paths))])


def write_mosaic(images: Images, order: NDArray[np.int64], path: Path) -> None:
    """Lay all images side by side, row by row, in one GeoTIFF; what is left over of the last row is grey."""
    across, size = _across(images), images.size
    down = math.ceil(len(images.paths) / across)
    blocks = {"tiled": True, "blockxsize": size, "blockysize": size, "compress": "deflate", "zlevel": 1}
    shape = {"width": across * size, "height": down * size, "count": 3, "dtype": "uint8"}
    with atomic_write(path) as aside, rasterio.open(aside, "w", driver="GTiff", **shape, **blocks) as file:
        for row in range(down):
            strip = np.full((3, size, across * size), _GREY, np.uint8)
            for col, number in enumerate(order[row * across : (row + 1) * across]):
                strip[:, :, col * size : (col + 1) * size] = images.pixels(int(number))
            file.write(strip, window=Window(0, row * size, across * size, size))


def identity(encoder: Encoder) -> list[object]:
    """What determines an encoder's descriptors."""
    return [encoder.name, encoder.weights_hash, encoder.preprocessing]


def digest(*values: object) -> str:
    """A short name of some JSON values."""
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=8).hexdigest()


def _across(images: Images) -> int:
    return math.ceil(math.sqrt(len(images.paths)))
