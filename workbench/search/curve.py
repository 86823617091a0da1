"""How far a search came with how many labels: estimates one after the other as a table, as CSV or JSON, and as one figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import QueryInvalid
from workbench.files import atomic_write, write_json
from workbench.search.stopping import Estimate, Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, float | int | None]
_MEASURES = ("precision", "recall", "count", "area")
_COLOURS = {"precision": "#0072b2", "recall": "#d55e00", "count": "#009e73", "area": "#6a51a3"}
_MEANINGS = {"precision": "of the answer right", "recall": "of the class found"}
_UNKNOWN = Interval(np.nan, np.nan, np.nan)


def rows_of(estimates: Sequence[Estimate]) -> list[Row]:
    """A row for each estimate: labels, audited, threshold, answered, and low, middle and high of each measure.

    Where no areas were given they are None.
    """
    return [_row(one) for one in estimates]


def estimates_of(rows: Sequence[Row]) -> list[Estimate]:
    """The estimates that rows of `rows_of` were made of.

    Raises:
        ValueError: a row is none, or a number is missing or no number.
    """
    return [_estimate(row) for row in rows]


def write_curve(estimates: Sequence[Estimate], path: Path | str, *, area_unit: str = "m²") -> Path:
    """Write estimates as ``.csv`` or ``.json``, one row each, or as the figure of `draw_curve`, ``.png``.

    What was there is replaced, whole or not at all.

    Args:
        estimates: in the order they were made.
        path: its ending chooses the format.
        area_unit: of the areas, for the figure.

    Raises:
        QueryInvalid: the file has another ending, or there are no estimates.
    """
    path, rows = Path(path), rows_of(_some(estimates))
    if path.suffix == ".json":
        write_json(path, {"rows": rows})
    elif path.suffix == ".csv":
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
        with atomic_write(path) as aside:
            aside.write_text(text.getvalue(), encoding="utf-8", newline="")
    elif path.suffix == ".png":
        figure = draw_curve(estimates, area_unit=area_unit)
        with atomic_write(path) as aside:
            figure.savefig(aside, dpi=150)
    else:
        raise QueryInvalid(f"{path.name} is neither .csv nor .json nor .png. Give it one of these endings.")
    return path


def draw_curve(estimates: Sequence[Estimate], *, area_unit: str = "m²") -> Figure:
    """Precision and recall, count, and area where it is known, against labels, each with its interval as a band.

    Args:
        estimates: in the order they were made.
        area_unit: of the areas.

    Raises:
        QueryInvalid: there are no estimates.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    estimates = _some(estimates)
    has_area = any(one.area is not None for one in estimates)
    figure = Figure(figsize=(12 if has_area else 8, 3.6), layout="constrained")
    panels = figure.subplots(1, 3 if has_area else 2)
    _bands(panels[0], estimates, ("precision", "recall"))
    panels[0].set(ylim=(0, 1.02), title="How right the answer is, and how complete")
    panels[0].yaxis.set_major_formatter(PercentFormatter(1))
    panels[0].legend(frameon=False, loc="lower right", fontsize=8)
    _bands(panels[1], estimates, ("count",))
    panels[1].set(title="Tiles of the class in the archive")
    if has_area:
        _bands(panels[2], estimates, ("area",))
        panels[2].set(title=f"Ground they stand for, {area_unit}")
    for panel in panels:
        panel.title.set_fontsize(9)
        panel.set_xlabel("labels; bars and bands are 90 % intervals", fontsize=8)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.margins(x=0.08)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    return figure


def _bands(panel: Axes, estimates: Sequence[Estimate], measures: Sequence[str]) -> None:
    """Each measure as points with bars, which also one estimate alone shows, joined by a band; the last one in figures."""
    from matplotlib.ticker import StrMethodFormatter

    labels = [one.labels for one in estimates]
    for measure in measures:
        found = [getattr(one, measure) or _UNKNOWN for one in estimates]
        low, middle, high = np.array([(one.low, one.middle, one.high) for one in found]).T
        colour, last = _COLOURS[measure], found[-1]
        form = (".0f", 100, " %") if measure in _MEANINGS else (",.0f", 1, "")
        ends = (f"{form[1] * end:{form[0]}}" for end in (last.low, last.high))
        name = f"{_MEANINGS.get(measure, 'now')}: {' to '.join(ends)}{form[2]}"
        panel.fill_between(labels, low, high, color=colour, alpha=0.15, linewidth=0)
        panel.vlines(labels, low, high, color=colour, alpha=0.6, linewidth=1.2)
        panel.plot(labels, middle, color=colour, marker="o", markersize=4, label=name)
    if measures[0] not in _MEANINGS:
        panel.set_ylim(bottom=0)
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        panel.legend(frameon=False, loc="lower right", fontsize=8)


def _row(one: Estimate) -> Row:
    row: Row = {
        "labels": one.labels,
        "audited": one.audited,
        "threshold": one.threshold,
        "answered": one.answered,
    }
    for measure in _MEASURES:
        interval: Interval | None = getattr(one, measure)
        for end in ("low", "middle", "high"):
            row[f"{measure}_{end}"] = None if interval is None else getattr(interval, end)
    return row


def _estimate(row: Row) -> Estimate:
    try:
        found = {name: _interval(row, name) for name in _MEASURES}
        whole = {name: row[name] for name in ("labels", "audited", "answered")}
        threshold = row["threshold"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"an estimate lacks a part ({error})") from error
    area = found.pop("area")
    if not all(type(value) is int for value in whole.values()) or not _is_number(threshold) or None in found.values():
        raise ValueError("a part of an estimate is no number")
    return Estimate(**whole, threshold=float(threshold), **found, area=area)  # type: ignore[arg-type]


def _interval(row: Row, measure: str) -> Interval | None:
    ends = [row[f"{measure}_{end}"] for end in ("low", "middle", "high")]
    if ends == [None] * 3:
        return None
    if not all(map(_is_number, ends)):
        raise ValueError(f"{measure} is no interval")
    return Interval(*(float(end) for end in ends))  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))  # type: ignore[call-overload]


def _some(estimates: Sequence[Estimate]) -> Sequence[Estimate]:
    if not estimates:
        raise QueryInvalid("There are no estimates yet. Audit a few tiles, then estimate.")
    return estimates
