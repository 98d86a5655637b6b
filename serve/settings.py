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
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from passfail import signing
from passfail.errors import ConfigError
from passfail.runtimes import MODEL_FILES
from passfail.signing import PublicKey
from passfail.spelling import whole
from serve.http import auth

T = TypeVar("T")
Parse = Callable[[str, str], T]  # (the variable, its text) -> the value; raises ConfigError

WORKER_CLASSES = ("asgi", "gthread")
MOST_PORT = 65535
MOST_WORKERS = 256  # serve/telemetry/shared_counters.py has a row for twice as many
OPEN_FILES_KEPT = 128  # open files that a worker keeps for models, sockets and logs
# Upper bounds of the memory, which tests/docker/test_memory.py holds: gunicorn's parent; each worker, by its runtime;
# and the bytes for each byte of a body that a worker decodes.
MASTER_BYTES, WORKER_BYTES, PER_BODY_BYTE = 96 << 20, {"onnx": 96 << 20, "torchscript": 320 << 20}, 20
BODIES_AT_ONCE = {"asgi": 1, "gthread": 4}  # that a worker decodes: serve/server/dispatch.py and gunicorn_conf.py
LEAST_BODY_BYTES = 1 << 20  # the body that the default number of workers leaves memory for
NO_LIMIT = 1 << 60
LIKE = 0.85  # difflib's similarity above which a variable counts as a misspelt setting


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The CPUs that the container's quota (cgroup v2 or v1) and the scheduler allow."""
    cpus = len(os.sched_getaffinity(0))
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        with contextlib.suppress(OSError):
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            some = quota != "max" and int(quota) > 0
            return max(1, min(cpus, math.ceil(int(quota) / int(period)))) if some else cpus
    return cpus


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


def _variable(name: str, parse: Parse[T], default: object = None, factory: Callable[[], object] | None = None) -> Any:
    """A field of Config that an environment variable sets."""
    metadata = {"name": name, "parse": parse}
    return field(default_factory=factory, metadata=metadata) if factory else field(default=default, metadata=metadata)


def _text(name: str, text: str) -> str:
    return text


def _checked(words: str, convert: Callable[[str], T], valid: Callable[[str], object] = lambda text: True) -> Parse[T]:
    """Make the Parse of a text that is valid, and that `convert` takes without a ValueError.

    words : the valid texts, for the error.
    """

    def parse(name: str, text: str) -> T:
        with contextlib.suppress(ValueError):
            if valid(text):
                return convert(text)
        raise ConfigError(f"{name} must be {words}")

    return parse


def _whole(least: int = 1, most: int | None = None) -> Parse[int]:
    limits = f"above {least - 1}" if most is None else f"from {least} to {most}"

    def valid(text: str) -> bool:
        number = whole(text)
        return number is not None and least <= number <= (most or number)

    return _checked(f"a whole number {limits}", int, valid)


def _choice(*values: str) -> Parse[str]:
    return _checked(" or ".join(values), str, values.__contains__)


def _rate(text: str) -> object:
    return re.fullmatch(r"[0-9]*\.?[0-9]+", text, re.ASCII) and 0 < float(text) <= 1


def _writable(text: str) -> bool:
    return os.access(text, os.W_OK | os.X_OK)


def _host(text: str) -> str:
    name = re.fullmatch(r"unix:.+|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", text, re.ASCII)
    return text if name else str(ipaddress.ip_address(text.strip("[]")))


PREFIX = re.compile(r"(/[\w.~-]+)+", re.ASCII)


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
    max_wait_ms : milliseconds in which the batch thread must answer a request, with others before it.
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

    models: Path = _variable("MODELS_DIR", lambda _, text: Path(text), Path("models"))
    model_name: str | None = _variable("MODEL_NAME", _text)
    model_version: int | None = _variable("MODEL_VERSION", _whole())
    runtime: str = _variable("RUNTIME", _choice(*MODEL_FILES), "onnx")
    max_rows: int = _variable("MAX_ROWS", _whole(), 100_000)
    max_body_bytes: int = _variable("MAX_BODY_BYTES", _whole(), 16 * 1024 * 1024)
    max_in_flight: int = _variable("MAX_IN_FLIGHT", _whole(), 128)
    shadow: str | None = _variable("SHADOW", _choice(*MODEL_FILES))
    shadow_rate: float = _variable("SHADOW_RATE", _checked("a number above 0, at most 1", float, _rate), 0.01)
    shadow_flips: Path | None = _variable("SHADOW_FLIPS", _checked("a folder that can be written to", Path, _writable))
    signed_by: PublicKey | None = _variable("SIGNED_BY", lambda name, path: signing.public_key(path, name))
    lowest_version: int = _variable("LOWEST_VERSION", _whole(), 1)
    access_log: bool = _variable("ACCESS_LOG", _checked("off or on", "on".__eq__, ("off", "on").__contains__), False)
    api_keys: tuple[bytes, ...] = _variable("API_KEY_FILE", lambda _, path: auth.read_keys(path), ())
    metrics_port: int | None = _variable("METRICS_PORT", _whole(most=MOST_PORT))
    vertex_predict: str | None = _variable("AIP_PREDICT_ROUTE", _text)
    vertex_health: str | None = _variable("AIP_HEALTH_ROUTE", _text)
    host: str | None = _variable("HOST", _checked("an address, a host's name or unix:PATH", _host))
    port: int = _variable("PORT", _whole(most=MOST_PORT), 8000)
    root_path: str = _variable(
        "ROOT_PATH", _checked("a path such as /model-a, without a slash at its end", str, PREFIX.fullmatch), ""
    )
    workers: int = _variable(
        "WEB_CONCURRENCY", _whole(most=MOST_WORKERS), factory=lambda: min(available_cpus(), MOST_WORKERS)
    )
    worker_class: str = _variable("WORKER_CLASS", _choice(*WORKER_CLASSES), WORKER_CLASSES[0])
    max_connections: int = _variable("MAX_CONNECTIONS", _whole(), factory=affordable_connections)
    keepalive: int = _variable("KEEPALIVE", _whole(), 75)
    max_wait_ms: int = _variable("MAX_WAIT_MS", _whole(), 50)
    drain_seconds: int = _variable("DRAIN_SECONDS", _whole(least=0, most=20), 3)
    otel: Mapping[str, str] = field(default_factory=dict, hash=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Config:
        """Read the settings from a mapping of environment variables.

        Raises
        ------
        ConfigError : one or more settings are wrong; the message names each.
        """
        variables = [(f.name, f.metadata["name"], f.metadata["parse"]) for f in fields(cls) if f.metadata]
        given: dict[str, Any] = {}
        faults: list[str] = []
        for field_name, name, parse in [("port", "AIP_HTTP_PORT", _whole(most=MOST_PORT)), *variables]:
            try:
                if text := environ.get(name):  # an empty variable is not set
                    given[field_name] = parse(name, text)
            except ConfigError as error:
                faults.append(str(error))
        found = cls(**given)
        given["workers"], given["max_body_bytes"], unfit = _fitted(available_memory(), found, {*given})
        faults += unfit
        if found.shadow == found.runtime:
            faults.append("SHADOW must differ from RUNTIME")
        if found.metrics_port == found.port:
            faults.append("METRICS_PORT must differ from PORT")
        if faults:
            raise ConfigError("; ".join(faults))
        warnings = _misspelt(environ, sorted(["AIP_HTTP_PORT", *(name for _, name, _ in variables)]))
        otel = {name: value for name, value in environ.items() if name.startswith("OTEL_")}
        return cls(**given, otel=otel, warnings=tuple(warnings))


def read_or_exit() -> Config:
    """Read the settings; if they are wrong, print one line on stderr and exit with status 3."""
    try:
        return Config.from_env()
    except ConfigError as error:
        print(f"passfail can't start: {error}", file=sys.stderr)
        sys.exit(3)


def _fitted(memory: int | None, settings: Config, given: Container[str]) -> tuple[int, int, list[str]]:
    """The workers and the largest body, in bytes, that fit into `memory`; and the faults.

    memory : bytes; None: no limit.
    given : the names of the settings that the caller chose, which stay.
    """
    workers, body = settings.workers, settings.max_body_bytes
    if memory is None:
        return workers, body, []
    each = max(WORKER_BYTES[name] for name in (settings.runtime, settings.shadow) if name)
    per_byte = BODIES_AT_ONCE[settings.worker_class] * PER_BODY_BYTE
    if "workers" not in given:
        workers = max(1, min(workers, (memory - MASTER_BYTES) // (each + per_byte * LEAST_BODY_BYTES)))
    if "max_body_bytes" not in given:
        body = max(LEAST_BODY_BYTES, min(body, (memory - MASTER_BYTES - workers * each) // (workers * per_byte)))
    needed = MASTER_BYTES + workers * (each + per_byte * body)
    fault = (
        f"{workers} worker(s) (WEB_CONCURRENCY) that read {body} bytes (MAX_BODY_BYTES) need "
        f"{(needed >> 20) + 1} MiB of memory, and the limit is {memory >> 20} MiB: "
        "raise the limit, or lower one setting"
    )
    return workers, body, [fault] if needed > memory else []


def _misspelt(environ: Mapping[str, str], settings: Sequence[str]) -> Iterator[str]:
    """A warning for each variable that is no setting but resembles one, or begins its name."""
    for name in sorted(environ.keys() - settings):
        begun = [one for one in settings if "_" in name and one.startswith(f"{name.upper().removesuffix('S')}_")]
        for like in difflib.get_close_matches(name.upper(), settings, 1, LIKE) or begun[:1]:
            yield f"{name} is not a setting of this service: did you mean {like}?"
