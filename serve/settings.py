"""The application's settings, read once from the environment. The server's own are in gunicorn_conf.py."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from passfail import signing
from passfail.errors import ConfigError
from serve.http import auth


@dataclass(frozen=True)
class Config:
    """All that the service can be told.

    models: the repository folder. model_name: which model; None takes the only one there. model_version: None takes
    the highest. runtime: "onnx" or "torchscript". max_rows and max_body_bytes: limits of one request. max_in_flight:
    how many a worker has at a time. shadow: the other runtime, to compare a share `shadow_rate` of the requests with,
    or None; shadow_flips: the folder for rows whose verdict differs there. signed_by: the Ed25519 public key whose
    signature exports must have, or None. access_log: whether each request is a line on stdout. api_keys: the SHA-256
    of each key that opens the door (serve/http/auth.py). metrics_port: the port that has the metrics, None for all.
    vertex_predict, vertex_health: the routes that Vertex AI asks, or None.
    """

    models: Path = field(default=Path("models"))
    model_name: str | None = None
    model_version: int | None = None
    runtime: str = "onnx"
    max_rows: int = 100_000
    max_body_bytes: int = 16 * 1024 * 1024
    max_in_flight: int = 128
    shadow: str | None = None
    shadow_rate: float = 0.01
    shadow_flips: Path | None = None
    signed_by: object | None = None
    access_log: bool = False
    api_keys: tuple[bytes, ...] = ()
    metrics_port: int | None = None
    vertex_predict: str | None = None
    vertex_health: str | None = None

    @classmethod
    def from_env(cls, environ):
        """Read a mapping of environment variables. Raises ConfigError naming every variable that is wrong."""
        faults = []

        def positive(name, default):
            text = environ.get(name, "")
            if text == "":
                return default
            if not (re.fullmatch("[0-9]{1,15}", text) and int(text) > 0):
                faults.append(f"{name} must be a whole number above 0")
                return default
            return int(text)

        runtime = environ.get("RUNTIME") or cls.runtime
        if runtime not in ("onnx", "torchscript"):
            faults.append("RUNTIME must be onnx or torchscript")
        shadow = environ.get("SHADOW") or None
        if shadow not in (None, "onnx", "torchscript"):
            faults.append("SHADOW must be onnx or torchscript")
        elif shadow == runtime:
            faults.append("SHADOW must be the runtime that RUNTIME is not")
        rate = environ.get("SHADOW_RATE") or str(cls.shadow_rate)
        if not (re.fullmatch(r"[0-9]*\.?[0-9]+", rate, re.ASCII) and 0 < float(rate) <= 1):
            faults.append("SHADOW_RATE must be a number above 0, at most 1")
            rate = "1"
        flips = Path(environ["SHADOW_FLIPS"]) if environ.get("SHADOW_FLIPS") else None
        if flips and not os.access(flips, os.W_OK | os.X_OK):
            faults.append("SHADOW_FLIPS must be a folder that can be written to")
        signed_by = None
        try:
            if environ.get("SIGNED_BY"):
                signed_by = signing.public_key(environ["SIGNED_BY"], "SIGNED_BY")
        except ConfigError as error:
            faults.append(str(error))
        api_keys = ()
        try:
            if environ.get("API_KEY_FILE"):
                api_keys = auth.read_keys(environ["API_KEY_FILE"])
        except ConfigError as error:
            faults.append(str(error))
        access_log = environ.get("ACCESS_LOG") or "off"
        if access_log not in ("on", "off"):
            faults.append("ACCESS_LOG must be on or off")
        config = cls(
            models=Path(environ.get("MODELS_DIR") or "models"),
            model_name=environ.get("MODEL_NAME") or None,
            model_version=positive("MODEL_VERSION", None),
            runtime=runtime,
            max_rows=positive("MAX_ROWS", cls.max_rows),
            max_body_bytes=positive("MAX_BODY_BYTES", cls.max_body_bytes),
            max_in_flight=positive("MAX_IN_FLIGHT", cls.max_in_flight),
            shadow=shadow,
            shadow_rate=float(rate),
            shadow_flips=flips,
            signed_by=signed_by,
            access_log=access_log == "on",
            api_keys=api_keys,
            metrics_port=positive("METRICS_PORT", None),
            vertex_predict=environ.get("AIP_PREDICT_ROUTE") or None,
            vertex_health=environ.get("AIP_HEALTH_ROUTE") or None,
        )
        if faults:
            raise ConfigError("; ".join(faults))
        return config
