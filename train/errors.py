"""The errors of the trainer; the command line prints each in one line, with exit status 2."""


class TrainError(Exception):
    """A command of the trainer failed."""


class DataError(TrainError):
    """The table can't be used; the message names the file, line, column and remedy."""


class FitError(TrainError):
    """The solver found no parameters, or the checkpoint can't be read."""


class ExportError(TrainError):
    """The export failed its proof, or can't be published; nothing was published."""


class LostError(TrainError):
    """Another process of the run was lost; nothing was written."""
