"""Exported models, opened as the service opens them."""

from pathlib import Path

from passfail.loading import open_model
from passfail.model import Model
from passfail.repository import find
from passfail.signing import PublicKey


def opened(
    models: Path,
    name: str | None = None,
    version: int | None = None,
    runtime: str = "onnx",
    signed_by: PublicKey | None = None,
) -> Model:
    """The model that a repository's folder serves, or the version asked for. Raises StartupError."""
    return open_model(find(Path(models), name, version), runtime, signed_by)
