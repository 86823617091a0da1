"""Labels become training data: chips and masks cut on each raster's own grid, split by blocks of ground."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.windows import Window

from workbench.errors import FileExists, LabelInvalid, RasterUnreadable
from workbench.files import slug, write_bytes, write_json
from workbench.imagery.rasters import Imagery, Raster
from workbench.imagery.render import fit_stretch
from workbench.jobs import Progress, shown_progress
from workbench.labels.chips import FORMAT, SPLITS, VERSION, Chip, Chips, chip_file, open_chips, read_manifest
from workbench.labels.ground import ground_bounds, metres_per_pixel
from workbench.labels.masks import IGNORE, KnownGround, known_ground
from workbench.labels.splits import count_blocks, split_blocks
from workbench.labels.store import LabelClass, LabelStore

__all__ = ["IGNORE", "Chip", "Chips", "export_chips", "open_chips"]

_Record = dict[str, Any]
_TEST, _ENOUGH_BLOCKS = 0.15, 20


def export_chips(
    store: LabelStore,
    imagery: Imagery,
    out: str | Path,
    *,
    chip: int = 512,
    stride: int | None = None,
    block_m: float | None = None,
    buffer_m: float | None = None,
    validation: float = 0.2,
    test: float | None = None,
    seed: int = 0,
    require_all: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Chips:
    """Cut every labelled place into chips with masks and divide them into training, validation and test.

    A mask is 255 where nobody looked, 0 in areas declared complete and where every class was marked as not there, and
    the number of the class where it was seen. Chips that show nothing known are not written, nor are those the buffer
    drops. The manifest comes last: a folder without one is no chips folder.

    Args:
        store: the labels.
        imagery: the rasters they lie on.
        out: an empty or new folder.
        chip: side of a chip in pixels.
        stride: pixels between neighbouring chips; ``chip`` when None.
        block_m: side of a block of the split in metres; two chips when None.
        buffer_m: least distance between chips of different sides; half a chip when None.
        validation: share of the chips held back to choose the epoch by.
        test: share of the chips held back until training is over; when None, 0.15 where the labels lie in 20 blocks or
            more, else none: too little ground would teach less and prove nothing.
        seed: of the split.
        require_all: refuse when a side of the split lacks a class, instead of saying so in ``warnings``.
        overwrite: replace the chips that are in ``out``; only files that its manifest names are deleted.
        progress: counts windows.

    Raises:
        LabelInvalid: nothing to export, sizes that make no chips, or a class is missing and ``require_all`` is true.
        FileExists: ``out`` is not empty and ``overwrite`` is false.
        DiskFull: there is too little room; nothing new is left.
        Cancelled: nothing new is left.
    """
    out, stride = Path(out), stride or chip
    if chip < 16 or stride < 1:
        raise LabelInvalid(
            f"chip={chip}, stride={stride} pixels make no chips. Give a chip of at least 16, a stride of 1."
        )
    grounds, warnings = known_ground(store, imagery)
    windows = [(ground, window) for ground in grounds for window in ground.windows(chip, stride)]
    if not windows:
        raise LabelInvalid(" ".join([*warnings, "There are no labels on this imagery. Label something, then export."]))
    side_m = chip * metres_per_pixel([ground.raster for ground in grounds])
    block_m, buffer_m = block_m or 2 * side_m, side_m / 2 if buffer_m is None else buffer_m
    _clear(out, overwrite)
    records: list[_Record] = []
    try:
        with shown_progress(progress) as shown:
            shown.begin("writing chips", len(windows), "windows")
            for ground, window in windows:
                _write_chip(out, ground, window, records, warnings)
                shown.advance()
        split = _split(records, grounds, block_m, buffer_m, (validation, test), seed, store.classes)
        _remove(out, [record for record, side in zip(records, split, strict=True) if side == "buffer"])
        records = [record | {"split": side} for record, side in zip(records, split, strict=True) if side != "buffer"]
        if not records:
            raise LabelInvalid(" ".join([*warnings, "No chip has a pixel that is both labelled and readable."]))
        doubts = _doubts(records, test)
        missing = _missing(records, store.classes)
        if require_all and missing:
            raise LabelInvalid(" ".join(["No chips were written.", *missing]))
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "classes": [{"id": c.id, "name": c.name, "colour": c.colour} for c in store.classes],
            "ignore": IGNORE,
            "block_m": block_m,
            "buffer_m": buffer_m,
            "seed": seed,
            "absent": [known.name for known in store.classes if not _count(records, known.id)],
            "warnings": warnings + doubts + missing,
            "stretch": _stretches(records, grounds),
            "chips": records,
        }
        write_json(out / "manifest.json", manifest)
    except BaseException:
        _remove(out, records)
        raise
    return open_chips(out)


def _clear(out: Path, overwrite: bool) -> None:
    """Make room for new chips: everything is checked before the first file goes, the manifest goes first."""
    out.mkdir(parents=True, exist_ok=True)
    if not any(out.iterdir()):
        return
    if not overwrite:
        raise FileExists(
            f"{out} is not empty. Choose another folder, or pass overwrite=True to replace the chips there."
        )
    if (out / "manifest.json").exists():
        try:
            named = [chip_file(out, chip[kind]) for chip in read_manifest(out)["chips"] for kind in ("image", "mask")]
        except (KeyError, TypeError, ValueError) as error:
            raise LabelInvalid(
                f"{out / 'manifest.json'} names files that are no chips ({error}). Look at it."
            ) from error
        (out / "manifest.json").unlink()
        for path in named:
            path.unlink(missing_ok=True)


def _write_chip(out: Path, ground: KnownGround, window: Window, records: list[_Record], warnings: list[str]) -> None:
    """Write one chip, unless nothing in it is known."""
    raster = ground.raster
    mask, complete = ground.burn(window)
    if (mask == IGNORE).all():
        return
    try:
        pixels = raster.read(window)
    except RasterUnreadable as error:
        warnings.append(f"A chip was left out: {error}")
        return
    empty = np.ma.getmaskarray(pixels)[0]
    mask[empty] = IGNORE
    values, counts = np.unique(mask, return_counts=True)
    if values[0] == IGNORE:
        return
    box = [int(window.col_off), int(window.row_off), int(window.width), int(window.height)]
    name = f"{slug(Path(raster.name).stem)[:40]}-{raster.fingerprint[:8]}-{box[0]}-{box[1]}-{box[2]}.tif"
    record: _Record = {
        "image": f"images/{name}",
        "mask": f"masks/{name}",
        "raster": raster.fingerprint,
        "raster_name": raster.name,
        "window": box,
        "split": "",
        "complete": bool((complete | empty).all()),
        "pixels": {str(value): int(count) for value, count in zip(values, counts, strict=True)},
    }
    # Known before it is written, so that it is taken away if something fails.
    records.append(record)
    for file, content in (
        (chip_file(out, record["image"]), _geotiff(pixels.filled(0), raster, window, ~empty)),
        (chip_file(out, record["mask"]), _geotiff(mask[None], raster, window)),
    ):
        file.parent.mkdir(exist_ok=True)
        write_bytes(file, content)


def _geotiff(pixels: NDArray[Any], raster: Raster, window: Window, valid: NDArray[np.bool_] | None = None) -> bytes:
    """Pixels (bands, rows, cols) as a deflated GeoTIFF in the window's place; ``valid`` becomes its internal mask.

    Made in memory: on a full disk GDAL raises one of several errors, or none before the file is closed.
    """
    profile = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype,
        "compress": "deflate",
        # Left to itself GDAL takes the fourth of four bands for alpha.
        "photometric": "RGB" if len(pixels) == 3 and raster.colours == ("red", "green", "blue") else "MINISBLACK",
    }
    if raster.crs is not None:
        profile |= {
            "crs": CRS.from_user_input(raster.crs),
            "transform": raster.transform @ Affine.translation(window.col_off, window.row_off),
        }
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(pixels)
            if valid is not None:
                dataset.write_mask(valid)
        return bytes(memory.read())


def _split(
    records: Sequence[_Record],
    grounds: Sequence[KnownGround],
    block_m: float,
    buffer_m: float,
    shares: tuple[float, float | None],
    seed: int,
    classes: Sequence[LabelClass],
) -> list[str]:
    """The side of each chip; ``shares`` are those of validation and test."""
    rasters = {ground.raster.fingerprint: ground.raster for ground in grounds}
    bounds, worlds = ground_bounds(
        [rasters[record["raster"]] for record in records], [Window(*record["window"]) for record in records], buffer_m
    )
    validation, test = shares
    if test is None:
        test = _TEST if count_blocks(bounds, worlds, block_m) >= _ENOUGH_BLOCKS else 0.0
    split = split_blocks(
        bounds,
        block_m=block_m,
        buffer_m=buffer_m,
        validation=validation,
        test=test,
        seed=seed,
        presence=[[str(number) in record["pixels"] for number in (0, *(c.id for c in classes))] for record in records],
        worlds=worlds,
    )
    return [str(side) for side in split]


def _stretches(records: Sequence[_Record], grounds: Sequence[KnownGround]) -> dict[str, dict[str, list[float]]]:
    used = {record["raster"] for record in records}
    stretches = {g.raster.fingerprint: fit_stretch(g.raster) for g in grounds if g.raster.fingerprint in used}
    return {name: {"low": list(fit.low), "high": list(fit.high)} for name, fit in stretches.items()}


def _doubts(records: Sequence[_Record], test: float | None) -> list[str]:
    """What the user should know before training on these chips, besides the classes that are missing."""
    doubts = []
    sides = {record["split"] for record in records}
    wanted = [("validation", True), ("test", bool(test))]
    for side in (side for side, asked in wanted if asked and side not in sides):
        doubts.append(
            f"There is no {side} chip: the labels lie within too few blocks. Label other places, or lower block_m."
        )
    if not _count(records, 0):
        doubts.append(
            "No pixel is background, so a network cannot learn what is not a class. Declare an area complete once "
            "everything in it is outlined."
        )
    return doubts


def _missing(records: Sequence[_Record], classes: Sequence[LabelClass]) -> list[str]:
    """In words, the classes that no pixel has, or none on one side of the split."""
    sides = {side: [record for record in records if record["split"] == side] for side in SPLITS}
    words = []
    for known in classes:
        without = [side for side, members in sides.items() if members and not _count(members, known.id)]
        if not _count(records, known.id):
            words.append(f'No pixel is "{known.name}". Outline some, in several places.')
        elif without:
            words.append(f'No {" or ".join(without)} chip shows "{known.name}": label it in other places too.')
    return words


def _count(records: Sequence[_Record], number: int) -> int:
    return sum(record["pixels"].get(str(number), 0) for record in records)


def _remove(out: Path, records: Sequence[_Record]) -> None:
    for record in records:
        for kind in ("image", "mask"):
            with contextlib.suppress(OSError):
                chip_file(out, record[kind]).unlink(missing_ok=True)
