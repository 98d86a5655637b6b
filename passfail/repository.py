"""The repository models/<name>/<version>/: list, choose, pin, read and verify versions."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from passfail import manifest as contract
from passfail import signing
from passfail.errors import ConfigError, IntegrityError, ManifestError
from passfail.files import read_bounded, replacing
from passfail.manifest import Manifest
from passfail.signing import PublicKey
from passfail.spelling import whole

MOST_MANIFEST_BYTES = 32 * 1024 * 1024
PINNED = "pinned"  # the file in a model's folder that names the version to serve; without it, the highest


def model_name(models: Path, name: str | None = None) -> str:
    """The name of the model: `name`, or the only one in the repository.

    Raises ConfigError if the name is not valid, or if the repository holds no model or several.
    """
    found = name or _only_model(models)
    if not contract.NAME.fullmatch(found):
        raise ConfigError("MODEL_NAME must be letters, digits, . _ and -")
    return found


def versions(home: Path, lowest: int = 1) -> list[int]:
    """The numbers of the versions in a model's folder, from `lowest` on, in ascending order.

    Raises ConfigError if the folder is there and can't be read.
    """
    try:
        names = os.listdir(home)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(f"{home}: can't be read: {error.strerror}") from error
    numbers = (int(name) for name in names if re.fullmatch("[1-9][0-9]{0,14}", name))
    return sorted(number for number in numbers if number >= lowest)


def choices(models: Path, name: str | None = None, version: int | None = None, lowest: int = 1) -> list[Path]:
    """The folders to serve from, the best first.

    With `version` or a pinned version, that folder alone; else all, from the highest version down.

    Raises ConfigError if there is no version from `lowest` on.
    """
    home = models / model_name(models, name)
    held = versions(home, lowest)
    if not held:
        some = "exported version" if lowest == 1 else f"version from {lowest} (LOWEST_VERSION)"
        known = f" to one of {', '.join(names)}" if (names := _exported(models)) else ""
        raise ConfigError(f"{home} holds no {some}: run make train export, or set MODEL_NAME{known}")
    chosen = pinned(home) if version is None else version
    if chosen is not None and 1 <= chosen < lowest:
        raise ConfigError(f"{home}: version {chosen} is below LOWEST_VERSION, {lowest}: choose a higher one")
    if chosen is None:
        return [home / str(number) for number in reversed(held)]
    if chosen not in held:
        raise ConfigError(f"{home} holds no version {chosen}; it holds {', '.join(map(str, held))}")
    return [home / str(chosen)]


def find(models: Path, name: str | None = None, version: int | None = None) -> Path:
    """The folder of `version`, else of the pinned version, else of the highest.

    Raises ConfigError.
    """
    return choices(models, name, version)[0]


def locate(path: Path, version: int | None = None) -> Path:
    """The folder of a version, from that folder, its model's folder, or a repository.

    Raises ConfigError.
    """
    if (path / contract.FILENAME).exists():
        if version not in (None, int(path.name) if path.name.isdecimal() else 0):
            raise ConfigError(f"{path} is not version {version}: give the model's folder")
        return path
    if path.name and versions(path):
        return find(path.parent, path.name, version)
    return find(path, None, version)


def pinned(home: Path) -> int | None:
    """The pinned version of a model's folder, or None.

    Raises ConfigError if the file holds no number.
    """
    path = home / PINNED
    try:
        text = read_bounded(path, 100).decode("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: make use VERSION=... writes it again") from error
    version = whole(text)
    if version is None:
        raise ConfigError(f"{path}: must hold a version's number: make use VERSION=... writes it again")
    return version


def pin(home: Path, version: int | None) -> None:
    """Pin the model's folder to a version, in one step; None removes the pin.

    Raises ConfigError.
    """
    path = home / PINNED
    try:
        if version is None:
            path.unlink(missing_ok=True)
        else:
            with replacing(path) as temporary:
                temporary.write_text(f"{version}\n")
    except OSError as error:
        raise ConfigError(f"{path}: can't be written: {error.strerror}") from error


def read_manifest(folder: Path, signed_by: PublicKey | None = None) -> Manifest:
    """Read the manifest of a version's folder.

    Raises
    ------
    ManifestError : the manifest is not exactly as exported, or belongs to another folder.
    IntegrityError : `signed_by` is given, and that key did not sign the manifest.
    """
    path = folder / contract.FILENAME
    try:
        text = read_bounded(path, MOST_MANIFEST_BYTES)
        manifest = contract.decode(text)
    except OSError as error:
        raise ManifestError(f"{path}: can't be read: {error.strerror}") from error
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from error
    if signed_by is not None:
        signing.verify(signed_by, folder, text)
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise ManifestError(f"{path}: belongs to {manifest.name}/{manifest.version}: export again, don't copy")
    return manifest


def read_verified(folder: Path, manifest: Manifest) -> Mapping[str, bytes]:
    """Read every file of the export, {name: bytes}, and compare its SHA-256 with the manifest.

    Files that no runtime opens are verified too: the proof is valid only for an export without any change.
    Raises IntegrityError.
    """
    return {name: read_file(folder, manifest, name) for name in manifest.files}


def read_file(folder: Path, manifest: Manifest, name: str) -> bytes:
    """The verified bytes of one file that the manifest names. Raises IntegrityError."""
    path = folder / name
    if path.parent != folder or name in ("", ".."):
        raise IntegrityError(f"{folder / contract.FILENAME}: names a file outside its folder: export again")
    try:
        found = read_bounded(path, manifest.files[name].bytes)
    except OSError as error:
        raise IntegrityError(f"{path}: can't be read: {error.strerror}") from error
    return verified(manifest, name, found, path)


def verified(manifest: Manifest, name: str, data: bytes, path: Path | str) -> bytes:
    """The bytes of a file, not altered since the export. Raises IntegrityError with `path`."""
    if hashlib.sha256(data).hexdigest() != manifest.files[name].sha256:
        raise IntegrityError(f"{path}: not the file that was exported (its SHA-256 differs): export again")
    return data


def _exported(models: Path) -> list[str]:
    """The names of the models that have a version."""
    return sorted(p.name for p in models.glob("*/") if contract.NAME.fullmatch(p.name) and versions(p))


def _only_model(models: Path) -> str:
    names = _exported(models)
    if not names:
        raise ConfigError(f"{models} holds no model: run make train export, or set MODELS_DIR")
    if len(names) > 1:
        raise ConfigError(f"{models} holds {', '.join(names)}: set MODEL_NAME to one of them")
    return names[0]
