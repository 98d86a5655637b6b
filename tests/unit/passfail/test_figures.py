"""The figures of scored rows whose outcome is known."""

import numpy as np

from passfail.figures import Figures


def test_the_largest_logits_rank_first_and_last() -> None:
    figures, logit = Figures("logit"), np.array([-1e308, -1.0, 1.0, 1e308])

    figures.add(np.array([0.0, 0.0, 1.0, 1.0]), logit > 0, logit, np.array([0.0, 0.3, 0.7, 1.0]))

    assert figures.measured()["auc"] == 1.0
