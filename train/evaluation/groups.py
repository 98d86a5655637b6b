"""The figures of each group of held-out rows: rates, calibration and AUC, with intervals."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from passfail.arrays import Bools, Floats
from passfail.figures import wilson
from passfail.links import score_at
from passfail.measurements import Group, Share
from train.errors import FitError
from train.evaluation.cross_validation import HeldOut, gather
from train.evaluation.metrics import auc, auc_interval, calibration_error, probabilities
from train.table.share import Groups


def by_group(scores: HeldOut | None, link: str, threshold: float, by: Mapping[str, Groups]) -> tuple[Group, ...]:
    """The figures of each non-empty group of held-out rows.

    by : {column: its groups}. Raises FitError if there are no held-out rows.
    """
    if not by:
        return ()
    if scores is None:
        raise FitError("--by needs held-out rows, and there are too few: leave it out")
    p, answered = probabilities(link, scores.logit), scores.logit > score_at(link, threshold)
    found = []
    for column, groups in by.items():
        (place,) = gather(groups.place[scores.rows])
        for index, name in enumerate(groups.names):
            some = (place == index) & (scores.weight > 0)
            if some.any():
                rows = (part[some] for part in (scores.logit, p, scores.y, scores.weight, answered))
                found.append(_group(column, name, *rows))
    return tuple(found)


def _group(column: str, value: str, logit: Floats, p: Floats, y: Floats, weight: Floats, answered: Bools) -> Group:
    positive, negative = weight * y, weight * (1 - y)
    both = positive.any() and negative.any()
    return Group(
        column=column,
        value=value,
        rows=round(weight.sum()),
        positives=_share(positive, weight),
        probability=float(np.average(p, weights=weight)),
        calibration_error=calibration_error(p, y, weight),
        selection_rate=_share(weight * answered, weight),
        true_positive_rate=_share(positive * answered, positive) if positive.any() else None,
        false_positive_rate=_share(negative * answered, negative) if negative.any() else None,
        auc=Share(auc(logit, y, weight), *auc_interval(logit, y, weight)) if both else None,
    )


def _share(part: Floats, whole: Floats) -> Share:
    """The share of the weights `part` (n,) in `whole` (n,), which is not all 0."""
    share = float(part.sum() / whole.sum())
    return Share(share, *wilson(whole.sum(), share))


def lines(groups: Sequence[Group]) -> Iterator[str]:
    """The lines of text that the command fit prints for the figures by group."""
    for column in dict.fromkeys(group.column for group in groups):
        rows = [group for group in groups if group.column == column]
        width = max(len(column) + 3, *(len(group.value) for group in rows))
        heads = ("positive", "selection rate", "true positive rate", "false positive rate", "AUC")
        yield f"{f'by {column}':{width}} {'rows':>7} {'mean p':>7}" + "".join(f"{head:>23}" for head in heads)
        for one in rows:
            shares = (one.positives, one.selection_rate, one.true_positive_rate, one.false_positive_rate, one.auc)
            cells = "".join(f"{_cell(share):>23}" for share in shares)
            yield f"{one.value:{width}} {one.rows:7} {one.probability:7.4f}{cells}"


def _cell(share: Share | None) -> str:
    return "none" if share is None else f"{share.value:.3f} ({share.low:.3f}, {share.high:.3f})"
