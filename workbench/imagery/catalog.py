"""The data catalog: which data sets there are, and the code that gets one into a folder."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from workbench.errors import CatalogError
from workbench.files import inside, require_space, slug, write_json
from workbench.imagery import stac
from workbench.imagery.download import Remote, Web, download
from workbench.imagery.entries import Entry, Http, Manual, Paint, Stac, is_bbox, is_interval, read_entry
from workbench.imagery.packages import is_package, unpack, unpacked_folder
from workbench.jobs import Progress, shown_progress

log = logging.getLogger(__name__)
_RECORD = "fetched.json"
# A package and what was in it are on the disk together for a moment.
_UNPACKED_FACTOR = 2.5


def catalog(extra: str | Path | None = None) -> dict[str, Entry]:
    """All data sets that the workbench knows, by name.

    Args:
        extra: a folder with entries of your own, added to the others.

    Raises:
        CatalogError: a file is not a valid entry, or two have the same name; the message names file and field.
    """
    folders = [_bundled_folder()]
    if extra is not None:
        folders.append(Path(extra))
        if not folders[-1].is_dir():
            raise CatalogError(f"{extra} is no folder. Give a folder with one .yaml file per data set.")
    entries: dict[str, Entry] = {}
    for file in (file for folder in folders for file in sorted(folder.glob("*.yaml"))):
        found = read_entry(file)
        if found.name in entries:
            raise CatalogError(f"{file}: there is another data set called {found.name}. Choose another name.")
        entries[found.name] = found
    return entries


def entry(name: str, extra: str | Path | None = None) -> Entry:
    """One data set by its name.

    Raises:
        CatalogError: there is none of that name; the message has the names that are close.
    """
    entries = catalog(extra)
    if name in entries:
        return entries[name]
    close = difflib.get_close_matches(name, entries, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"There are: {', '.join(entries)}."
    raise CatalogError(f"There is no file and no data set called {name!r}. {hint}")


def fetch(
    name_or_entry: str | Entry,
    folder: str | Path,
    *,
    bbox: Sequence[float] | None = None,
    dates: str | None = None,
    allow_http: Collection[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Get a data set into a folder; what is there already is not fetched again, what was cut is gone on with.

    Beside the data lies ``fetched.json``: what it is, where it came from and under which licence.

    Args:
        name_or_entry: a name in the catalog, or an entry.
        folder: where to; nothing is written anywhere else.
        bbox: for STAC sources: west, south, east, north in degrees, instead of the entry's small example.
        dates: for STAC sources: a day or an interval such as ``2023-06-01/2023-06-30``.
        allow_http: hosts that may be spoken to without encryption (a mirror on this machine).
        progress: where to report to, and how to cancel.

    Returns:
        The file or folder with the imagery.

    Raises:
        CatalogError: it must be got by hand (the message has the steps), cannot be reached, or is not what it should be.
        DiskFull: there is too little room.
        Cancelled: the user stopped it; the next call goes on.
    """
    found = entry(name_or_entry) if isinstance(name_or_entry, str) else name_or_entry
    folder = Path(folder).resolve()
    found = _narrowed(found, bbox, dates)
    if isinstance(found.how, Manual):
        return _got_by_hand(found, found.how, folder)
    done = _fetched_before(found, folder)
    if done is not None:
        return done
    _require_room(found, folder)
    folder.mkdir(parents=True, exist_ok=True)
    web = Web(frozenset(allow_http))
    with shown_progress(progress) as shown:
        if isinstance(found.how, Paint):
            return _record(found, folder, _painted(found.how, folder, shown), [])
        if isinstance(found.how, Stac):
            assets = stac.search(found.how, web)
            places = [(inside(folder, slug(asset.item)), asset.remote) for asset in assets]
        else:
            places = [(folder, remote) for remote in found.how.files]
        return _downloaded(found, folder, places, shown, web)


def resolve(name: str, folder: str | Path | None = None, *, progress: Progress | None = None) -> Path:
    """The imagery of a data set by its name, fetched on first use.

    Args:
        name: a name in the catalog.
        folder: where it is, or goes to: ``data/NAME`` under the current folder by default.
        progress: where to report to, and how to cancel.

    Raises:
        CatalogError: see `fetch`.
    """
    found = entry(name)
    target = Path("data") / name if folder is None else Path(folder)
    log.info("%s (%s) in %s", found.title, found.licence, target.absolute())
    return fetch(found, target, progress=progress)


def _bundled_folder() -> Path:
    """The entries that come with the workbench: inside an installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "data_catalog", package.parent / "data_catalog"):
        if folder.is_dir():
            return folder
    raise CatalogError(f"The data catalog is not in {package} nor beside it: install the workbench again.")


def _narrowed(found: Entry, bbox: Sequence[float] | None, dates: str | None) -> Entry:
    if bbox is None and dates is None:
        return found
    how = found.how
    if not isinstance(how, Stac):
        raise CatalogError(
            f"{found.name} comes as a whole: bbox and dates are for sources that are searched. Leave them out."
        )
    if bbox is not None:
        if not is_bbox(bbox):
            raise CatalogError(f"bbox {tuple(bbox)} is not west, south, east, north in degrees.")
        how = replace(how, bbox=tuple(float(value) for value in bbox))
    if dates is not None:
        if not is_interval(dates):
            raise CatalogError(f"dates {dates!r} is no ISO day or interval of days, such as 2023-06-01/2023-06-30.")
        how = replace(how, dates=dates)
    return replace(found, how=how)


def _got_by_hand(found: Entry, how: Manual, folder: Path) -> Path:
    if folder.is_dir() and any(folder.iterdir()):
        return _imagery(found, folder)
    steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(how.steps, 1))
    raise CatalogError(
        f"{found.title} must be got by hand:\n{steps}\nPut it into {folder} and run the same call again. "
        f"Homepage: {found.source}. Licence: {found.licence}."
    )


def _require_room(found: Entry, folder: Path) -> None:
    if found.size_mb is not None and not isinstance(found.how, Stac):
        files = found.how.files if isinstance(found.how, Http) else ()
        packed = any(is_package(Path(remote.file_name)) for remote in files)
        require_space(folder, int(found.size_mb * 1e6 * (_UNPACKED_FACTOR if packed else 1)), f"Getting {found.name}")


def _painted(how: Paint, folder: Path, progress: Progress) -> Path:
    from workbench.imagery.synthetic import paint_scene

    return paint_scene(folder, size=how.size, seed=how.seed, progress=progress).imagery


def _downloaded(found: Entry, folder: Path, places: list[tuple[Path, Remote]], progress: Progress, web: Web) -> Path:
    results = []
    for place, remote in places:
        path = inside(place, remote.file_name)
        if not is_package(path):
            results.append(download(remote, place, progress, web))
        elif unpacked_folder(path).exists():
            results.append(unpacked_folder(path))
        else:
            results.append(unpack(download(remote, place, progress, web), progress))
    whole = results[0] if len(results) == 1 else folder
    imagery = _imagery(found, folder) if found.imagery else whole
    _record(found, folder, imagery, [remote.url for _, remote in places])
    for place, remote in places:
        if is_package(Path(remote.file_name)):
            inside(place, remote.file_name).unlink(missing_ok=True)
    return imagery


def _imagery(found: Entry, folder: Path) -> Path:
    path = folder if found.imagery is None else inside(folder, found.imagery)
    if not path.exists():
        raise CatalogError(
            f"{found.name}: {found.imagery} is not in {folder}, which has "
            f"{', '.join(sorted(file.name for file in folder.iterdir())[:10])}. Put the pictures there, or open them by path."
        )
    return path


def _record(found: Entry, folder: Path, path: Path, urls: list[str]) -> Path:
    """Write down what was fetched; this file is what makes a later call know that nothing is missing."""
    record = {
        "name": found.name,
        "title": found.title,
        "source": found.source,
        "licence": found.licence,
        "attribution": found.attribution,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        "urls": [url.partition("?")[0] for url in urls],
        "how": _key(found),
        "imagery": path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name,
    }
    write_json(folder / _RECORD, record)
    return path


def _fetched_before(found: Entry, folder: Path) -> Path | None:
    try:
        record = json.loads((folder / _RECORD).read_text())
        path = inside(folder, record["imagery"])
        known = record["how"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return path if known == _key(found) and path.exists() else None


def _key(found: Entry) -> str:
    text = json.dumps([asdict(found.how), found.imagery], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
