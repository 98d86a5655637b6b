"""The door: who is let in, where an API key or a port of its own for the metrics is set; without either there is none.

It is asked before a body is read. What it doesn't let in, Flask refuses on both roads (`serve/server/flask_app.py`).
"""

import base64
import binascii
import hashlib
import hmac
import re

from passfail.errors import ConfigError

METRICS = "/metrics"
HEALTH = {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/ping"}
READY = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/ready")
KEY = re.compile(rb"[!-~]{16,}")
# Two headers, not a list in one, of which browsers read no more than the first.
CHALLENGES = [(b"WWW-Authenticate", b'%b realm="passfail"' % scheme) for scheme in (b"Bearer", b"Basic")]


def read_keys(path):
    """The SHA-256 of each key in a file of one a line, so that no copy of a key stays. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            keys = file.read().split()
    except OSError as error:
        raise ConfigError(f"API_KEY_FILE names a file that can't be read: {error.strerror}") from error
    if not keys or not all(KEY.fullmatch(key) for key in keys):
        raise ConfigError("API_KEY_FILE must hold keys of at least 16 printable ASCII characters, one a line")
    return tuple(hashlib.sha256(key).digest() for key in keys)


def door(config):
    """The Door that the settings ask for, or None."""
    return Door(config) if config.api_keys or config.metrics_port else None


def is_health(config, path):
    """Whether the path is one of health's: open to all, and answered however much else there is to do."""
    return path in HEALTH or path == config.vertex_health or READY.fullmatch(path) is not None


class Door:
    """Everything but health and metrics takes a key, if there is one; and the metrics may have a port of their own.

    On that port nothing else is but health, which is on both: a probe that asks elsewhere proves little.
    """

    def __init__(self, config):
        self._config, self._keys, self._metrics_port = config, config.api_keys, config.metrics_port

    def serves(self, path, port):
        """Whether there is such a path on that port, as far as that is the door's to say."""
        if self._metrics_port is None or is_health(self._config, path):
            return True
        return (path == METRICS) == (port == self._metrics_port)

    def admits(self, path, headers):
        """Whether the path is open to all, or the headers (names in lower case) bring a key."""
        open_to_all = not self._keys or path == METRICS or is_health(self._config, path)
        return open_to_all or self._holds(_given(headers))

    def _holds(self, given):
        # Of digests, and of all of them: neither how long a key is nor which one it was takes another time.
        found = hashlib.sha256(given).digest()
        return sum(hmac.compare_digest(found, key) for key in self._keys) > 0


def _given(headers):
    """The key that `Authorization: Bearer KEY` brings, or, for browsers, Basic as the password of any user: bytes."""
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return given.strip()
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(given.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
