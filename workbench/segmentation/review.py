"""Objects of a map in the order in which they are to be reviewed, kept on disk, and which of them labels settle."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from workbench.files import atomic_write
from workbench.imagery.rasters import Imagery

log = logging.getLogger(__name__)
_SAME = 0.5
_COLUMNS = ("raster", "class", "probability", "words", "says")


@dataclass(frozen=True, eq=False)
class Objects:
    """Objects of one class, outlined in the pixels of their rasters.

    Attributes:
        class_name: of all of them.
        rasters: positions of their rasters, int64 (n,).
        shapes: polygons in pixel (col, row) coordinates, (n,).
        probability: mean over each one's pixels, float64 (n,), 0 to 1.
        remarks: what is to be said of each, short and long; empty where its probability says all.
    """

    class_name: str
    rasters: NDArray[np.int64]
    shapes: NDArray[np.object_]
    probability: NDArray[np.float64]
    remarks: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.shapes)

    def take(self, places: NDArray[np.int64], remarks: Sequence[tuple[str, str]] | None = None) -> Objects:
        """Some of them, in another order, with other remarks if any are given."""
        said = [self.remarks[place] for place in places.tolist()] if remarks is None else remarks
        return Objects(
            self.class_name, self.rasters[places], self.shapes[places], self.probability[places], tuple(said)
        )

    def settled(self, raster: int, shape: BaseGeometry, *, is_tile: bool, is_there: bool) -> NDArray[np.int64]:
        """Which objects a label of their class answers, int64 (m,).

        That is those which it overlaps by IoU 0.5. An outline that somebody drew also answers for what it shares half of
        itself, or of the object, with: one roof of a row that was mapped as one, or the whole of what was mapped in part.
        A tile where the class is not answers for what lies half in it; a tile where it is says nothing of outlines.

        Args:
            raster: position of the label's raster.
            shape: its outline in pixels.
            is_tile: it is the outline of a tile of the archive.
            is_there: whether the label says that the class is there.
        """
        numbers, tree = self._trees.get(raster, (np.empty(0, np.int64), None))
        near = np.empty(0, np.int64) if tree is None else tree.query(shape)
        found = numbers[near]
        shared = shapely.area(shapely.intersection(self.shapes[found], shape))
        own = shapely.area(self.shapes[found])
        answers = shared >= _SAME * (own + shape.area - shared)
        if not is_tile:
            answers |= shared >= _SAME * np.minimum(own, shape.area)
        elif not is_there:
            answers |= shared >= _SAME * own
        return np.sort(found[answers])

    @cached_property
    def _trees(self) -> dict[int, tuple[NDArray[np.int64], shapely.STRtree]]:
        positions = np.unique(self.rasters).tolist()
        numbers = {position: np.flatnonzero(self.rasters == position) for position in positions}
        return {position: (mine, shapely.STRtree(self.shapes[mine])) for position, mine in numbers.items()}


def mapped_objects(frame: gpd.GeoDataFrame, imagery: Imagery, class_name: str) -> Objects:
    """The polygons of a class, on the rasters in which they were found.

    Args:
        frame: of `polygons.polygonize`, with the fingerprints of rasters in the column ``raster`` where there are several.
        imagery: that was mapped; polygons of other rasters are left out.
        class_name: of the polygons.
    """
    frame = frame[frame["class"] == class_name]
    known = {raster.fingerprint: position for position, raster in enumerate(imagery)}
    if "raster" in frame:
        rasters = frame["raster"].map(known).fillna(-1).to_numpy(np.int64)
    else:
        rasters = np.full(len(frame), 0 if len(imagery) == 1 else -1, np.int64)
    shapes = np.empty(len(frame), object)
    for position in np.unique(rasters[rasters >= 0]).tolist():
        mine, raster = rasters == position, imagery[position]
        placed = frame.geometry[mine]
        if raster.crs is not None:
            inverse = ~raster.transform
            placed = placed.to_crs(raster.crs).affine_transform(inverse.to_shapely())
        shapes[mine] = placed.to_numpy()
    here = rasters >= 0
    probability = frame["probability"].to_numpy(np.float64)[here]
    return Objects(class_name, rasters[here], shapes[here], probability, (("", ""),) * int(here.sum()))


def write_objects(objects: Objects, imagery: Imagery, path: Path) -> None:
    """Keep a review as GeoParquet, in pixels; that it cannot be written is logged and stops no work: no label is in it."""
    frame = gpd.GeoDataFrame(
        {
            "raster": [imagery[position].fingerprint for position in objects.rasters.tolist()],
            "class": objects.class_name,
            "probability": objects.probability,
            "words": [words for words, _ in objects.remarks],
            "says": [says for _, says in objects.remarks],
        },
        geometry=objects.shapes,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as aside:
            frame.to_parquet(aside)
    except OSError as error:
        log.warning("%s: the review is not kept (%s). The labels are.", path.name, error)


def read_objects(path: Path, imagery: Imagery) -> Objects | None:
    """The review that was kept; None where there is none, it is damaged, or of other imagery."""
    known = {raster.fingerprint: position for position, raster in enumerate(imagery)}
    try:
        frame = gpd.read_parquet(path)
        rasters, names, probability, words, says = (frame[name].to_numpy() for name in _COLUMNS)
        shapes = frame.geometry.to_numpy()
        if len(set(names)) != 1 or not np.isfinite(probability.astype(np.float64)).all():
            raise ValueError("it is no review")
        if not all(shape is not None and shape.is_valid and not shape.is_empty for shape in shapes):
            raise ValueError("an outline is damaged")
        positions = np.array([known[raster] for raster in rasters], np.int64)
        remarks = tuple((str(short), str(long)) for short, long in zip(words, says, strict=True))
        return Objects(str(names[0]), positions, shapes, probability.astype(np.float64), remarks)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, pyarrow.ArrowException) as error:
        log.warning("%s cannot be used (%s); choose a review again. The labels are not in it.", path.name, error)
        return None
