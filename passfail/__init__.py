"""The library that train and serve share: exports, their proof, and their answers.

>>> from passfail import load
>>> model = load("models/admissions")
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passfail.errors import (
        BodyTooLarge,
        CertificateError,
        ConfigError,
        IntegrityError,
        InvalidInstance,
        MalformedBody,
        ManifestError,
        NoInterval,
        NonFiniteLogit,
        PassfailError,
        RequestError,
        RuntimeUnavailable,
        StartupError,
    )
    from passfail.loading import load
    from passfail.manifest import Manifest
    from passfail.model import Model

__all__ = [
    "BodyTooLarge", "CertificateError", "ConfigError", "IntegrityError", "InvalidInstance", "MalformedBody", "Manifest",
    "ManifestError", "Model", "NoInterval", "NonFiniteLogit", "PassfailError", "RequestError", "RuntimeUnavailable",
    "StartupError", "load",
]  # fmt: skip

_MODULES = {"load": "loading", "Manifest": "manifest", "Model": "model"}  # the rest is in passfail/errors.py


def __getattr__(name: str) -> object:
    """Import a public name at its first use: the service's first process needs no NumPy."""
    if name not in __all__:
        raise AttributeError(f"module 'passfail' has no attribute {name!r}")
    return getattr(import_module(f"passfail.{_MODULES.get(name, 'errors')}"), name)
