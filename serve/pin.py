"""python -m serve use 3: pin the model to a version; a running service follows within two seconds."""

import argparse
import dataclasses
import os
import re
import sys

from passfail.errors import StartupError
from passfail.loading import open_model
from passfail.repository import model_name, pin
from serve.settings import Config


def main(arguments):
    """The exit status: 0, or with one line on standard error 2."""
    parser = argparse.ArgumentParser(prog="python -m serve use", description=__doc__.partition(": ")[2])
    parser.add_argument("version", type=_version, help="a version's number; or highest: follow the highest again")
    parser.add_argument("--model", help="the model's name (MODEL_NAME)")
    options = parser.parse_args(arguments)
    try:
        found = Config.from_env(os.environ)
        name = options.model or found.model_name
        config = dataclasses.replace(found, model_name=name, model_version=options.version, shadow=None)
        name = model_name(config)
        if options.version is not None:
            open_model(config)  # what can't be served is not pinned
        pin(config.models / name, options.version)
    except StartupError as error:
        print(f"passfail can't use it: {error}", file=sys.stderr)
        return 2
    said = "the highest version" if options.version is None else f"version {options.version}"
    print(f"{name}: {said}")
    return 0


def _version(text):
    if text == "highest":
        return None
    if not (re.fullmatch("[0-9]{1,15}", text) and int(text) > 0):
        raise argparse.ArgumentTypeError("takes a version's number, or highest")
    return int(text)
