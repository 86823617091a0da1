"""The files of a chips folder in three layouts, written so that what fails is taken back: GeoTIFF pairs, COCO, plain pairs."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.windows import Window

from workbench.errors import LabelInvalid
from workbench.files import slug, write_bytes, write_json
from workbench.imagery.rasters import Raster
from workbench.labels.chip_records import SPLITS, chip_file, document_file
from workbench.labels.coco import annotations_of
from workbench.labels.fold import LabelClass

Layout = Literal["geotiff", "coco", "folder"]
_Record = dict[str, Any]
_MODES = {(1, False): "L", (1, True): "LA", (3, False): "RGB", (3, True): "RGBA"}


class ChipFiles:
    """Writes the files of chips and knows each of them, so that all can be taken back.

    Args:
        folder: where to.
        layout: ``geotiff``: image and mask as GeoTIFF on the raster's grid. ``coco``: images, and annotations/SIDE.json with
            an annotation for each outline. ``folder``: images, masks with a palette, SIDE.txt that lists a side's chips, and
            classes.json. Images of the last two are PNG where one or three bands of 8 bits allow it, with alpha where
            pixels are missing, else GeoTIFF.
        classes: all of them.
    """

    def __init__(self, folder: Path, layout: Layout, classes: Sequence[LabelClass]) -> None:
        if layout not in get_args(Layout):
            raise LabelInvalid(f"{layout!r} is no layout of chips. Give one of {', '.join(get_args(Layout))}.")
        if layout == "coco" and not classes:
            raise LabelInvalid(
                "COCO describes objects, and there is no class. Label something, or take another layout."
            )
        self.folder, self.layout, self.classes = folder, layout, classes
        self._written: list[str] = []
        self._documents: list[str] = []
        self._annotations: dict[str, list[dict[str, Any]]] = {}

    def write(
        self,
        raster: Raster,
        window: Window,
        pixels: np.ma.MaskedArray[Any, Any],
        mask: NDArray[np.uint8],
        objects: Iterable[tuple[int, NDArray[np.bool_]]],
    ) -> dict[str, str]:
        """Write one chip.

        Args:
            raster: that it is cut from.
            window: where.
            pixels: of the raster, (bands, rows, cols).
            mask: 0, class numbers, 255, (rows, cols).
            objects: class number and pixels of each outline, read for COCO only.

        Returns:
            The names of image and mask for the manifest; of COCO's, the mask has none yet.
        """
        place = f"{int(window.col_off)}-{int(window.row_off)}-{int(window.width)}"
        stem = f"{slug(Path(raster.name).stem)[:40]}-{raster.fingerprint[:8]}-{place}"
        valid = ~np.ma.getmaskarray(pixels)[0]
        plain = self.layout != "geotiff" and pixels.dtype == np.uint8 and len(pixels) in (1, 3)
        image = f"images/{stem}.{'png' if plain else 'tif'}"
        data = pixels.filled(0)
        self._add(image, _png(data, valid) if plain else geotiff(data, raster, window, valid))
        if self.layout == "coco":
            self._annotations[image] = annotations_of(mask, objects, [known.id for known in self.classes])
            return {"image": image, "mask": ""}
        if self.layout == "folder":
            name, content = f"masks/{stem}.png", _palette_png(mask, self.classes)
        else:
            name, content = f"masks/{stem}.tif", geotiff(mask[None], raster, window)
        self._add(name, content)
        return {"image": image, "mask": name}

    def drop(self, records: Sequence[_Record]) -> None:
        """Take away the files of chips that are not kept."""
        for name in (record[kind] for record in records for kind in ("image", "mask") if record[kind]):
            self._unlink(chip_file(self.folder, name))
            self._written.remove(name)

    def finish(self, records: list[_Record]) -> list[str]:
        """Write what describes the chips besides the manifest, and name it; COCO's records get the file of their mask."""
        sides = {side: [record for record in records if record["split"] == side] for side in SPLITS}
        if self.layout == "folder":
            for side, members in sides.items():
                stems = "".join(f"{Path(record['image']).stem}\n" for record in members)
                self._document(f"{side}.txt", stems.encode())
            self._document("classes.json", _class_table(self.classes))
        elif self.layout == "coco":
            for side, members in sides.items():
                for record in members:
                    record["mask"] = f"annotations/{side}.json"
                self._document(f"annotations/{side}.json", self._coco(members))
        return list(self._documents)

    def take_back(self) -> None:
        """Remove everything that was written."""
        for name in self._written:
            self._unlink(chip_file(self.folder, name))
        for name in self._documents:
            self._unlink(document_file(self.folder, name))

    def _add(self, name: str, content: bytes) -> None:
        path = chip_file(self.folder, name)
        self._written.append(name)  # before it is written, so that it is taken away if that fails
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, content)

    def _document(self, name: str, content: bytes | Mapping[str, Any]) -> None:
        path = document_file(self.folder, name)
        self._documents.append(name)
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, content) if isinstance(content, bytes) else write_json(path, content)

    def _coco(self, members: Sequence[_Record]) -> dict[str, Any]:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, record in enumerate(members, 1):
            width, height = record["window"][2:]
            images.append({"id": number, "file_name": record["image"], "width": width, "height": height})
            for annotation in self._annotations[record["image"]]:
                annotations.append({"id": len(annotations) + 1, "image_id": number} | annotation)
        categories = [{"id": c.id, "name": c.name, "supercategory": "", "color": c.colour} for c in self.classes]
        note = "Crowd regions, one for each category, are ground nobody looked at."
        return {
            "info": {"description": f"Chips of the workbench. {note}", "version": "1"},
            "licenses": [],
            "images": images,
            "categories": categories,
            "annotations": annotations,
        }

    @staticmethod
    def _unlink(path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def geotiff(pixels: NDArray[Any], raster: Raster, window: Window, valid: NDArray[np.bool_] | None = None) -> bytes:
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


def _png(pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> bytes:
    """Pixels (1 or 3, rows, cols) as PNG, with an alpha band if some are missing."""
    missing = not valid.all()
    bands = [*pixels, valid.astype(np.uint8) * 255] if missing else list(pixels)
    mode = _MODES[len(pixels), missing]
    return _saved(Image.merge(mode, [Image.fromarray(band) for band in bands]))


def _palette_png(mask: NDArray[np.uint8], classes: Sequence[LabelClass]) -> bytes:
    """A mask as PNG whose palette shows the classes' colours; background is black, ignored ground grey."""
    palette = np.zeros((256, 3), np.uint8)
    palette[255] = 128
    for known in classes:
        palette[known.id] = list(bytes.fromhex(known.colour[1:]))
    picture = Image.fromarray(mask, mode="P")
    picture.putpalette(palette.tobytes())
    return _saved(picture)


def _saved(picture: Image.Image) -> bytes:
    memory = io.BytesIO()
    picture.save(memory, "PNG")
    return memory.getvalue()


def _class_table(classes: Sequence[LabelClass]) -> dict[str, Any]:
    return {
        "classes": [{"id": known.id, "name": known.name, "color": known.colour} for known in classes],
        "background": 0,
        "ignore": 255,
    }
