"""The recorded examples: rows with the fit's answers, which every start repeats."""

from collections.abc import Sequence

import numpy as np
import torch

from passfail.arrays import Floats
from passfail.columns import instance, row
from passfail.links import score_at
from passfail.manifest import Example, Feature, Target
from passfail.proof import samples
from passfail.proof.reference import Unpublished
from train.model.logistic import LogisticModel, parameters


def examples(
    features: tuple[Feature, ...], target: Target, threshold: float, model: LogisticModel, sample: Floats
) -> tuple[Example, ...]:
    """Answer the rows to record; sample (n, d) has rows of the table.

    The last two are neighbouring floats between which the verdict changes, unless there is a hidden layer or no number.
    """
    subject = Unpublished(features, parameters(model), score_at(model.link, threshold), model.link)
    x = np.array([row(features, one) for one in instances(features, sample)])
    x = np.concatenate([x, samples.boundary(subject, x[1:2], samples.Draws(0))[:2]])
    with torch.inference_mode():
        logit, probability = (part.tolist() for part in model(torch.from_numpy(x)))
    labels = [target.labels[z > subject.logit_threshold] for z in logit]
    rows = (instance(features, one) for one in x.tolist())
    return tuple(Example(*one) for one in zip(rows, logit, probability, labels, strict=True))


def instances(features: Sequence[Feature], sample: Floats) -> list[dict[str, float | str | None]]:
    """Make the rows: four across the training range, one beyond it, and some missing.

    There is one row without a value for each nullable feature. The rows come from the features' ranges and levels, not
    from the table, whose rows may be personal data. A column of integers in the sample (n, d) has integers here, too.
    """
    whole = (np.isnan(sample) | (sample == np.floor(sample))).all(axis=0).tolist()
    steps = enumerate([0.0, 1 / 3, 2 / 3, 1.0, 2.0])
    made = [{f.name: _at(f, step, share, n) for f, n in zip(features, whole, strict=True)} for step, share in steps]
    return made + [{**made[1], feature.name: None} for feature in features if feature.nullable]


def _at(feature: Feature, step: int, share: float, whole: bool) -> float | str | None:
    """The level of this step, or the number at this share of the training range."""
    if feature.kind == "categorical":
        return feature.levels[step % len(feature.levels)]
    least, most = feature.range
    number = least + share * (most - least)
    return float(round(number)) if whole else number
