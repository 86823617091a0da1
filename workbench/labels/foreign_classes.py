"""What the values of other people's masks mean: classes named by colour or number in a table, or told from the masks."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from workbench.errors import LabelInvalid, RasterUnreadable
from workbench.labels.checks import clean_name
from workbench.labels.fold import MAX_CLASSES, LabelClass, default_colour
from workbench.labels.mask_files import MaskPictures, palette_of, read_values

_BACKGROUND = ("background", "bg", "none", "other")
_IGNORE = ("ignore", "ignored", "unlabeled", "unlabelled", "void", "unknown")
_STRAY = 0.02
_HEX = re.compile(r"#?([0-9a-fA-F]{6})")


@dataclass(frozen=True)
class ClassTable:
    """Names of classes with how masks show them.

    Attributes:
        source: what to call the table in messages.
        colours: ``#rrggbb`` by name, where known.
        values: number in the masks by name, where known.
        names: all, in order.
    """

    source: str
    names: tuple[str, ...]
    colours: Mapping[str, str]
    values: Mapping[str, int]


def find_table(folder: Path, given: Mapping[str, str | int] | str | Path | None) -> ClassTable | None:
    """The table that was given, or else the one in the folder; None when there is none.

    Raises:
        LabelInvalid: it cannot be used.
    """
    if isinstance(given, Mapping):
        return _table("classes=", [{"name": name, "value": value} for name, value in given.items()])
    if given is not None:
        return _read(Path(given))
    for path in sorted(folder.glob("*.json")):
        try:
            return _read(path)
        except LabelInvalid:
            continue
    return None


def mask_classes(
    folder: Path, masks: Sequence[str], table: ClassTable | None
) -> tuple[tuple[LabelClass, ...], MaskPictures, list[str]]:
    """The classes of masks, how their pixels become class numbers, and what is doubtful about that.

    Raises:
        LabelInvalid: masks of colours without a table, or whose colours are not those of the table.
        RasterUnreadable: a mask is damaged.
    """
    modes = {_mode(folder / name) for name in masks}
    only_colours = table is not None and bool(table.colours) and not table.values
    colours = "RGB" in modes or (only_colours and modes <= {"P"})
    found: Counter[int] = Counter()
    for name in masks:
        values, counts = np.unique(read_values(folder / name, colours), return_counts=True)
        found.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    if table is None and colours:
        raise LabelInvalid(
            f"The masks in {folder} are pictures in colours ({_colours_in(found)}), and nothing says what they mean. Give "
            'classes={"building": "#3c1098", ...}, or a JSON file of that.'
        )
    if table is None:
        return _told_by_masks(folder, masks, found)
    return _told_by_table(table, colours, found)


def _told_by_masks(
    folder: Path, masks: Sequence[str], found: Mapping[int, int]
) -> tuple[tuple[LabelClass, ...], MaskPictures, list[str]]:
    palette = palette_of(folder / masks[0])
    if set(found) <= {0, 255} and found.get(255):
        doubt = "The masks hold 0 and 255 only: 255 was taken for the class, and not for ground nobody looked at."
        return (LabelClass(1, "class 1", default_colour(1)),), MaskPictures({0: 0, 255: 1}), [doubt]
    numbers = sorted(set(found) - {0, 255})
    if not numbers or not 1 <= numbers[0] <= numbers[-1] <= MAX_CLASSES:
        raise LabelInvalid(
            f"The masks in {folder} hold the values {sorted(found)[:10]}, and class numbers go from 1 to {MAX_CLASSES}. "
            'Say what they mean: classes={"roof": 1000, ...}.'
        )
    classes = [LabelClass(number, f"class {number}", palette.get(number, default_colour(number))) for number in numbers]
    return tuple(classes), MaskPictures(), []


def _told_by_table(
    table: ClassTable, colours: bool, found: Mapping[int, int]
) -> tuple[tuple[LabelClass, ...], MaskPictures, list[str]]:
    numbers = _numbers(table)
    if colours:
        shown = {name: int(table.colours[name][1:], 16) for name in table.names if name in table.colours}
    else:
        shown = {name: table.values.get(name, numbers[name]) for name in table.names}
    values = {value: numbers[name] for name, value in shown.items()}
    if not colours:
        values = {0: 0, 255: 255} | values
    strange = Counter({value: count for value, count in found.items() if value not in values})
    share = strange.total() / max(1, sum(found.values()))
    what = _colours_in(strange) if colours else ", ".join(str(value) for value, _ in strange.most_common(8))
    if share > _STRAY:
        raise LabelInvalid(
            f"{share:.0%} of the masks' pixels are of no class that {table.source} names: {what}. It names "
            f"{', '.join(f'{name} {_shown(value, colours)}' for name, value in shown.items())}. Give the masks' own "
            "colours or numbers as classes={name: colour}."
        )
    doubts = [f"{share:.2%} of the masks' pixels are of no class and count as unlabelled ({what})."] if strange else []
    kept = [name for name in table.names if 1 <= numbers[name] <= MAX_CLASSES]
    classes = [LabelClass(numbers[n], n, table.colours.get(n, default_colour(numbers[n]))) for n in kept]
    return tuple(sorted(classes, key=lambda known: known.id)), MaskPictures(values, colours), doubts


def _numbers(table: ClassTable) -> dict[str, int]:
    """The class number of each name: its value in masks where that can be one, else in the order of the table."""
    plain = [name for name in table.names if name.lower() not in (*_BACKGROUND, *_IGNORE)]
    own = [table.values.get(name, 0) for name in plain]
    keep = len(set(own)) == len(own) and all(1 <= value <= MAX_CLASSES for value in own)
    if len(plain) > MAX_CLASSES or not plain:
        raise LabelInvalid(f"{table.source} names {len(plain)} classes; a mask can hold 1 to {MAX_CLASSES}.")
    numbers = {name: table.values[name] if keep else place for place, name in enumerate(plain, 1)}
    return {name: numbers.get(name, 0 if name.lower() in _BACKGROUND else 255) for name in table.names}


def _read(path: Path) -> ClassTable:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise LabelInvalid(f"{path} cannot be read as a table of classes ({error}). Expected JSON.") from error
    if isinstance(value, dict) and isinstance(value.get("classes"), list | dict):
        value = value["classes"]
    if isinstance(value, dict):
        value = [{"name": name, "value": shown} for name, shown in value.items()]
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        raise LabelInvalid(
            f'{path.name} is no table of classes. Expected {{"classes": [{{"name": "roof", "color": "#d55e00"}}]}}.'
        )
    return _table(path.name, value)


def _table(source: str, items: Sequence[Mapping[str, Any]]) -> ClassTable:
    """A table from items with a name (name, title, label) and a colour or number (color, colour, value, id)."""
    colours: dict[str, str] = {}
    values: dict[str, int] = {}
    names = []
    for item in items:
        name = clean_name(str(_first(item, ("name", "title", "label")) or ""), f"A class name in {source}")
        names.append(name)
        for key in ("value", "id", "color", "colour", "hex", "rgb"):
            shown = item.get(key)
            if isinstance(shown, int) and not isinstance(shown, bool):
                values.setdefault(name, shown)
            elif shown is not None:
                colours.setdefault(name, _hex(shown, name, source))
    if len(set(names)) != len(names) or len(set(values.values())) != len(values):
        raise LabelInvalid(f"{source} names a class or a number twice. Each may be there once.")
    return ClassTable(source, tuple(names), colours, values)


def _hex(shown: object, name: str, source: str) -> str:
    if isinstance(shown, list) and len(shown) == 3 and all(isinstance(part, int) and 0 <= part < 256 for part in shown):
        return "#{:02x}{:02x}{:02x}".format(*shown)
    match = _HEX.fullmatch(shown) if isinstance(shown, str) else None
    if match is None:
        raise LabelInvalid(
            f"{source}: {str(shown)[:40]!r} of {name!r} is no colour. Give #rrggbb, or a number in the masks."
        )
    return f"#{match[1].lower()}"


def _first(item: Mapping[str, Any], keys: Sequence[str]) -> object:
    return next((item[key] for key in keys if key in item), None)


def _mode(path: Path) -> str:
    """RGB, P (a palette) or L (numbers)."""
    try:
        with Image.open(path) as picture:
            return "RGB" if picture.mode in ("RGB", "RGBA", "CMYK", "YCbCr") else "P" if picture.mode == "P" else "L"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RasterUnreadable(f"{path.name} cannot be read as a mask ({str(error)[:200]}). Copy it again.") from error


def _colours_in(found: Mapping[int, int]) -> str:
    total = max(1, sum(found.values()))
    most = Counter(found).most_common(8)
    return ", ".join(f"#{value:06x} {count / total:.1%}" for value, count in most)


def _shown(value: int, colours: bool) -> str:
    return f"#{value:06x}" if colours else str(value)
