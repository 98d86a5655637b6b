"""The errors of the trainer; the command line prints each as one line and exits with status 2."""


class TrainError(Exception):
    """Anything the trainer refuses to do."""


class DataError(TrainError):
    """The table can't be trained on; the message names the file, line and column and the remedy."""


class FitError(TrainError):
    """The solver found no parameters, or the checkpoint that should hold them can't be read."""


class ExportError(TrainError):
    """The export did not pass its own proof, or can't be published; nothing was published."""


class LostError(TrainError):
    """Another process of the run was lost; nothing was written."""
