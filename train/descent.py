"""The lecture's solver: gradient descent."""

import math

import torch
from torch.nn import functional

from train.errors import FitError


def sgd(model, design, y, options, log, start=None):
    """The lecture's loop: torch.optim.SGD over all rows at once, mean binary cross-entropy.

    Starts where torch.nn.Linear would with the options' seed (uniform within 1 / sqrt(D)), or from start, a pair
    (weight, bias). The loss logged at an epoch is the one before that epoch's step, as on the slide.

    design (n, D), y (n,), float64. Sets the model's weight and bias; returns (whether it converged, notes). Raises
    FitError where it diverges.
    """
    bound = 1 / math.sqrt(design.shape[1])
    generator = torch.Generator().manual_seed(options.seed)
    with torch.no_grad():
        model.weight.uniform_(-bound, bound, generator=generator)
        model.bias.uniform_(-bound, bound, generator=generator)
        if start is not None:
            model.weight.fill_(start[0])
            model.bias.fill_(start[1])
    optimizer = torch.optim.SGD([model.weight, model.bias], lr=options.lr)
    for epoch in range(options.epochs):
        logit = design @ model.weight + model.bias
        # The sigmoid and the cross-entropy in one, so that log(0) can't happen.
        loss = functional.binary_cross_entropy_with_logits(logit, y)
        loss = loss + options.l2 / (2 * len(y)) * (model.weight**2).sum()
        if not math.isfinite(loss.item()):
            raise FitError(f"sgd diverged at epoch {epoch}: lower --lr (it is {options.lr:g}), or use --standardize")
        if epoch % max(1, options.epochs // 10) == 0 or epoch == options.epochs - 1:
            log(f"{epoch} {loss.item()}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return False, [f"sgd took its {options.epochs} steps; it doesn't aim for the exact optimum."]
