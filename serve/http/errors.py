"""The status of each error (MEANINGS), and the errors that only the service raises."""

from passfail.errors import BodyTooLarge, InvalidInstance, MalformedBody, NoInterval, RequestError


class UnknownParameter(RequestError):
    """The query has a parameter or a value that the endpoint does not know."""


class Unauthenticated(RequestError):
    """The path requires an API key, and the request holds no valid one."""


class UnknownPath(RequestError):
    """The service has no such path, or does not have it on this port."""


class UnknownModel(RequestError):
    """The request names a model or a version that is not served here."""


class RequestTimeout(RequestError):
    """The request did not come in time."""


class NotAcceptable(RequestError):
    """The Accept header names nothing that the endpoint can send."""


class UnsupportedEncoding(RequestError):
    """The Content-Encoding is none of those that the service reads."""


class UnsupportedMediaType(RequestError):
    """The Content-Type is none of those that the endpoint reads."""


class Overloaded(RequestError):
    """The worker is at capacity; the response's Retry-After says when to retry."""

    def __init__(self) -> None:
        super().__init__("the service is at capacity: retry after 1 second")


# Error -> (status, title of the problem document).
MEANINGS: dict[type[RequestError], tuple[int, str]] = {
    MalformedBody: (400, "Malformed body"),
    UnknownParameter: (400, "Unknown parameter"),
    Unauthenticated: (401, "Unauthenticated"),
    UnknownPath: (404, "Not found"),
    UnknownModel: (404, "Unknown model"),
    NotAcceptable: (406, "Not acceptable"),
    RequestTimeout: (408, "Request timeout"),
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
