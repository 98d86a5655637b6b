"""Authentication: API keys, and the port that alone serves the metrics.

The server calls it before it reads a body.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from passfail.errors import ConfigError, RequestError
from passfail.files import read_regular
from serve.http.errors import Unauthenticated, UnknownPath

if TYPE_CHECKING:
    from serve.settings import Config

METRICS = "/metrics"
KEY = re.compile(rb"[!-~]{16,}")


def read_keys(path: str) -> tuple[bytes, ...]:
    """Read the SHA-256 digests of a file's keys, one key a line.

    Only digests stay in memory. A line that begins with `#` is a comment.

    Raises
    ------
    ConfigError : the file can't be read, holds no key, or a line is no key.
    """
    try:
        lines = [line.strip() for line in read_regular(os.path.realpath(path)).split(b"\n")]
    except OSError as error:
        raise ConfigError(f"API_KEY_FILE names a file that can't be read: {error.strerror}") from error
    keys = [line for line in lines if line and not line.startswith(b"#")]
    if not keys or not all(KEY.fullmatch(key) for key in keys):
        raise ConfigError("API_KEY_FILE must hold keys of at least 16 printable ASCII characters, one on each line")
    return tuple(hashlib.sha256(key).digest() for key in keys)


class Auth:
    """Requires an API key of each request except a probe, and restricts the metrics to one port.

    Probes are health and the metrics. Both ports serve health, so that a probe tests the port that it asks.

    Parameters
    ----------
    is_probe : whether a path belongs to a probe.
    """

    def __init__(self, config: Config, is_probe: Callable[[str], bool]) -> None:
        self._keys, self._metrics_port, self._is_probe = config.api_keys, config.metrics_port, is_probe

    def refusal(self, path: str, port: int | None, headers: Mapping[bytes, bytes]) -> RequestError | None:
        """The reason to refuse a request to that port, or None.

        headers : as sent; names in lower case.
        """
        if self._metrics_port is not None and not self._serves(path, on_its_own=port == self._metrics_port):
            return UnknownPath("this port does not serve the path")
        if self._keys and not self._is_probe(path) and not self._is_key(_given(headers)):
            return Unauthenticated("send Authorization: Bearer KEY, or Basic with the key as the password")
        return None

    def _serves(self, path: str, on_its_own: bool) -> bool:
        """Whether the metrics' own port, or the other one, serves the path."""
        return on_its_own if path == METRICS else not on_its_own or self._is_probe(path)

    def _is_key(self, given: bytes) -> bool:
        # Compare all digests: the time must reveal neither a key's length nor which key matches.
        found = hashlib.sha256(given).digest()
        return sum(hmac.compare_digest(found, key) for key in self._keys) > 0


def _given(headers: Mapping[bytes, bytes]) -> bytes:
    """The key in `Authorization: Bearer KEY`, or the password in Basic, which browsers send."""
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return given.strip()
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(given.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
