"""Names for the arrays and rows that all of passfail computes with."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Row = Sequence[float | None]  # d numbers in the features' order: of a category the index of its level; None: missing
