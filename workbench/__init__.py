"""Find things in aerial and satellite imagery: search, label, refine, train a U-Net, export polygons.

The public names are loaded when they are first used, so that importing the package costs no torch and no widgets.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.descriptors.archive import Archive, open_archive
    from workbench.descriptors.build import build_archive
    from workbench.descriptors.embeddings.exporting import export_embeddings
    from workbench.descriptors.embeddings.importing import import_embeddings
    from workbench.descriptors.encoders import load_encoder
    from workbench.errors import WorkbenchError
    from workbench.imagery.catalog import catalog, fetch
    from workbench.imagery.opening import open_imagery
    from workbench.imagery.synthetic import paint_scene
    from workbench.labels.export import export_chips, open_chips
    from workbench.labels.store import LabelStore
    from workbench.search.index import Index
    from workbench.search.saved import load_scorer
    from workbench.search.where import Where
    from workbench.segmentation.polygons import polygonize, save_polygons
    from workbench.segmentation.predict import predict
    from workbench.segmentation.train import resume_training, train_unet
    from workbench.session import Session
    from workbench.widgets.workbench import Workbench

__version__ = "0.1.0"

_HOMES = {
    "Archive": "descriptors.archive",
    "Index": "search.index",
    "LabelStore": "labels.store",
    "Session": "session",
    "Where": "search.where",
    "Workbench": "widgets.workbench",
    "WorkbenchError": "errors",
    "build_archive": "descriptors.build",
    "catalog": "imagery.catalog",
    "export_chips": "labels.export",
    "export_embeddings": "descriptors.embeddings.exporting",
    "fetch": "imagery.catalog",
    "import_embeddings": "descriptors.embeddings.importing",
    "load_encoder": "descriptors.encoders",
    "load_scorer": "search.saved",
    "open_archive": "descriptors.archive",
    "open_chips": "labels.export",
    "open_imagery": "imagery.opening",
    "paint_scene": "imagery.synthetic",
    "polygonize": "segmentation.polygons",
    "predict": "segmentation.predict",
    "resume_training": "segmentation.train",
    "save_polygons": "segmentation.polygons",
    "train_unet": "segmentation.train",
}

__all__ = [
    "Archive",
    "Index",
    "LabelStore",
    "Session",
    "Where",
    "Workbench",
    "WorkbenchError",
    "build_archive",
    "catalog",
    "export_chips",
    "export_embeddings",
    "fetch",
    "import_embeddings",
    "load_encoder",
    "load_scorer",
    "open_archive",
    "open_chips",
    "open_imagery",
    "paint_scene",
    "polygonize",
    "predict",
    "resume_training",
    "save_polygons",
    "train_unet",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    value = getattr(import_module(f"workbench.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
