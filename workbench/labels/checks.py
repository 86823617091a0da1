"""What may be said: checks of names, values and outlines before anything is stored."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import numpy as np
import shapely

from workbench.errors import LabelInvalid
from workbench.labels.events import Mark, Place

NAME_LENGTH = 80


def checked_mark(mark: Mark) -> Mark:
    """A mark fit to be stored, each place once.

    Raises:
        LabelInvalid: its value, class name or an outline cannot be used.
    """
    if mark.value not in (-1, 0, 1):
        raise LabelInvalid(f"{mark.value!r} is no label value. Give 1 (it is there), -1 (it is not) or 0 (unlabel).")
    places = {place.key: place for place in map(checked_place, mark.places)}
    return Mark(clean_name(mark.class_name, "A class name"), int(mark.value), tuple(places.values()), whole=mark.whole)


def checked_place(place: Place) -> Place:
    """A place fit to be stored, without heights.

    Raises:
        LabelInvalid: it is not a valid polygon.
    """
    geometry = place.geometry
    if geometry.geom_type not in ("Polygon", "MultiPolygon") or geometry.is_empty:
        raise LabelInvalid(f"A label needs a polygon, and this is a {geometry.geom_type}. Draw an outline around it.")
    if not np.isfinite(geometry.bounds).all():
        raise LabelInvalid("A label's outline has coordinates that are no numbers. Check its coordinate system.")
    if not geometry.is_valid:
        raise LabelInvalid(f"A label's outline is not usable: {shapely.is_valid_reason(geometry)}. Draw it again.")
    return replace(place, geometry=shapely.force_2d(geometry)) if geometry.has_z else place


def clean_name(name: str, what: str) -> str:
    """A name in Unicode's composed form, so that what looks the same is the same; it stays plain data.

    Raises:
        LabelInvalid: it is empty, over 80 characters, or holds control characters.
    """
    clean = unicodedata.normalize("NFC", name).strip()
    bad = [character for character in clean if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")]
    if bad or not 1 <= len(clean) <= NAME_LENGTH:
        found = f"holds the control character {bad[0]!r}" if bad else f"has {len(clean)} characters"
        raise LabelInvalid(f"{what} {found}. Give 1 to {NAME_LENGTH} printable characters.")
    return clean
