"""Why an export can't be used, and why rows can't be answered.

PassfailError
 +- StartupError             the export must not be used; the message is the one line that an operator reads
 |   +- ConfigError          a setting is missing or wrong
 |   +- ManifestError        manifest.json is missing, altered or not of this format
 |   +- IntegrityError       a model file is missing, or is not the one that was exported
 |   +- CertificateError     the model does not answer here as it was certified
 |   +- RuntimeUnavailable   the chosen runtime is not installed
 +- NonFiniteLogit           the logit of a row is beyond float64
 +- RequestError             the caller can fix it; carries the places that are wrong
     +- MalformedBody        the body is not JSON, CSV or tensors at all
     +- BodyTooLarge         the body has too many bytes or rows
     +- InvalidInstance      the rows are not rows of this model
     +- NoInterval           the model has no intervals

What each means over HTTP stands in serve/http/errors.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class PassfailError(Exception):
    """Anything that passfail refuses to do."""


class StartupError(PassfailError):
    """The export must not be used; the message is the one line that an operator reads."""


class ConfigError(StartupError):
    """A setting is missing or wrong."""


class ManifestError(StartupError):
    """manifest.json is missing, altered or not of a format that this release reads."""


class IntegrityError(StartupError):
    """A model file is missing, or its bytes are not those that were exported."""


class CertificateError(StartupError):
    """The model does not answer its recorded examples, or the short certificate, as it was certified."""


class RuntimeUnavailable(StartupError):
    """The chosen runtime is not installed."""


class NonFiniteLogit(PassfailError):
    """The logit of a row is beyond what float64 can carry.

    Attributes
    ----------
    rows : the indices of all such rows, rising.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        super().__init__("the logit is beyond what float64 can carry")
        self.rows = rows


@dataclass(frozen=True)
class Problem:
    """One fault in a request: where it is (`$[3].hours`) and what is wrong; never the value sent.

    Attributes
    ----------
    unseen : the feature whose training rows had no such level, if that is what is wrong.
    """

    pointer: str
    detail: str
    unseen: str | None = None


class RequestError(PassfailError):
    """The caller can fix it.

    Attributes
    ----------
    problems : the places at fault, at most `LIMIT` of them; the message says how many there are, or that there are
        more.
    """

    LIMIT = 20

    def __init__(self, detail: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(detail)
        self.problems = tuple(problems)[: self.LIMIT]

    @property
    def text(self) -> str:
        """The message and all places in one line, for protocols whose errors are a text."""
        places = "; ".join(f"{found.pointer}: {found.detail}" for found in self.problems)
        return f"{self}: {places}" if places else str(self)


class MalformedBody(RequestError):
    """The body is not JSON, CSV or tensors at all."""


class BodyTooLarge(RequestError):
    """The body has more bytes or rows than one request may have."""


class InvalidInstance(RequestError):
    """The body is well formed, but its rows are not rows of this model."""


class NoInterval(RequestError):
    """The model has no intervals for its probabilities; the message says why."""
