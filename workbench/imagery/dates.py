"""When imagery was taken: a date in a file's header or name, as exact as it is known, and the days that it may mean."""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Mapping
from pathlib import PurePath

from workbench.errors import QueryInvalid

_DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_.]?)(\d\d)\2(\d\d)(?!\d)")
# Half of a number of pixels, a coordinate or a random name may look like a year: it has to stand alone.
_YEAR = re.compile(r"(?<![0-9A-Za-z])((?:19|20)\d\d)(?![0-9A-Za-z])")
_ISO = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")


def find_date(name: str, tags: Mapping[str, str]) -> str | None:
    """The date of a raster, from its header if that has one, else from its name.

    Args:
        name: of the file, folders may come before it; the nearest to the file counts first.
        tags: of its header; ``TIFFTAG_DATETIME`` and ``ACQUISITIONDATETIME`` are looked at.

    Returns:
        ISO ``YYYY-MM-DD``, or ``YYYY`` where the name has one year and no more; None without a date.
    """
    stamp = tags.get("TIFFTAG_DATETIME") or tags.get("ACQUISITIONDATETIME") or ""
    parts = PurePath(name).parts[::-1]
    written = [found.group(1, 3, 4) for part in parts for found in _DAY.finditer(part)]
    digits = re.sub(r"\D", "", stamp)
    for year, month, day in ((digits[:4], digits[4:6], digits[6:8]), *written):
        try:
            return datetime.date(int(year), int(month), int(day)).isoformat()
        except ValueError:
            continue
    for part in parts:
        years = set(_YEAR.findall(part))
        if len(years) == 1 and int(min(years)) <= datetime.date.today().year:
            return years.pop()
    return None


def days_of(date: str) -> tuple[datetime.date, datetime.date]:
    """First and last day that an ISO date may mean: ``2019`` is a year of days, ``2019-06`` a month, ``2019-06-03`` one.

    Raises:
        QueryInvalid: it is no such date.
    """
    found = _ISO.fullmatch(date.strip()) if isinstance(date, str) else None
    try:
        if found is None:
            raise ValueError(date)
        year, month, day = (int(part) if part else None for part in found.groups())
        first = datetime.date(year or 0, month or 1, day or 1)
        last_month = month or 12
        last = datetime.date(first.year, last_month, day or calendar.monthrange(first.year, last_month)[1])
    except ValueError as error:
        raise QueryInvalid(
            f"{str(date)[:40]!r} is no date. Write a year, a month or a day: 2019, 2019-06 or 2019-06-03."
        ) from error
    return first, last
