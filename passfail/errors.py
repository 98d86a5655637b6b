"""The errors of the service.

ServingError
 +- StartupError             the process must not serve
 |   +- ConfigError          a setting is missing or wrong
 |   +- ManifestError        manifest.json is missing, altered or not ours
 |   +- IntegrityError       a model file is missing or is not the one that was exported
 |   +- CertificateError     the model does not answer here as it was certified
 |   +- RuntimeUnavailable   the chosen runtime is not installed
 +- RequestError             the caller can mend it; carries an HTTP status and the places
     +- MalformedBody        400
     +- UnknownParameter     400
     +- Unauthenticated      401
     +- UnknownModel         404
     +- BodyTooLarge         413
     +- UnsupportedMediaType 415
     +- InvalidInstance      422
     +- Overloaded           503
"""

from dataclasses import dataclass


class ServingError(Exception):
    """Anything the service refuses to do."""


class StartupError(ServingError):
    """The process must not serve; the message is the one line an operator reads."""


class ConfigError(StartupError):
    """A setting is missing or wrong."""


class ManifestError(StartupError):
    """manifest.json is missing, altered or not of a format this release reads."""


class IntegrityError(StartupError):
    """A model file is missing, or its bytes are not those that were exported."""


class CertificateError(StartupError):
    """The model does not answer here, its recorded examples or the short certificate, as it was certified."""


class RuntimeUnavailable(StartupError):
    """The chosen runtime is not installed."""


@dataclass(frozen=True)
class Problem:
    """One fault in a request: where it is (`$[3].hours`) and what is wrong; never the value sent.

    unseen: the feature that has no such level, where that is what is wrong.
    """

    pointer: str
    detail: str
    unseen: str | None = None

    @classmethod
    def unseen_level(cls, pointer, feature):
        """The value there is none of the levels that this feature had in training."""
        return cls(pointer, f"not one of the levels: {', '.join(feature.levels)}", feature.name)


class RequestError(ServingError):
    """The caller can mend it.

    Attributes: `status` (HTTP), `title` (the same for every error of the class), `problems` (each place at fault,
    at most `LIMIT` of them; the message says how many there are, or that there are more).
    """

    LIMIT = 20
    status = 400
    title = "Bad request"

    def __init__(self, detail, problems=()):
        super().__init__(detail)
        self.problems = tuple(problems)[: self.LIMIT]

    @property
    def text(self):
        """All of it in one line, for protocols whose errors are a text."""
        places = "; ".join(f"{found.pointer}: {found.detail}" for found in self.problems)
        return f"{self}: {places}" if places else str(self)


class MalformedBody(RequestError):
    """The body is not JSON or CSV at all."""

    title = "Malformed body"


class Unauthenticated(RequestError):
    """The request brings no API key, or none that is known, where one is asked for."""

    status = 401
    title = "Unauthenticated"


class UnknownModel(RequestError):
    """The request names a model or a version that is not served here."""

    status = 404
    title = "Unknown model"


class UnknownParameter(RequestError):
    """The query asks for something that the endpoint doesn't know."""

    title = "Unknown parameter"


class BodyTooLarge(RequestError):
    """The body has more bytes or rows than the service takes in one request."""

    status = 413
    title = "Body too large"


class UnsupportedMediaType(RequestError):
    """The Content-Type is none of those the endpoint reads."""

    status = 415
    title = "Unsupported media type"


class InvalidInstance(RequestError):
    """The body is well formed, but its rows are not rows of this model."""

    status = 422
    title = "Invalid instance"


class Overloaded(RequestError):
    """As many requests as the service takes at a time are being answered; the answer's Retry-After says when to ask."""

    status = 503
    title = "Overloaded"
