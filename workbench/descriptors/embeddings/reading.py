"""Parquet files of embeddings read by batches of rows: numbers as they are stored, and why a row cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from workbench.descriptors.embeddings.layout import Layout, find_layout
from workbench.errors import EmbeddingsInvalid
from workbench.files import fingerprint, format_bytes

SUFFIXES = (".parquet", ".geoparquet", ".gpq", ".pq")
ROWS = 4096
_LARGEST = 65_504.0
_BUFFER = 1 << 20
Scale = float | Sequence[float] | NDArray[np.floating[Any]] | str


@dataclass(frozen=True)
class Source:
    """One Parquet file of embeddings, known by its footer."""

    path: Path
    name: str
    rows: int
    layout: Layout
    metadata: dict[bytes, bytes]

    @property
    def fingerprint(self) -> str:
        """Names the file's content; see `files.fingerprint`."""
        return fingerprint(self.path)

    def batches(self, columns: list[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Runs of at most 4,096 rows, each with the number of its first row; one row group is held at a time.

        Raises:
            EmbeddingsInvalid: the file is damaged; the message names the row.
        """
        first = 0
        try:
            with _opened(self.path) as file:
                for batch in file.iter_batches(ROWS, columns=list(dict.fromkeys(columns)), use_threads=False):
                    yield first, batch
                    first += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise EmbeddingsInvalid(
                f"{self.name}: row {first:,} of {self.rows:,} cannot be read ({_reason(error)}). Get the file again, or "
                "leave it out."
            ) from error
        if first != self.rows:
            raise EmbeddingsInvalid(f"{self.name} ended after {first:,} of {self.rows:,} rows. Get the file again.")


def open_sources(path: str | Path, column: str | None, crs: str | None) -> list[Source]:
    """The Parquet file at a path, or all in a folder and below it, in the order of their names.

    Args:
        path: file or folder.
        column: of the embeddings; see `find_layout`.
        crs: of the geometry; see `find_layout`.

    Raises:
        EmbeddingsInvalid: there is none, one is no Parquet, or its columns are not clear.
    """
    path = Path(path).expanduser()
    paths = [path]
    if path.is_dir():
        found = (each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES and each.is_file())
        paths = sorted(each for each in found if not each.name.startswith((".", "_")))
        if not paths:
            raise EmbeddingsInvalid(f"{path} holds no Parquet file ({', '.join(SUFFIXES)}). Give the folder that does.")
    elif not path.is_file():
        raise EmbeddingsInvalid(
            f"{path} is not there. Give a GeoParquet file of embeddings, or a folder of such files."
        )
    return [
        _open(each, each.name if each == path else each.relative_to(path).as_posix(), column, crs) for each in paths
    ]


def read_vectors(
    column: pa.Array, dim: int | None, scale: NDArray[np.float32] | None
) -> tuple[NDArray[np.float16], NDArray[np.object_]]:
    """Embeddings of a batch as they are kept.

    Args:
        column: lists of numbers, of fixed or any length, also one list inside another.
        dim: length that all must have; that of the first when None.
        scale: multiplies the stored numbers: one, one a dimension (dim,), or one a row (n, 1).

    Returns:
        float16 (n, dim), zero where a row cannot be used, and why it cannot, (n,), empty text where it can.
    """
    lengths, flat = _flattened(column)
    reasons = np.full(len(lengths), "", object)
    reasons[lengths < 0] = "it has no embedding"
    if dim is None:
        dim = int(next((length for length in lengths.tolist() if length > 0), 0))
    wrong = (lengths >= 0) & (lengths != dim)
    reasons[wrong] = [f"its embedding has {length:,} numbers, others here have {dim:,}" for length in lengths[wrong]]
    kept = np.zeros((len(lengths), dim), np.float16)
    good = np.flatnonzero(reasons == "")
    if not len(good) or not dim:
        return kept, reasons
    values = flat[np.repeat(lengths == dim, np.maximum(lengths, 0))] if wrong.any() else flat
    rows = values.reshape(len(good), dim).astype(np.float32)
    if scale is not None:
        rows *= scale if scale.ndim < 2 else scale[good]
    with np.errstate(over="ignore"):
        halves = rows.astype(np.float16)
    for bad, reason in (
        (~rows.any(axis=1), "its embedding is all zero"),
        (rows.any(axis=1) & ~halves.any(axis=1), "its numbers are too small for half precision: give scale=1000 or so"),
        ((np.abs(rows) > _LARGEST).any(axis=1), "its numbers are too large for half precision: give scale=0.001 or so"),
        (~np.isfinite(rows).all(axis=1), "its embedding holds numbers that are not finite"),
    ):
        reasons[good[bad]] = reason
    kept[good] = np.where((reasons[good] == "")[:, None], halves, 0)
    return kept, reasons


def _flattened(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """How many numbers each row has, -1 where it has none at all, and all of them in one array; NaN for those missing."""
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    there = np.asarray(column.is_valid())
    lengths = np.asarray(column.value_lengths().fill_null(0), np.int64)
    values = column.flatten()
    while isinstance(values, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        inner = np.asarray(values.value_lengths().fill_null(0), np.int64)
        ends = np.concatenate([[0], np.cumsum(inner)])
        stops = np.cumsum(lengths)
        lengths = ends[stops] - ends[stops - lengths]
        values = values.flatten()
    return np.where(there, lengths, -1), values.to_numpy(zero_copy_only=False)


def _open(path: Path, name: str, column: str | None, crs: str | None) -> Source:
    try:
        with _opened(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise EmbeddingsInvalid(
            f"{name} ({format_bytes(path.stat().st_size)}) is no whole Parquet file ({_reason(error)}). Get it again, or "
            "leave it out."
        ) from error
    return Source(path, name, rows, find_layout(schema, name, column, crs), dict(schema.metadata or {}))


def _opened(path: Path) -> pq.ParquetFile:
    # Read ahead in small buffers: a column of a large row group would be held compressed as a whole otherwise.
    return pq.ParquetFile(path, memory_map=False, buffer_size=_BUFFER, pre_buffer=False)


def _reason(error: Exception) -> str:
    return str(error).split("\n")[0].strip(" .")[:160]
