"""The settings of the service and of gunicorn, read from the environment.

The reader reports all problems at once.
"""

from __future__ import annotations

import contextlib
import difflib
import ipaddress
import math
import os
import re
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from passfail import signing
from passfail.errors import ConfigError
from passfail.signing import PublicKey
from serve.http import auth

T = TypeVar("T")

RUNTIMES = ("onnx", "torchscript")
WORKER_CLASSES = ("asgi", "gthread")
MOST_PORT = 65535
MOST_WORKERS = 256  # serve/telemetry/shared_counters.py has a row for twice as many
OPEN_FILES_KEPT = 128  # open files that a worker keeps for models, sockets and logs
# Upper bounds of the memory, which tests/docker/test_memory.py holds: gunicorn's parent; each worker, by its runtime;
# and the bytes for each byte of a body that a worker decodes.
MASTER_BYTES, WORKER_BYTES, PER_BODY_BYTE = 96 << 20, {"onnx": 96 << 20, "torchscript": 320 << 20}, 20
BODIES_AT_ONCE = {
    "asgi": 1,
    "gthread": 4,
}  # that a worker decodes: serve/server/dispatch.py, serve/server/gunicorn_conf.py
LEAST_BODY_BYTES = 1 << 20  # the body that the default number of workers leaves memory for
NO_LIMIT = 1 << 60
LIKE = 0.85  # difflib's similarity above which a variable counts as a misspelt setting


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The CPUs that the container's quota (cgroup v2 or v1) and the scheduler allow."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except OSError:
        try:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return cpus
    if quota == "max" or int(quota) <= 0:
        return cpus
    return max(1, min(cpus, math.ceil(int(quota) / int(period))))


def available_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The container's memory limit in bytes (cgroup v2 or v1); None without a limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError):
            text = (cgroup / name).read_text().strip()
            return int(text) if text.isdecimal() and int(text) < NO_LIMIT else None
    return None


def affordable_connections() -> int:
    """The connections that the limit on open files allows one worker, at most 10,000."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 10_000
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, soft - OPEN_FILES_KEPT))


@dataclass(frozen=True)
class Config:
    """The settings of one service.

    Attributes
    ----------
    models : the repository folder.
    model_name : the model to serve; None: the only one in the repository.
    model_version : the version to serve; None: the pinned one, else the highest.
    runtime : "onnx" or "torchscript".
    max_rows, max_body_bytes : limits of one request.
    max_in_flight : requests that one worker answers at a time.
    max_wait_ms : milliseconds that a request may wait for others in the batch thread.
    shadow : the other runtime, to compare answers with; None: no comparison.
    shadow_rate : the share of requests that are compared, in (0, 1].
    shadow_flips : the folder for the rows whose verdict differs on the shadow runtime.
    signed_by : the Ed25519 public key that must have signed each export.
    lowest_version : the lowest version that may be served, whatever is pinned.
    access_log : whether each request is a line on stdout.
    api_keys : the SHA-256 digest of each accepted API key.
    metrics_port : the port that alone serves the metrics; None: `port` serves them.
    vertex_predict, vertex_health : Vertex AI's routes for predictions and health.
    host : the address to listen on, or `unix:PATH`; None: all IPv4 and IPv6 addresses.
    root_path : the path prefix that a reverse proxy strips, such as "/model-a"; "": none.
    workers : the number of gunicorn's workers.
    worker_class : "asgi", or "gthread" for plain Flask.
    max_connections : connections that one worker keeps open at a time.
    keepalive : seconds after which an idle connection is closed.
    drain_seconds : seconds after SIGTERM in which readiness is 503 and new requests are still answered.
    otel : OpenTelemetry's own variables (`OTEL_*`), which its SDK reads too.
    warnings : sentences about variables that look like misspelt settings.
    """

    models: Path = Path("models")
    model_name: str | None = None
    model_version: int | None = None
    runtime: str = "onnx"
    max_rows: int = 100_000
    max_body_bytes: int = 16 * 1024 * 1024
    max_in_flight: int = 128
    shadow: str | None = None
    shadow_rate: float = 0.01
    shadow_flips: Path | None = None
    signed_by: PublicKey | None = None
    lowest_version: int = 1
    access_log: bool = False
    api_keys: tuple[bytes, ...] = ()
    metrics_port: int | None = None
    vertex_predict: str | None = None
    vertex_health: str | None = None
    host: str | None = None
    port: int = 8000
    root_path: str = ""
    workers: int = field(default_factory=lambda: min(available_cpus(), MOST_WORKERS))
    worker_class: str = "asgi"
    max_connections: int = field(default_factory=affordable_connections)
    keepalive: int = 75
    max_wait_ms: int = 50
    drain_seconds: int = 3
    otel: Mapping[str, str] = field(default_factory=dict, hash=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Config:
        """Read the settings from a mapping of environment variables.

        Raises
        ------
        ConfigError : one or more settings are wrong; the message names each.
        """
        read = _Reader(environ)
        default = cls()
        runtime, worker_class = read.choice("RUNTIME", RUNTIMES), read.choice("WORKER_CLASS", WORKER_CLASSES)
        shadow = read.parsed("SHADOW", lambda text: _shadow(text, runtime))
        room = _Room(available_memory(), (runtime, *([shadow] if shadow else [])), worker_class)
        workers = read.whole("WEB_CONCURRENCY", room.workers(default.workers), most=MOST_WORKERS)
        body = read.whole("MAX_BODY_BYTES", room.body_bytes(workers, default.max_body_bytes))
        read.faults += room.faults(workers, body)
        port = read.whole("PORT", read.whole("AIP_HTTP_PORT", default.port, most=MOST_PORT), most=MOST_PORT)
        settings = cls(
            models=Path(read.text("MODELS_DIR") or default.models),
            model_name=read.text("MODEL_NAME"),
            model_version=read.whole("MODEL_VERSION", None),
            lowest_version=read.whole("LOWEST_VERSION", default.lowest_version),
            runtime=runtime,
            max_rows=read.whole("MAX_ROWS", default.max_rows),
            max_body_bytes=body,
            max_in_flight=read.whole("MAX_IN_FLIGHT", default.max_in_flight),
            shadow=shadow,
            shadow_rate=read.parsed("SHADOW_RATE", _rate) or default.shadow_rate,
            shadow_flips=read.parsed("SHADOW_FLIPS", _writable_folder),
            signed_by=read.parsed("SIGNED_BY", lambda path: signing.public_key(path, "SIGNED_BY")),
            access_log=read.choice("ACCESS_LOG", ("off", "on")) == "on",
            api_keys=read.parsed("API_KEY_FILE", auth.read_keys) or (),
            metrics_port=read.parsed("METRICS_PORT", lambda text: _metrics_port(text, port)),
            vertex_predict=read.text("AIP_PREDICT_ROUTE"),
            vertex_health=read.text("AIP_HEALTH_ROUTE"),
            host=read.parsed("HOST", _host),
            port=port,
            root_path=read.parsed("ROOT_PATH", _root_path) or "",
            workers=workers,
            worker_class=worker_class,
            max_connections=read.whole("MAX_CONNECTIONS", default.max_connections),
            keepalive=read.whole("KEEPALIVE", default.keepalive),
            max_wait_ms=read.whole("MAX_WAIT_MS", default.max_wait_ms),
            drain_seconds=read.whole("DRAIN_SECONDS", default.drain_seconds, least=0, most=20),
            otel={name: value for name, value in environ.items() if name.startswith("OTEL_")},
            warnings=read.misspelt(),
        )
        if read.faults:
            raise ConfigError("; ".join(read.faults))
        return settings


def read_or_exit() -> Config:
    """Read the settings; if they are wrong, print one line on stderr and exit with status 3."""
    try:
        return Config.from_env()
    except ConfigError as error:
        print(f"passfail can't start: {error}", file=sys.stderr)
        sys.exit(3)


class _Room(NamedTuple):
    """The workers and bodies that fit into `memory`, in bytes; None: no limit."""

    memory: int | None
    runtimes: Sequence[str]
    worker_class: str

    def needed(self, workers: int, body_bytes: int) -> int:
        """The most bytes that so many workers need for bodies of that size."""
        each = max(WORKER_BYTES.get(name, 0) for name in self.runtimes)
        return MASTER_BYTES + workers * (each + BODIES_AT_ONCE.get(self.worker_class, 1) * PER_BODY_BYTE * body_bytes)

    def workers(self, most: int) -> int:
        """The number of workers that fit, at least one and at most `most`."""
        if self.memory is None:
            return most
        each = self.needed(1, LEAST_BODY_BYTES) - MASTER_BYTES
        return max(1, min(most, (self.memory - MASTER_BYTES) // each))

    def body_bytes(self, workers: int, most: int) -> int:
        """The largest body that fits, in bytes, from LEAST_BODY_BYTES to `most`."""
        if self.memory is None:
            return most
        each = workers * BODIES_AT_ONCE.get(self.worker_class, 1) * PER_BODY_BYTE
        return max(LEAST_BODY_BYTES, min(most, (self.memory - self.needed(workers, 0)) // each))

    def faults(self, workers: int, body_bytes: int) -> list[str]:
        """The error if the memory is too small, in a list; else an empty list."""
        needed = self.needed(workers, body_bytes)
        if self.memory is None or needed <= self.memory:
            return []
        return [
            f"{workers} worker(s) (WEB_CONCURRENCY) that read {body_bytes} bytes (MAX_BODY_BYTES) need "
            f"{(needed >> 20) + 1} MiB of memory, and the limit is {self.memory >> 20} MiB: "
            "raise the limit, or lower one setting"
        ]


class _Reader:
    """Reads settings one by one and collects every fault; an empty variable is not set."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._names: set[str] = set()
        self.faults: list[str] = []

    def text(self, name: str) -> str | None:
        self._names.add(name)
        return self._environ.get(name) or None

    def parsed(self, name: str, parse: Callable[[str], T]) -> T | None:
        """The parsed setting; None if it is not set, or if `parse` raises ConfigError."""
        text = self.text(name)
        try:
            return None if text is None else parse(text)
        except ConfigError as error:
            self.faults.append(str(error))
            return None

    def whole(self, name: str, default: T, least: int = 1, most: int | None = None) -> int | T:
        found = self.parsed(name, lambda text: _whole(name, text, least, most))
        return default if found is None else found

    def choice(self, name: str, values: Sequence[str]) -> str:
        """One of the values; the first if the setting is not set."""
        found = self.text(name) or values[0]
        if found not in values:
            self.faults.append(f"{name} must be {' or '.join(sorted(values))}")
        return found

    def misspelt(self) -> tuple[str, ...]:
        """A warning for each variable that is not a setting but resembles one."""
        found = []
        for name in sorted(self._environ.keys() - self._names):
            for like in difflib.get_close_matches(name.upper(), sorted(self._names), 1, LIKE):
                found.append(f"{name} is not a setting of this service: did you mean {like}?")
        return tuple(found)


def _whole(name: str, text: str, least: int = 1, most: int | None = None) -> int:
    if not (re.fullmatch("[0-9]{1,15}", text) and least <= int(text) and (most is None or int(text) <= most)):
        limits = f"above {least - 1}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{name} must be a whole number {limits}")
    return int(text)


def _shadow(text: str, runtime: str) -> str:
    if text not in RUNTIMES:
        raise ConfigError(f"SHADOW must be {' or '.join(RUNTIMES)}")
    if text == runtime:
        raise ConfigError("SHADOW must differ from RUNTIME")
    return text


def _rate(text: str) -> float:
    if not (re.fullmatch(r"[0-9]*\.?[0-9]+", text, re.ASCII) and 0 < float(text) <= 1):
        raise ConfigError("SHADOW_RATE must be a number above 0, at most 1")
    return float(text)


def _writable_folder(text: str) -> Path:
    if not os.access(text, os.W_OK | os.X_OK):
        raise ConfigError("SHADOW_FLIPS must be a folder that can be written to")
    return Path(text)


def _metrics_port(text: str, port: int) -> int:
    found = _whole("METRICS_PORT", text, most=MOST_PORT)
    if found == port:
        raise ConfigError("METRICS_PORT must differ from PORT")
    return found


def _host(text: str) -> str:
    if re.fullmatch(r"unix:.+|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", text, re.ASCII):
        return text
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError as error:
        raise ConfigError("HOST must be an address, a host's name or unix:PATH") from error


def _root_path(text: str) -> str:
    if not re.fullmatch(r"(/[\w.~-]+)+", text, re.ASCII):
        raise ConfigError("ROOT_PATH must be a path such as /model-a, without a slash at its end")
    return text
