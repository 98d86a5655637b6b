"""Which versions of a model there are in the repository, and which of them is to be served."""

import os
import re
from pathlib import Path

from passfail import manifest as contract
from passfail.errors import ConfigError

PINNED = "pinned"  # the file in a model's folder that names the version to serve; without it, the highest


def model_name(config):
    """The name of the model that the settings mean. Raises ConfigError where that is not one."""
    name = config.model_name or _only_model(config.models)
    if not contract.NAME.fullmatch(name):
        raise ConfigError("MODEL_NAME must be letters, digits, . _ and -")
    return name


def versions(home):
    """The numbers of the versions in a model's folder, rising."""
    return sorted(int(path.name) for path in home.glob("[0-9]*") if re.fullmatch("[0-9]+", path.name))


def choices(config):
    """The folders to serve from, the best first: MODEL_VERSION's or the pinned one alone, else from the highest down.

    Raises ConfigError where there is none.
    """
    home = config.models / model_name(config)
    held = versions(home)
    if not held:
        raise ConfigError(f"{home} holds no exported version: run make train export, or set MODEL_NAME")
    version = pinned(home) if config.model_version is None else config.model_version
    if version is None:
        return [home / str(number) for number in reversed(held)]
    if version not in held:
        raise ConfigError(f"{home} holds no version {version}; it holds {', '.join(map(str, held))}")
    return [home / str(version)]


def find(config):
    """The folder of the model and version that the settings name. Raises ConfigError where there is none."""
    return choices(config)[0]


def pinned(home):
    """The version that the model's folder is pinned to, or None. Raises ConfigError where that is no number."""
    path = home / PINNED
    try:
        text = path.read_text("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: make use VERSION=... writes it anew") from error
    if not re.fullmatch("[0-9]{1,15}", text):
        raise ConfigError(f"{path}: must hold a version's number: make use VERSION=... writes it anew")
    return int(text)


def pin(home, version):
    """Pin the model's folder to a version, or with None to none, at once or not at all. Raises ConfigError."""
    path = home / PINNED
    beside = home / f".{PINNED}.{os.getpid()}.tmp"
    try:
        if version is None:
            path.unlink(missing_ok=True)
        else:
            beside.write_text(f"{version}\n")
            beside.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: can't be written: {error.strerror}") from error


def _only_model(models):
    names = sorted(p.name for p in Path(models).glob("*/") if contract.NAME.fullmatch(p.name) and versions(p))
    if not names:
        raise ConfigError(f"{models} holds no model: run make train export, or set MODELS_DIR")
    if len(names) > 1:
        raise ConfigError(f"{models} holds {', '.join(names)}: set MODEL_NAME to one of them")
    return names[0]
