"""From a table to a fitted LogisticModel."""

from dataclasses import dataclass

import torch

from train.descent import sgd
from train.errors import FitError
from train.model import LogisticModel
from train.newton import newton

SOLVERS = {"newton": newton, "sgd": sgd}


@dataclass(frozen=True)
class Options:
    """How to fit.

    solver: "newton" or "sgd". l2: the penalty's weight, >= 0; l2 / 2 * sum(weight^2) over the scaled columns is added
    to the log loss summed over the rows, the intercept is free. standardize: scale the numeric columns first.
    lr, epochs: of sgd, one step over all rows an epoch. seed: of sgd's starting point and of the held-out rows.
    """

    solver: str = "newton"
    l2: float = 0.0
    standardize: bool = True
    lr: float = 0.01
    epochs: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Fit:
    """A fitted model, whether its solver arrived, and what the user should know about it, in plain words."""

    model: LogisticModel
    converged: bool
    notes: tuple[str, ...]


def fit(features, x, y, options, log):
    """Fit a model. x float64 (n, d), y float64 (n,) of 0 and 1, both tensors; log takes one line of text.

    The same arguments give the same parameters, bit for bit. Raises FitError where the solver diverges.
    """
    model = LogisticModel(features)
    with torch.no_grad():
        if options.standardize:
            model.standardize(x)
        design = model.design(x)
    converged, notes = SOLVERS[options.solver](model, design, y, options, log)
    if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
        raise FitError("the fit ran out of float64's range: a column's values are too large; divide it or drop it")
    return Fit(model, converged, tuple(notes))
