"""Plots in files; matplotlib is imported only to draw one."""

from pathlib import Path
from typing import TYPE_CHECKING

from passfail.files import replacing
from train.errors import TrainError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")


def axes(width: float = 7.0, height: float = 4.5) -> "Axes":
    """An empty plot of that size in inches, on a Figure that needs no screen."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots()


def check(path: Path) -> None:
    """Raise TrainError if a plot can't be written to this file, before the work for the plot."""
    if path.suffix not in FORMATS:
        raise TrainError(f"{path}: unknown picture format; give the name one of the endings {', '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise TrainError(f"{path}: its folder does not exist; create it or name another file")


def save(ax: "Axes", path: Path) -> None:
    """Write the plot to `path` in one step. Raises TrainError if it can't be written."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=150)
    except OSError as error:
        raise TrainError(f"{path}: can't be written: {error.strerror}") from error
