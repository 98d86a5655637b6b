"""The errors of the trainer; the command line prints each, with exit status 2."""

from collections.abc import Mapping


class TrainError(Exception):
    """A command of the trainer failed."""


class DataError(TrainError):
    """The table can't be used; the message names the file, line, column and remedy.

    Attributes
    ----------
    options : options, for a shell, that get past all that the message names; None if some are unknown.
    instead : {misspelt name in an option: the column's name}.
    """

    def __init__(self, message: str, options: str | None = None, instead: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.options, self.instead = options, instead or {}


class FitError(TrainError):
    """The solver found no parameters, or the checkpoint can't be read."""


class ExportError(TrainError):
    """The export failed its proof, or can't be published; nothing was published."""


class LostError(TrainError):
    """Another process of the run was lost; nothing was written."""
