"""Figures of a search benchmark as text, each bar beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
_FULL = 48_000_000


def bars(found: Row) -> list[Row]:
    """What is asked for, what was measured, and whether that is met; bars of sizes other than were run are left out."""
    rows = [row for row in found["engines"] if row["k"] == 100]
    by_name = {row["engine"]: row for row in rows}
    told: list[Row] = []

    def bar(name: str, measured: float | None, limit: float, *, least: bool = False) -> None:
        if measured is not None:
            met = measured >= limit if least else measured <= limit
            told.append(
                {"bar": name, "measured": measured, "limit": f"{'>=' if least else '<='} {limit:g}", "met": met}
            )

    for rank, real in found["neighbour_distances"]["real"].items():
        made = found["neighbour_distances"]["made"][rank]
        bar(f"made over real distance to neighbour {rank}, less 1", round(abs(made / real - 1), 3), 0.1)
    lists, flat, plain = (by_name.get(name, {}) for name in ("inverted", "flat", "faiss flat, plain"))
    bar("inverted, k = 100, warm: median ms", lists.get("median_ms"), 2)
    bar("inverted, k = 100, warm: p95 ms", lists.get("p95_ms"), 5)
    bar("inverted, k = 100: recall", lists.get("recall"), 0.99, least=True)
    if flat and plain:
        bar("flat over plain FAISS, k = 100: median", round(flat["median_ms"] / plain["median_ms"], 3), 1)
        bar("flat, k = 100: recall", flat["recall"], 1, least=True)
    bar("opening, s", found.get("open_s"), 2)
    bar("first search, s", found.get("first_search_s"), 1)
    bar("private memory, GB", gigabytes(found.get("private_mb")), 4.5)
    bar("codes-only archive on disk, GB", found.get("disk_gb"), 4)
    for row in found.get("filtered", ()):
        bar(f"filtered to 1 % ({row['where']}): median ms", row["median_ms"], 50)
        bar(f"filtered to 1 % ({row['where']}): exact", float(row["exact"]), 1, least=True)
    for row in found["small"][:1]:
        hundred = next((each for each in row["engines"] if each["k"] == 100), row["engines"][-1])
        bar(f"{row['tiles']:,} tiles, k = {hundred['k']}: median ms", hundred["median_ms"], 5)
        bar(f"{row['tiles']:,} tiles: over one matrix-vector product", row["to_matrix_vector"], 1.5)
        bar(f"{row['tiles']:,} tiles: recall", hundred["recall"], 1, least=True)
    scored = found["scored"]
    bar(f"{scored['tiles']:,} tiles, linear scorer: median ms", scored["median_ms"], 150)
    bar(f"{scored['tiles']:,} tiles, a round of refinement with its fit: median ms", scored["round_median_ms"], 150)
    bar(f"{scored['tiles']:,} tiles, linear scorer: exact", float(scored["exact"]), 1, least=True)
    bar(f"{scored['tiles']:,} tiles: private memory, GB", gigabytes(scored["private_mb"]), 1.5)
    return told


def as_text(found: Row) -> str:
    """All figures, readable."""
    codes = f"{found['tiles']:,} codes of {found['bits']} bits, made after {found['from']['tiles']:,} real tiles"
    distances = found["neighbour_distances"]
    near = [{"neighbour": rank, **{kind: distances[kind][rank] for kind in distances}} for rank in distances["real"]]
    facts = [
        f"{name}: {found[name]}" for name in ("read_ms", "build_s", "open_s", "first_search_s", "private_mb", "disk_gb")
    ]
    parts = [
        codes,
        table(near),
        "\n".join(facts),
        found["engine_text"],
        table(found["engines"]),
        table(found["filtered"]),
    ]
    for row in found["small"]:
        told = {name: value for name, value in row.items() if name not in ("tiles", "engines")}
        parts += [f"{row['tiles']:,} tiles with descriptors: {told}", table(row["engines"])]
    parts.append(f"linear scorers: {found['scored']}; over the codes: {found['linear']}")
    small = "" if found["tiles"] >= _FULL else f" (set for {_FULL:,} tiles; these are {found['tiles']:,})"
    met = [{**row, "met": "met" if row["met"] else "MISSED"} for row in found["bars"]]
    return "\n\n".join((*parts, f"bars{small}\n{table(met)}"))


def table(rows: Sequence[Row]) -> str:
    """Rows in aligned columns; what a row has not is left blank."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def gigabytes(megabytes: float | None) -> float | None:
    return None if megabytes is None else round(megabytes / 1000, 3)
