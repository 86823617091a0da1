"""How well images of a class find each other, for encoders, codes, bits, orientations, chips alone and the dense pass.

    python benchmarks/retrieval.py --images ucmerced --encoder aerial mobilenet_v2:mobilenet_v2.pth --orientations 1 8 \
        --codes itq klsh kslsh milan --bits 32 512 --cache cache/ --json retrieval.json

`rows`: every image is a query once and all others are the archive, in which the images of its class are right. Images are
resized to 224 px; descriptors are centred by the archive's mean and of unit length; codes are fitted to the archive
without labels. "chip": each image is described alone. "dense": all images lie side by side in one raster, in an order drawn
by the seed, and each is a tile of an archive built from it: its borders are seen in the context of foreign neighbours, which
costs an encoder that looks far (`--layout by-class` lays images beside their own class, which helps it as unduly).
Re-ranking orders the `--shortlist` nearest codes (200 by default, 10 k at k = 20) by the float cosine; the rest follow by
Hamming distance.

Measures (see workbench.search.metrics): P@k, mean average precision over the whole ranking, both as expected over the
orders of tied answers, and mAP@20 as Roy et al. 2021 (MiLaN) define it.

`split`, and the supervised codes in `rows`: codes are fitted to 60 % of the images of each class, drawn by the seed, with
their labels where the code takes them; each image of the other 40 % is a query, and the rest of those 40 % are the archive.
This is what Roy et al. published their code to measure: no image of the archive was seen in training.

`turned`: the same queries as float chips, the query image turned or mirrored, the archive not: the share of the first ten
that are the same as for the query as it is, and P@10. `uploads`: tiles of the dense archive saved as PNG and described as
uploaded chips, and the share that finds itself first. `intervals`: 95 % bootstrap over queries of each row's mAP.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from class_folders import (
    LAYOUTS,
    TURNS,
    Images,
    describe_chips,
    describe_dense,
    find_images,
    image_options,
    named_encoder,
)
from numpy.typing import NDArray
from PIL import Image
from ranking import Answers, Plan, every_answer, training_part

from workbench.descriptors.archive import Archive
from workbench.descriptors.centring import fit_centring
from workbench.descriptors.codes.fitting import KINDS, SUPERVISED
from workbench.descriptors.encoders import Encoder
from workbench.files import write_json
from workbench.search.query import describe_file

Row = dict[str, object]
TRAINING = 0.6
_PATHS = ("chip", "dense")
_TOP = 10
_FINENESS = 4


@dataclass
class Tables:
    """All that is measured of some images, a list of rows a table."""

    images: Images
    plan: Plan
    cache: Path
    layout: str
    rows: list[Row] = field(default_factory=list)
    split: list[Row] = field(default_factory=list)
    intervals: list[Row] = field(default_factory=list)
    turned: list[Row] = field(default_factory=list)
    uploads: list[Row] = field(default_factory=list)

    def add_chips(self, encoder: Encoder, about: Row, turned: int) -> None:
        """Images described alone, and ``turned`` of them turned."""
        raw = describe_chips(self.images, encoder, range(len(self.images.paths)), self.cache)
        self._add(raw, encoder, {**about, "path": "chip"})
        if turned:
            self.turned += [{**about, **row} for row in self._turns(raw, encoder, turned)]

    def add_dense(self, encoder: Encoder, about: Row, uploads: int) -> None:
        """Images as tiles of one raster, and ``uploads`` of those as uploaded chips."""
        archive, tiles = describe_dense(self.images, encoder, self.cache, self.layout)
        self._add(np.asarray(archive.raw)[tiles].astype(np.float32), encoder, {**about, "path": "dense"})
        if uploads:
            numbers = drawn(len(tiles), uploads, self.plan.seed)
            share = found_themselves(archive, tiles, numbers)
            self.uploads.append({**about, "tiles": len(numbers), "share_at_rank_1": round(share, _FINENESS)})

    def _add(self, raw: NDArray[np.float32], encoder: Encoder, about: Row) -> None:
        labels = self.images.labels
        everything = np.arange(len(raw))
        unsupervised = [kind for kind in self.plan.codes if kind not in SUPERVISED]
        vectors = centre(raw, raw, encoder)
        self.rows += self._measured(
            every_answer(vectors, labels, self.plan, unsupervised, training=everything, archive=everything), about
        )
        training = training_part(labels, TRAINING)
        vectors = centre(raw, raw[training], encoder)
        archive = np.setdiff1d(everything, training)
        for answers in every_answer(vectors, labels, self.plan, self.plan.codes, training=training, archive=archive):
            self.split.append(row_of(answers, about))
            if answers.code in SUPERVISED:
                self.rows += self._measured([answers], about)

    def _measured(self, found: Iterator[Answers] | list[Answers], about: Row) -> list[Row]:
        rows = []
        for answers in found:
            row = row_of(answers, about)
            low, high = answers.interval(self.plan.seed)
            named = {key: row[key] for key in ("encoder", "path", "code", "bits", "orientations", "rerank")}
            self.intervals.append({**named, "map_low": low, "map_high": high})
            rows.append(row)
        return rows

    def _turns(self, raw: NDArray[np.float32], encoder: Encoder, count: int) -> Iterator[Row]:
        """Overlap of the first ten, and precision, of queries turned in each way."""
        queries = drawn(len(raw), count, self.plan.seed)
        vectors = centre(raw, raw, encoder)
        labels = self.images.labels
        as_they_are = first_ten(vectors[queries], vectors, queries)
        for turn in TURNS:
            again = raw[queries]
            if turn != TURNS[0]:
                again = describe_chips(self.images, encoder, queries, self.cache, turn)
            found = first_ten(centre(again, raw, encoder), vectors, queries)
            same = [len(np.intersect1d(*pair)) / len(pair[0]) for pair in zip(as_they_are, found, strict=True)]
            right = (labels[found] == labels[queries, None]).mean()
            yield {
                "turn": turn,
                "queries": len(queries),
                "top_10_overlap": round(float(np.mean(same)), _FINENESS),
                "p_at_10": round(float(right), _FINENESS),
            }


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    images = find_images(given.images, given.size, given.seed)
    plan = Plan(given.codes, given.bits, given.shortlist, given.seed)
    with tempfile.TemporaryDirectory() as scratch:
        cache = given.cache or Path(scratch)
        cache.mkdir(parents=True, exist_ok=True)
        tables = Tables(images, plan, cache, given.layout)
        for spec in given.encoder:
            for orientations in given.orientations:
                encoder = named_encoder(spec, orientations)
                about: Row = {"encoder": spec.partition(":")[0], "orientations": orientations}
                if "chip" in given.paths:
                    tables.add_chips(encoder, about, given.turned)
                if "dense" in given.paths:
                    tables.add_dense(encoder, about, given.uploads)
    found = {name: value for name, value in vars(tables).items() if isinstance(value, list)}
    for name in ("rows", "split", "turned", "uploads"):
        print(f"\n{name}\n{as_text(found[name])}")
    if given.json:
        protocol = {
            "size": given.size,
            "shortlist": given.shortlist,
            "seed": given.seed,
            "training_share": TRAINING,
            "layout": given.layout,
        }
        counts = {"folder": given.images.name, "images": len(images.paths), "classes": len(images.classes)}
        write_json(given.json, {**found, "data": counts, "protocol": protocol})


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = image_options(__doc__, required=True)
    parser.add_argument("--encoder", nargs="+", default=["aerial"], metavar="NAME[:WEIGHTS]")
    parser.add_argument("--codes", nargs="*", default=list(KINDS), choices=KINDS, help="beside the float descriptors")
    parser.add_argument("--bits", nargs="+", type=int, default=[32, 64, 128, 256, 512])
    parser.add_argument("--orientations", nargs="+", type=int, default=[1], choices=(1, 4, 8))
    parser.add_argument("--paths", nargs="+", default=list(_PATHS), choices=_PATHS)
    parser.add_argument("--layout", default=LAYOUTS[0], choices=LAYOUTS, help="of the images in the raster")
    parser.add_argument("--shortlist", type=int, default=200, help="nearest codes that are re-ranked")
    parser.add_argument("--turned", type=int, default=420, help="queries that are turned; 0: none")
    parser.add_argument("--uploads", type=int, default=200, help="tiles that are uploaded; 0: none")
    return parser.parse_args(arguments)


def centre(raw: NDArray[np.float32], archive: NDArray[np.float32], encoder: Encoder) -> NDArray[np.float32]:
    """Descriptors centred as an archive's are, of unit length."""
    return fit_centring(archive, standardise=encoder.standardise).apply(raw)


def first_ten(queries: NDArray[np.float32], vectors: NDArray[np.float32], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of the ten nearest to each query, without its own image."""
    scores = queries @ vectors.T
    scores[np.arange(len(own)), own] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, : min(_TOP, len(vectors) - 1)]


def found_themselves(archive: Archive, tiles: NDArray[np.int64], numbers: NDArray[np.int64]) -> float:
    """Share of images that, saved as PNG and uploaded, score no other image's tile higher than their own."""
    first = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tile.png"
        for number in numbers:
            Image.fromarray(archive.pixels(int(tiles[number])).transpose(1, 2, 0)).save(path)
            scores = archive.vectors[tiles] @ describe_file(archive, path)
            first += int(scores[number] >= scores.max())
    return first / len(numbers)


def drawn(count: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """At most ``wanted`` of ``count`` numbers, in ascending order."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:wanted])


def row_of(answers: Answers, about: Row) -> Row:
    """A row of a table, its keys in their order."""
    row = {**about, **answers.row()}
    first = ("encoder", "path", "code", "bits", "orientations", "rerank")
    return {key: row[key] for key in (*first, *(key for key in row if key not in first))}


def as_text(rows: Sequence[Row]) -> str:
    """Rows in aligned columns."""
    if not rows:
        return "(none)"
    cells = [list(rows[0]), *([f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


if __name__ == "__main__":
    main()
