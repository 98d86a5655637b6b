"""The status of each error (MEANINGS), and the errors that only the service raises."""

from passfail.errors import BodyTooLarge, InvalidInstance, MalformedBody, NoInterval, RequestError


class UnknownParameter(RequestError):
    """The query has a parameter or a value that the endpoint does not know."""


class Unauthenticated(RequestError):
    """The path requires an API key, and the request holds no valid one."""


class UnknownModel(RequestError):
    """The request names a model or a version that is not served here."""


class NotAcceptable(RequestError):
    """The Accept header names nothing that the endpoint can send."""


class UnsupportedEncoding(RequestError):
    """The Content-Encoding is none of those that the service reads."""


class UnsupportedMediaType(RequestError):
    """The Content-Type is none of those that the endpoint reads."""


class Overloaded(RequestError):
    """The worker is at capacity; the response's Retry-After says when to retry."""


# Error -> (status, title of the problem document).
MEANINGS: dict[type[RequestError], tuple[int, str]] = {
    MalformedBody: (400, "Malformed body"),
    UnknownParameter: (400, "Unknown parameter"),
    Unauthenticated: (401, "Unauthenticated"),
    UnknownModel: (404, "Unknown model"),
    NotAcceptable: (406, "Not acceptable"),
    BodyTooLarge: (413, "Body too large"),
    UnsupportedMediaType: (415, "Unsupported media type"),
    UnsupportedEncoding: (415, "Unsupported content encoding"),
    InvalidInstance: (422, "Invalid instance"),
    NoInterval: (422, "No interval"),
    Overloaded: (503, "Overloaded"),
}
# Error -> the headers of its response. Each challenge has its own header: browsers read only the first of a list.
HEADERS: dict[type[RequestError], tuple[tuple[str, str], ...]] = {
    Unauthenticated: tuple(("WWW-Authenticate", f'{scheme} realm="passfail"') for scheme in ("Bearer", "Basic")),
    UnsupportedEncoding: (("Accept-Encoding", "gzip, deflate"),),
    Overloaded: (("Retry-After", "1"),),
}
