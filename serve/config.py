"""The application's settings, read once from the environment. The server's own are in gunicorn_conf.py."""

from dataclasses import dataclass, field
from pathlib import Path

from serve.errors import ConfigError


@dataclass(frozen=True)
class Config:
    """All that the service can be told.

    models: the repository folder. model_name: which model; None takes the only one there. model_version: None takes
    the highest. runtime: "onnx" or "torchscript". max_rows and max_body_bytes: limits of one request.
    """

    models: Path = field(default=Path("models"))
    model_name: str | None = None
    model_version: int | None = None
    runtime: str = "onnx"
    max_rows: int = 100_000
    max_body_bytes: int = 16 * 1024 * 1024

    @classmethod
    def from_env(cls, environ):
        """Read a mapping of environment variables. Raises ConfigError naming every variable that is wrong."""
        faults = []

        def positive(name, default):
            text = environ.get(name, "")
            if text == "":
                return default
            if not (text.isascii() and text.isdigit() and int(text) > 0):
                faults.append(f"{name} must be a whole number above 0")
                return default
            return int(text)

        runtime = environ.get("RUNTIME") or cls.runtime
        if runtime not in ("onnx", "torchscript"):
            faults.append("RUNTIME must be onnx or torchscript")
        config = cls(
            models=Path(environ.get("MODELS_DIR") or "models"),
            model_name=environ.get("MODEL_NAME") or None,
            model_version=positive("MODEL_VERSION", None),
            runtime=runtime,
            max_rows=positive("MAX_ROWS", cls.max_rows),
            max_body_bytes=positive("MAX_BODY_BYTES", cls.max_body_bytes),
        )
        if faults:
            raise ConfigError("; ".join(faults))
        return config
