"""Labels become training data: chips and masks cut on each raster's own grid, split by blocks of ground."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.windows import Window

from workbench.errors import FileExists, LabelInvalid, RasterUnreadable
from workbench.files import write_json
from workbench.imagery.rasters import Imagery
from workbench.imagery.render import fit_stretch
from workbench.jobs import Progress, shown_progress
from workbench.labels.chip_records import MANIFEST, SPLITS, Chip, Chips, chip_file, document_file
from workbench.labels.chips import FORMAT, VERSION, open_chips, read_manifest
from workbench.labels.ground import ground_bounds, metres_per_pixel
from workbench.labels.layouts import ChipFiles, Layout
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
    layout: Layout = "geotiff",
    classes: Sequence[str] | None = None,
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

    A mask is 255 where nobody looked, 0 in areas declared complete and where every class was marked as not there (whole
    tiles: the hard negatives), and the number of the class where it was seen, be it an outline or, where a tile holds no
    outline of it, the whole tile that was marked (a weak mask). Chips that show nothing known are not written, nor are
    those the buffer drops. The manifest comes last: a folder without one is no chips folder.

    Args:
        store: the labels.
        imagery: the rasters they lie on.
        out: an empty or new folder.
        layout: ``geotiff``, ``coco`` or ``folder``; what each holds: `layouts.ChipFiles`. All have a manifest, and
            `open_chips` reads the same pixels, masks and sides from all.
        classes: only labels of these; all when None. Numbers and colours stay those of the store. A mark that says what is
            not there makes background only where all the classes exported are ruled out.
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
    known = _chosen(store, classes)
    grounds, warnings = known_ground(store, imagery, known)
    windows = [(ground, window) for ground in grounds for window in ground.windows(chip, stride)]
    if not windows:
        raise LabelInvalid(" ".join([*warnings, "There are no labels on this imagery. Label something, then export."]))
    side_m = chip * metres_per_pixel([ground.raster for ground in grounds])
    block_m, buffer_m = block_m or 2 * side_m, side_m / 2 if buffer_m is None else buffer_m
    files = ChipFiles(out, layout, known)
    _clear(out, overwrite)
    try:
        records: list[_Record] = []
        with shown_progress(progress) as shown:
            shown.begin("writing chips", len(windows), "windows")
            for ground, window in windows:
                record = _write_chip(files, ground, window, warnings)
                records += [record] if record is not None else []
                shown.advance()
        split = _split(records, grounds, block_m, buffer_m, (validation, test), seed, known)
        files.drop([record for record, side in zip(records, split, strict=True) if side == "buffer"])
        records = [record | {"split": side} for record, side in zip(records, split, strict=True) if side != "buffer"]
        if not records:
            raise LabelInvalid(" ".join([*warnings, "No chip has a pixel that is both labelled and readable."]))
        doubts, missing = _doubts(records, test), _missing(records, known)
        if require_all and missing:
            raise LabelInvalid(" ".join(["No chips were written.", *missing]))
        manifest = _described(records, known, grounds, files) | {
            "block_m": block_m,
            "buffer_m": buffer_m,
            "seed": seed,
            "warnings": warnings + doubts + missing,
            "chips": records,
        }
        write_json(out / MANIFEST, manifest)
    except BaseException:
        files.take_back()
        raise
    return open_chips(out)


def _chosen(store: LabelStore, names: Sequence[str] | None) -> tuple[LabelClass, ...]:
    """The classes to export."""
    unknown = sorted(set(names or ()) - {each.name for each in store.classes})
    if unknown or (names is not None and not names):
        raise LabelInvalid(
            f"classes={list(names or ())}: {', '.join(unknown) or 'nothing'} is no class here. There are "
            f"{', '.join(each.name for each in store.classes) or 'none'}."
        )
    return tuple(each for each in store.classes if names is None or each.name in names)


def _clear(out: Path, overwrite: bool) -> None:
    """Make room for new chips: everything is checked before the first file goes, the manifest goes first."""
    out.mkdir(parents=True, exist_ok=True)
    if all(path.is_dir() and not path.is_symlink() for path in out.rglob("*")):
        return  # empty, but for the folders of an export that failed
    if not overwrite:
        raise FileExists(
            f"{out} is not empty. Choose another folder, or pass overwrite=True to replace the chips there."
        )
    if (out / MANIFEST).exists():
        try:
            value = read_manifest(out)
            documents = value.get("documents", [])
            kinds = ("image",) if value.get("layout") == "coco" else ("image", "mask")
            named = [chip_file(out, chip[kind]) for chip in value["chips"] for kind in kinds]
            named += [document_file(out, name) for name in documents]
        except (KeyError, TypeError, ValueError) as error:
            raise LabelInvalid(f"{out / MANIFEST} names files that are no chips ({error}). Look at it.") from error
        (out / MANIFEST).unlink()
        for path in named:
            path.unlink(missing_ok=True)


def _write_chip(files: ChipFiles, ground: KnownGround, window: Window, warnings: list[str]) -> _Record | None:
    """Write one chip, unless nothing in it is known."""
    raster = ground.raster
    mask, complete = ground.burn(window)
    if (mask == IGNORE).all():
        return None
    try:
        pixels = raster.read(window)
    except RasterUnreadable as error:
        warnings.append(f"A chip was left out: {error}")
        return None
    empty = np.ma.getmaskarray(pixels)[0]
    mask[empty] = IGNORE
    values, counts = np.unique(mask, return_counts=True)
    if values[0] == IGNORE:
        return None
    return {
        **files.write(raster, window, pixels, mask, ground.objects(window)),
        "raster": raster.fingerprint,
        "raster_name": raster.name,
        "window": [int(window.col_off), int(window.row_off), int(window.width), int(window.height)],
        "split": "",
        "complete": bool((complete | empty).all()),
        "pixels": {str(value): int(count) for value, count in zip(values, counts, strict=True)},
    }


def _described(
    records: list[_Record], classes: Sequence[LabelClass], grounds: Sequence[KnownGround], files: ChipFiles
) -> dict[str, Any]:
    """What the manifest says of all chips; the files beside it are written."""
    first = next(ground.raster for ground in grounds if ground.raster.fingerprint == records[0]["raster"])
    return {
        "format": FORMAT,
        "version": VERSION,
        "layout": files.layout,
        "documents": files.finish(records),
        "classes": [{"id": each.id, "name": each.name, "colour": each.colour} for each in classes],
        "ignore": IGNORE,
        "absent": [each.name for each in classes if not _count(records, each.id)],
        "stretch": _stretches(records, grounds),
        "pixel_size_m": list(first.pixel_size_m),
    }


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
        presence=[[record["pixels"].get(str(n), 0) for n in (0, *(c.id for c in classes))] for record in records],
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
