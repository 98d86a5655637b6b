"""The lecture's solver: gradient descent, by every optimizer that the lecture lists."""

import math
from dataclasses import dataclass

import torch

from train.errors import FitError
from train.model.losses import LOSSES


@dataclass(frozen=True)
class Optimizer:
    """One of torch.optim's: its class, the learning rate used where none is given, and its other settings.

    The rates are such that on standardized columns 1000 steps get near the optimum; SGD's is the lecture's.
    """

    make: type
    lr: float
    settings: dict


OPTIMIZERS = {
    "sgd": Optimizer(torch.optim.SGD, 0.01, {}),
    "asgd": Optimizer(torch.optim.ASGD, 1.0, {}),
    "adadelta": Optimizer(torch.optim.Adadelta, 3.0, {}),
    "adagrad": Optimizer(torch.optim.Adagrad, 1.0, {}),
    "adam": Optimizer(torch.optim.Adam, 0.1, {}),
    "adamax": Optimizer(torch.optim.Adamax, 0.1, {}),
    "rmsprop": Optimizer(torch.optim.RMSprop, 0.003, {}),
    "rprop": Optimizer(torch.optim.Rprop, 0.01, {}),
    # Not in the lecture. One iteration a step, 25 evaluations for its line search; the loop below says when it arrived.
    "lbfgs": Optimizer(
        torch.optim.LBFGS,
        1.0,
        {
            "max_iter": 1,
            "max_eval": 26,
            "line_search_fn": "strong_wolfe",
            "tolerance_grad": 0.0,
            "tolerance_change": 0.0,
        },
    ),
}

ARRIVED = 1e-9  # the largest entry of the mean loss's gradient at which there is nothing left to do
STILL = 10  # steps that leave the loss as it was, to 1e-12 of itself, say that there is nothing left that can be done


def descend(model, design, y, weight, options, log, start=None):
    """The lecture's training cycle over all rows at once: forward, backward, update.

    options: loss, a key of LOSSES; solver, a key of OPTIMIZERS; lr; epochs, the most steps; l2, whose penalty
    l2 / 2n * sum(weight^2) is added to the mean loss; seed. Each layer starts where torch.nn.Linear would with the seed
    (uniform within 1 / sqrt(inputs)), a linear model also from start, a pair (weight, bias). The loss logged at an
    epoch is the one before that epoch's step, as on the slide.

    design (n, D), y (n,), float64; weight (n,), >= 0: how many rows each row counts for; n above is their sum.
    Sets the model's parameters; returns (whether it converged, notes, the mean loss before each step). Raises FitError
    where it diverges.
    """
    begin(model, options.seed, start)
    loss_of = LOSSES[options.loss]
    optimizer_of = OPTIMIZERS[options.solver]
    optimizer = optimizer_of.make(model.parameters(), lr=options.lr, **optimizer_of.settings)
    slopes = [parameter for name, parameter in model.named_parameters() if name.endswith("weight")]
    rows = weight.sum().item()

    def cycle():
        optimizer.zero_grad()
        of_rows = loss_of.rows(model.score(design), y)
        mean = (weight * of_rows).sum() / rows
        loss = mean + options.l2 / (2 * rows) * sum((slope**2).sum() for slope in slopes)
        loss.backward()
        return loss

    losses = []
    for epoch in range(options.epochs):
        loss = cycle().item()
        losses.append(loss)
        steepest = max(parameter.grad.abs().max().item() for parameter in model.parameters())
        if not math.isfinite(loss + steepest):
            raise _diverged(options, epoch)
        arrived = steepest <= ARRIVED
        if arrived or epoch % max(1, options.epochs // 10) == 0 or epoch == options.epochs - 1:
            log(f"{epoch} {loss}")
        if arrived:
            break
        try:
            optimizer.step(cycle if options.solver == "lbfgs" else None)
        except IndexError as error:  # what torch 2.13's line search raises where it meets no finite loss
            raise _diverged(options, epoch) from error

    z = model.score(design).detach()
    notes = [_arrival(options, losses, steepest, arrived)]
    if separated := arrived and steepest > 0 and options.l2 == 0 and bool(((2 * y - 1) * z > 0)[weight > 0].all()):
        notes = [
            f"Every row is on its own side, so a steeper model always fits better and no best fit exists. Stopped at "
            f"epoch {epoch}, where the loss is all but flat. Use --l2 1 for a fit that exists."
        ]
    if not loss_of.proper:
        slope, intercept = platt(z, y, weight)
        with torch.no_grad():
            model.weight.mul_(slope)
            model.bias.mul_(slope).add_(intercept)
        notes.append(
            f"The loss {options.loss} gives a score and no probability: Platt scaling on the training rows turned the "
            f"score s into the logit {slope:.6g} s + {intercept:.6g}, which is part of the weights."
        )
    return arrived and not separated, notes, losses


def platt(z, y, weight, most_steps=100):
    """The (slope, intercept) for which sigmoid(slope * z + intercept) is the best probability of y given the score z.

    Maximum likelihood by Newton's method, with the targets (n1 + 1) / (n1 + 2) for the n1 rows with y = 1 and
    1 / (n0 + 2) for the others, which keep it finite where z separates the two (Platt, Probabilistic Outputs for
    Support Vector Machines, 1999; Lin, Lin & Weng, Machine Learning 68, 2007). z, y and weight float64 (n,); a weight
    counts as that many rows.
    """
    rows, positives = weight.sum(), weight @ y
    target = torch.where(y == 1, (positives + 1) / (positives + 2), 1 / (rows - positives + 2))
    center = weight @ z / rows
    scale = torch.sqrt(weight @ (z - center) ** 2 / rows)
    if scale <= 1e-12 * (1 + center.abs()):  # one score for all rows: only the share of positives is left to say
        return 1.0, (torch.logit(weight @ target / rows) - center).item()
    matrix = torch.stack([(z - center) / scale, torch.ones_like(z)], dim=1)
    beta = torch.zeros(2, dtype=torch.float64)

    def loss(beta):
        return torch.nn.functional.binary_cross_entropy_with_logits(matrix @ beta, target, weight)

    for _ in range(most_steps):
        p = torch.sigmoid(matrix @ beta)
        curvature = matrix.T @ (matrix * (weight * p * (1 - p))[:, None])
        step = torch.linalg.solve(curvature, matrix.T @ (weight * (p - target)))
        while loss(beta - step) > loss(beta) and step.abs().max() > 1e-9:
            step = step / 2
        beta = beta - step
        if step.abs().max() <= 1e-9:
            break
    slope = beta[0] / scale
    return slope.item(), (beta[1] - slope * center).item()


def begin(model, seed, start=None):
    """Set the model's parameters to where `descend` starts."""
    generator = torch.Generator().manual_seed(seed)
    layers = [(model.weight, model.bias)]
    if model.activation:
        layers.insert(0, (model.hidden_weight, model.hidden_bias))
    with torch.no_grad():
        for weight, bias in layers:
            bound = 1 / math.sqrt(len(weight))
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)
        if start is not None:
            model.weight.fill_(start[0])
            model.bias.fill_(start[1])


def _diverged(options, epoch):
    return FitError(
        f"{options.solver} diverged at epoch {epoch}: lower --lr (it is {options.lr:g}), or use --standardize"
    )


def _arrival(options, losses, steepest, arrived):
    steps = len(losses) - 1
    if arrived:
        return f"{options.solver} arrived at epoch {steps}: the loss's slope is {steepest:.1e} at most."
    moving = [step for step, loss in enumerate(losses) if abs(loss - losses[-1]) > 1e-12 * abs(losses[-1])]
    still = moving[-1] + 1 if moving else 0
    if steps - still < STILL:
        return f"{options.solver} took its {options.epochs} steps; the loss's slope is still {steepest:.1e}."
    if steepest < 1e-6:
        why = "which is where the loss's rounding hides it: as good as arrived"
    else:
        why = "as at a kink, where it jumps past 0: more steps won't help; see whether another --solver ends lower"
    return f"{options.solver} has stood still since epoch {still}. The loss's slope is {steepest:.1e}, {why}."
