"""From a table to a fitted LogisticModel."""

from dataclasses import dataclass

import torch

from train.descent import OPTIMIZERS, descend
from train.errors import FitError
from train.model import LogisticModel
from train.newton import newton

SOLVERS = {"newton": newton, **dict.fromkeys(OPTIMIZERS, descend)}


@dataclass(frozen=True)
class Options:
    """How to fit.

    solver: "newton", which takes the log loss and no hidden layer, or one of train/descent.py's OPTIMIZERS. l2: the
    penalty's weight, >= 0; l2 / 2 * sum(weight^2) over the scaled columns is added to the log loss summed over the
    rows, the intercept is free. standardize: scale the numeric columns first.
    loss: a key of LOSSES. hidden: the units of a hidden layer, 0 for none; activation: theirs, a key of ACTIVATIONS.
    lr, epochs: of the optimizers, one step over all rows an epoch. seed: of their starting point and of the held-out
    rows.
    """

    solver: str = "newton"
    l2: float = 0.0
    standardize: bool = True
    loss: str = "log"
    hidden: int = 0
    activation: str = "ReLU"
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
    if options.solver == "newton" and (options.hidden or options.loss != "log"):
        raise FitError("newton fits the log loss without a hidden layer; choose another --solver, such as lbfgs")
    model = LogisticModel(features, options.hidden, options.activation)
    with torch.no_grad():
        if options.standardize:
            model.standardize(x)
        design = model.design(x)
    converged, notes = SOLVERS[options.solver](model, design, y, options, log)
    if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
        raise FitError("the fit ran out of float64's range: a column's values are too large; divide it or drop it")
    return Fit(model, converged, tuple(notes))
