"""Authentication: API keys, and the port that alone serves the metrics. Asked before a body is read."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from passfail.errors import ConfigError

if TYPE_CHECKING:
    from serve.settings import Config

METRICS = "/metrics"
KEY = re.compile(rb"[!-~]{16,}")


def read_keys(path: str) -> tuple[bytes, ...]:
    """Read a file of keys, one a line, as the SHA-256 digest of each, so that no copy of a key stays.

    A line that begins with `#` is a comment.

    Raises
    ------
    ConfigError : the file can't be read, holds no key, or a line is no key.
    """
    try:
        with open(path, "rb") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise ConfigError(f"API_KEY_FILE names a file that can't be read: {error.strerror}") from error
    keys = [line for line in lines if line and not line.startswith(b"#")]
    if not keys or not all(KEY.fullmatch(key) for key in keys):
        raise ConfigError("API_KEY_FILE must hold keys of at least 16 printable ASCII characters, one a line")
    return tuple(hashlib.sha256(key).digest() for key in keys)


class Auth:
    """Asks a key of every request except probes, and keeps the metrics to a port of their own.

    Probes are health and the metrics. Health is on both ports: a probe that asks elsewhere proves little.

    Parameters
    ----------
    is_probe : whether a path is a probe's.
    """

    def __init__(self, config: Config, is_probe: Callable[[str], bool]) -> None:
        self._keys, self._metrics_port, self._is_probe = config.api_keys, config.metrics_port, is_probe

    def serves(self, path: str, port: int | None) -> bool:
        """Whether the path may be asked for on that port."""
        if self._metrics_port is None:
            return True
        if path == METRICS:
            return port == self._metrics_port
        return port != self._metrics_port or self._is_probe(path)

    def admits(self, path: str, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the path takes no key, or the headers (names in lower case) bring one."""
        return not self._keys or self._is_probe(path) or self._is_key(_given(headers))

    def _is_key(self, given: bytes) -> bool:
        # All digests are compared: the time depends neither on a key's length nor on which key it is.
        found = hashlib.sha256(given).digest()
        return sum(hmac.compare_digest(found, key) for key in self._keys) > 0


def _given(headers: Mapping[bytes, bytes]) -> bytes:
    """The key of `Authorization: Bearer KEY` or, for browsers, of Basic as any user's password."""
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return given.strip()
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(given.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
