"""The groups of rows with the same value of a column, for figures of each group."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from passfail.arrays import Floats
from train import distributed
from train.table.summary import Fault

MOST = 50  # groups: nobody reads the figures of more
NO_VALUE = "(missing)"


class Groups(NamedTuple):
    """The names of a column's groups, the missing last, and the index (n,) of each row's group."""

    names: tuple[str, ...]
    place: npt.NDArray[np.intp]


def groups(values: Floats, levels: Sequence[str]) -> Groups:
    """The Groups of a column's values (n,).

    The values are indices of the levels or, without levels, numbers. Raises Fault.
    """
    distinct = np.unique(np.concatenate(distributed.gathered(np.unique(values))))
    if not 2 <= len(distinct) <= MOST:
        found = f"{len(distinct)} different values" if len(distinct) > 1 else "every row is in one group"
        raise Fault(None, found, f"--by takes a column of 2 to {MOST} groups")
    names = [levels[int(value)] if levels else f"{value:.15g}" for value in distinct[~np.isnan(distinct)].tolist()]
    return Groups((*names, NO_VALUE), np.searchsorted(distinct, values))
