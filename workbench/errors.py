"""The errors the workbench raises: each message says what was found, what was expected and what to do."""


class WorkbenchError(Exception):
    """Base of every error the workbench raises on purpose; its message is fit to be shown to the user as it is."""


class ShapeMismatch(WorkbenchError, ValueError):
    """Arrays that must fit together do not."""


class PathRefused(WorkbenchError, ValueError):
    """A path leads out of the folder it was given for, or cannot be a file name."""


class FileExists(WorkbenchError, FileExistsError):
    """Something is already there and nobody said to overwrite it."""


class DiskFull(WorkbenchError, OSError):
    """There is too little room; the message gives the bytes needed and free."""


class RasterRefused(WorkbenchError, ValueError):
    """A file that could be read but must not be, or not as it is: driver, remote path, georeference, no-data value."""


class RasterUnreadable(WorkbenchError, OSError):
    """A raster, or a window of it, cannot be read."""


class RasterChanged(WorkbenchError):
    """A raster is not the one that was indexed."""


class CatalogError(WorkbenchError, ValueError):
    """A data catalog entry is unknown, malformed, or cannot be fetched."""


class WeightsUnavailable(WorkbenchError):
    """A network's weights are neither on this machine nor to be had from the network, or do not fit it."""


class ArchiveInvalid(WorkbenchError):
    """Parts of an archive are missing, damaged or disagree."""


class ArchiveMismatch(WorkbenchError, ValueError):
    """An archive was made with another encoder, grid or imagery than the one it is used with."""


class EmbeddingsInvalid(WorkbenchError, ValueError):
    """A file of embeddings, or a row of it, cannot be used; the message names both."""


class QueryInvalid(WorkbenchError, ValueError):
    """A query names nothing that can be searched for."""


class ScorerInvalid(WorkbenchError, ValueError):
    """A saved scorer is not there, or its file cannot be used."""


class LabelInvalid(WorkbenchError, ValueError):
    """A label, class or label file is not usable; nothing was changed."""


class LabelNotSaved(WorkbenchError, OSError):
    """A label could not be written to disk and does not count."""


class TrainingRefused(WorkbenchError, ValueError):
    """There is too little, or only one class, to train from."""


class TrainingFailed(WorkbenchError):
    """Training stopped by itself: a loss that is no number, or no memory; the last good checkpoint is kept."""


class Busy(WorkbenchError):
    """A background job is already running."""


class Cancelled(WorkbenchError):
    """The user stopped a piece of work; what was committed is kept."""
