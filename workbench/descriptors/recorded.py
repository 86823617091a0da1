"""The encoder that an archive records: loaded by its name, or the user's own, checked to be the one."""

from __future__ import annotations

from workbench.descriptors.encoders import ORIENTATIONS, Encoder, load_encoder
from workbench.descriptors.manifest import Manifest
from workbench.errors import ArchiveMismatch, WeightsUnavailable


def load_recorded(manifest: Manifest) -> Encoder:
    """The encoder that a manifest names.

    Raises:
        WeightsUnavailable: its weights are not on this machine.
        ArchiveMismatch: the weights found are not those of the archive.
    """
    try:
        encoder = load_encoder(manifest.encoder, manifest.weights_path, orientations=manifest.orientations)
    except WeightsUnavailable as error:
        if not any(entry.imported is not None for entry in manifest.rasters):
            raise
        raise WeightsUnavailable(
            f"These descriptors were imported, and the encoder that made them ({manifest.encoder}) is not here, so images "
            "and drawn shapes cannot be described. Search by a tile, or open the archive with encoder=YOUR_ENCODER."
        ) from error
    check_encoder(manifest, encoder)
    return encoder


def check_encoder(manifest: Manifest, encoder: Encoder) -> None:
    """Raise `ArchiveMismatch` unless an encoder is the one the archive was made with."""
    asked = (encoder.name, encoder.weights_hash, encoder.preprocessing.get(ORIENTATIONS, 1))
    mine = (manifest.encoder, manifest.weights_hash, manifest.orientations)
    if not manifest.weights_hash and (encoder.name, encoder.dim) == (manifest.encoder, manifest.dim):
        return  # imported from a file that does not say which weights they were
    if asked != mine:
        made, given = (
            f"{name} (weights {digest[:12]}, orientations: {count})" for name, digest, count in (mine, asked)
        )
        raise ArchiveMismatch(
            f"The archive was made by {made}, not by {given}. Give that encoder, or build another archive."
        )
