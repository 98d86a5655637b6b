"""Pictures: matplotlib is loaded only where one is drawn, and a file is there whole or not at all."""

import os
from pathlib import Path

from train.errors import TrainError

FORMATS = (".png", ".svg", ".pdf")


def axes(width=7.0, height=4.5):
    """An empty picture of that size in inches, to draw in: matplotlib's Axes, of a Figure that needs no screen."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots()


def check(path):
    """Refuse a file that can't be a picture, before the work that leads to it."""
    if path.suffix not in FORMATS:
        raise TrainError(f"{path}: a picture's name ends in {', '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise TrainError(f"{path}: there is no such folder to write it in")


def save(ax, path):
    """Write the picture beside `path`, then rename. Raises TrainError where it can't be written."""
    path = Path(path)
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        ax.figure.savefig(beside, dpi=150)
        beside.replace(path)
    except OSError as error:
        raise TrainError(f"{path}: can't be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
