"""Signed exports: an Ed25519 signature (RFC 8032) of manifest.json.

The manifest holds the SHA-256 of every other file. The signature is a file of 64 bytes beside it, which OpenSSL can
make and verify. The package cryptography is imported only if a key is named.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from passfail.errors import ConfigError, IntegrityError
from passfail.files import read_bounded, read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    PrivateKey = ed25519.Ed25519PrivateKey
    PublicKey = ed25519.Ed25519PublicKey
else:
    PrivateKey = PublicKey = object

Sign = Callable[[bytes], bytes]  # a manifest's bytes to its signature

FILENAME = "manifest.json.sig"
MOST_BYTES = 4096  # of a signature file


def public_key(path: str | Path, setting: str) -> PublicKey:
    """Read the Ed25519 public key in a PEM file. Raises ConfigError, which names `setting`."""
    return cast(PublicKey, _key(path, setting, "public"))


def private_key(path: str | Path, setting: str) -> PrivateKey:
    """Read the unencrypted Ed25519 private key in a PEM file. Raises ConfigError."""
    return cast(PrivateKey, _key(path, setting, "private"))


def verify(key: PublicKey, folder: Path, text: bytes) -> None:
    """Raise IntegrityError unless this key signed the folder's manifest, `text`."""
    from cryptography.exceptions import InvalidSignature

    path = folder / FILENAME
    try:
        key.verify(read_bounded(path, MOST_BYTES), text)
    except OSError as error:
        reason = f"can't be read ({error.strerror}), and SIGNED_BY requires it: export again with SIGN_WITH"
        raise IntegrityError(f"{path}: {reason}") from error
    except InvalidSignature as error:
        reason = "not a signature of this manifest.json by the key in SIGNED_BY: export again with its private key"
        raise IntegrityError(f"{path}: {reason}") from error


def _key(path: str | Path, setting: str, kind: Literal["public", "private"]) -> object:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ModuleNotFoundError as error:
        remedy = "pip install cryptography, or build the image with SIGNED_BY set"
        raise ConfigError(f"{setting} needs the package cryptography: {remedy}") from error
    load: Callable[[bytes], object] = serialization.load_pem_public_key
    if kind == "private":
        load = partial(serialization.load_pem_private_key, password=None)
    try:
        key = load(read_regular(os.path.realpath(path)))
    except OSError as error:
        raise ConfigError(f"{setting} names a file that can't be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{setting} must name a PEM file with an Ed25519 {kind} key, not encrypted") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey if kind == "private" else ed25519.Ed25519PublicKey):
        raise ConfigError(f"{setting} must name a PEM file with an Ed25519 {kind} key; it has one of another kind")
    return key
