"""The rasters of an archive where they are now: recognised by their content, and what is wrong with them in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from affine import Affine

from workbench.descriptors.manifest import Manifest, RasterEntry, absolute_paths
from workbench.errors import ArchiveMismatch, RasterChanged, RasterRefused, RasterUnreadable
from workbench.files import sha256
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Band, Imagery, Raster


def find_rasters(manifest: Manifest, imagery: Imagery | str | Path | None) -> tuple[Imagery, list[str]]:
    """The manifest's rasters where they are now, and what is wrong with them."""
    if imagery is not None and not isinstance(imagery, Imagery):
        imagery = open_imagery(imagery)
    known = {raster.fingerprint: raster for raster in imagery or ()}
    rasters: list[Raster] = []
    problems: list[str] = []
    for entry in manifest.rasters:
        raster = known.get(entry.fingerprint)
        if raster is None:
            raster, problem = _reopen(entry)
            problems += problem
        rasters.append(replace(raster, date=entry.date or raster.date))
    return Imagery(tuple(rasters)), problems


def relocated(manifest: Manifest, imagery: Imagery | str | Path) -> Manifest:
    """The manifest with the paths of every raster that is found again by its content; the others keep theirs.

    Raises:
        ArchiveMismatch: none of the archive's rasters is there.
    """
    if not isinstance(imagery, Imagery):
        imagery = open_imagery(imagery)
    there = {raster.fingerprint: raster for raster in imagery}
    found = {entry.fingerprint for entry in manifest.rasters if _found(entry, there.get(entry.fingerprint))}
    if not found:
        names = ", ".join(entry.name for entry in manifest.rasters[:3])
        raise ArchiveMismatch(
            f"None of the archive's rasters ({names} ...) is among the {len(imagery)} given; they are recognised by their "
            "content. Give the folder that holds them, or run build_archive on them if they were changed."
        )
    entries = (
        replace(entry, paths=absolute_paths(there[entry.fingerprint])) if entry.fingerprint in found else entry
        for entry in manifest.rasters
    )
    return replace(manifest, rasters=tuple(entries))


def changed_content(manifest: Manifest, imagery: Imagery, known: Sequence[str]) -> list[str]:
    """Which files hold other bytes than those indexed, in words; they are read whole. Rasters named in ``known`` are not."""
    found = []
    for raster, entry in zip(imagery, manifest.rasters, strict=True):
        files = [path for path in raster.paths if path.is_file()]
        if any(sha256(path) not in entry.sha256 for path in files) and not any(entry.name in said for said in known):
            found.append(
                f"{entry.name} holds other pixels than those indexed, though its size and date are the same. Restore it "
                "from a copy, or save it again and run build_archive."
            )
    return found


def _found(entry: RasterEntry, raster: Raster | None) -> bool:
    return raster is not None and len(raster.paths) == len(entry.paths)


def _reopen(entry: RasterEntry) -> tuple[Raster, list[str]]:
    if entry.imported is not None:
        return entry.imported.raster(entry.name, entry.fingerprint, entry.width, entry.height), []
    numbers = (
        [number for _, number, _ in entry.bands] if len(entry.paths) == 1 else [name for _, _, name in entry.bands]
    )
    declared = entry.nodata if entry.user_nodata else None
    source = entry.paths[0] if len(entry.paths) == 1 else list(entry.paths)
    try:
        raster = open_imagery(source, bands=numbers, nodata=declared, allow_vrt=True)[0]
        if (raster.width, raster.height) != (entry.width, entry.height) or raster.fingerprint != entry.fingerprint:
            raise RasterChanged(
                f"{entry.name} has changed since it was indexed. Its hits may show other ground: run build_archive again "
                "to index it anew."
            )
        return replace(raster, name=entry.name), []
    except (RasterUnreadable, RasterRefused, PermissionError) as error:
        bands = tuple(Band(Path(entry.paths[place]), number, name) for place, number, name in entry.bands)
        absent = Raster(
            entry.name,
            bands,
            entry.width,
            entry.height,
            "uint8",
            Affine.identity(),
            None,
            entry.nodata,
            entry.fingerprint,
        )
        return absent, [
            f"{entry.name} is not where it was: {error} If it moved, open the archive with imagery=FOLDER, or keep "
            "its new place with archive.relocate(FOLDER)."
        ]
    except RasterChanged as error:
        return replace(raster, name=entry.name), [str(error)]
