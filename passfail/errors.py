"""The errors of exports that can't be used, and of rows that can't be answered.

PassfailError
 +- StartupError             the export must not be used; the message is one line for the operator
 |   +- ConfigError          a setting is missing or wrong
 |   +- ManifestError        manifest.json is missing, altered or not of this format
 |   +- IntegrityError       a model file is missing, or is not the one that was exported
 |   +- CertificateError     the model does not answer as certified on this machine
 |   +- RuntimeUnavailable   the chosen runtime is not installed
 +- NonFiniteLogit           the logit of a row overflows float64
 +- RequestError             the caller can fix it; it names the wrong places
     +- MalformedBody        the body is not JSON, CSV or tensors at all
     +- BodyTooLarge         the body has too many bytes or rows
     +- InvalidInstance      the rows are not rows of this model
     +- NoInterval           the model has no intervals

serve/http/errors.py has the HTTP status of each.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


class PassfailError(Exception):
    """Anything that passfail refuses to do."""


class StartupError(PassfailError):
    """The export must not be used; the message is one line for the operator."""


class ConfigError(StartupError):
    """A setting is missing or wrong."""


class ManifestError(StartupError):
    """manifest.json is missing, altered or not of a format that this release reads."""


class IntegrityError(StartupError):
    """A model file is missing, or its bytes are not those that were exported."""


class CertificateError(StartupError):
    """The model does not answer its recorded examples or the short certificate as certified."""


class RuntimeUnavailable(StartupError):
    """The chosen runtime is not installed."""


class NonFiniteLogit(PassfailError):
    """The logit of a row overflows float64.

    Attributes
    ----------
    rows : the indices of all such rows, in ascending order.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        super().__init__("the logit overflows float64")
        self.rows = rows
        self.add_note(f"rows {', '.join(map(str, rows[: RequestError.LIMIT]))}")  # Python prints notes with a traceback

    def at(self, place: Callable[[int], str]) -> "InvalidInstance":
        """The error for the caller; `place` names a row by its index."""
        problems = [Problem(place(row), "its logit overflows float64") for row in self.rows]
        return InvalidInstance("the model has no finite answer", problems)


@dataclass(frozen=True)
class Problem:
    """One fault in a request: its place (`$[3].hours`) and a description without the value.

    Attributes
    ----------
    column : the column that the place names; "" for a whole row or body.
    unseen : whether the fault is a level that the training rows did not have.
    """

    pointer: str
    detail: str
    column: str = ""
    unseen: bool = False


def in_one_line(detail: str, problems: Iterable[Problem]) -> str:
    """An error's detail and all its places, for protocols with one text in an error."""
    places = "; ".join(f"{found.pointer}: {found.detail}" for found in problems)
    return f"{detail}: {places}" if places else detail


def of_a_row(problems: Iterable[Problem]) -> str:
    """The faults of one row, for an answer that stands beside the row."""
    return "; ".join(f"{found.column}: {found.detail}" if found.column else found.detail for found in problems)


class RequestError(PassfailError):
    """A request that the caller can correct.

    Attributes
    ----------
    problems : the wrong places, at most `LIMIT`; the message gives their number, or says that there are more.
    """

    LIMIT = 20

    def __init__(self, detail: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(detail)
        self.problems = tuple(problems)[: self.LIMIT]
        for problem in self.problems:  # Python prints notes with a traceback
            self.add_note(f"{problem.pointer}: {problem.detail}")

    @property
    def text(self) -> str:
        """The message and all places in one line."""
        return in_one_line(str(self), self.problems)


class MalformedBody(RequestError):
    """The body is not JSON, CSV or tensors."""


class BodyTooLarge(RequestError):
    """The body has more bytes or rows than one request may have."""


class InvalidInstance(RequestError):
    """The body is well formed, but its rows are not rows of this model."""


class NoInterval(RequestError):
    """The model has no intervals for its probabilities; the message gives the reason."""
