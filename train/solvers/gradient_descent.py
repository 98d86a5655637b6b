"""The lecture's solver: gradient descent, with each optimizer that the lecture lists."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from train.errors import FitError
from train.model.logistic import LogisticModel
from train.model.losses import LOSSES
from train.solvers.options import Options

# Each step of LBFGS is one iteration with 25 evaluations for its line search; `descend` checks convergence.
LBFGS = partial(torch.optim.LBFGS, max_iter=1, max_eval=26, line_search_fn="strong_wolfe",
                tolerance_grad=0.0, tolerance_change=0.0)  # fmt: skip
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "asgd": torch.optim.ASGD,
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop,
    "lbfgs": LBFGS,
}

CONVERGED = 1e-9  # the largest entry of the mean loss's gradient at convergence
STILL = 10  # steps with a relative change of the loss below 1e-12, after which the optimizer counts as stalled


def descend(
    model: LogisticModel, design: Tensor, y: Tensor, weight: Tensor, options: Options, log: Callable[[str], object]
) -> tuple[bool, str, tuple[float, ...]]:
    """Run the lecture's training cycle over all rows at once: forward, backward, update.

    The penalty l2 / 2n * sum(weight^2) is added to the mean loss. The loss logged at an epoch is the one before that
    epoch's step, as in the lecture.

    Parameters
    ----------
    model : its parameters are the start (`initialize`), and are set to the result.
    design : float64 (n, D).
    y : float64 (n,) of 0 and 1.
    weight : float64 (n,), >= 0, the number of rows for which each row counts; n in the formulas is their sum.
    options : loss, solver, lr, epochs (the number of steps), l2.
    log : called with one line of text at a time.

    Returns
    -------
    (whether it converged, a note for the user, the mean loss before each step).

    Raises
    ------
    FitError : the loss or its gradient is not finite.
    """
    loss_of = LOSSES[options.loss]
    optimizer = OPTIMIZERS[options.solver](model.parameters(), lr=options.lr)
    penalised = [parameter for name, parameter in model.named_parameters() if name.endswith("weight")]
    rows = weight.sum().item()

    def cycle() -> Tensor:
        optimizer.zero_grad()
        mean = (weight * loss_of.rows(model.score(design), y)).sum() / rows
        loss = mean + options.l2 / (2 * rows) * sum((parameter**2).sum() for parameter in penalised)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    losses: list[float] = []
    for epoch in range(options.epochs):
        loss = cycle().item()
        losses.append(loss)
        steepest = max(p.grad.abs().max().item() for p in model.parameters() if p.grad is not None)
        if not math.isfinite(loss + steepest):
            raise _diverged(options, epoch)
        converged = steepest <= CONVERGED
        if converged or epoch % max(1, options.epochs // 10) == 0 or epoch == options.epochs - 1:
            log(f"{epoch} {loss}")
        if converged:
            break
        try:
            optimizer.step(cycle if options.solver == "lbfgs" else None)  # type: ignore[arg-type]  # torch says float
        except IndexError as error:  # torch 2.13's line search raises it if no loss is finite
            raise _diverged(options, epoch) from error

    z = model.score(design).detach()
    note = _outcome(options, losses, steepest)
    if separated := converged and steepest > 0 and options.l2 == 0 and bool(((2 * y - 1) * z > 0)[weight > 0].all()):
        note = (
            f"The model separates the two outcomes without error, so a steeper one always fits better: no finite best "
            f"fit exists. Stopped at epoch {epoch}, where the loss is almost flat. Use --l2 1 for a finite fit."
        )
    return converged and not separated, note, tuple(losses)


def initialize(model: LogisticModel, seed: int) -> None:
    """Set each layer's parameters uniformly within 1 / sqrt(inputs), as torch.nn.Linear does."""
    generator = torch.Generator().manual_seed(seed)
    hidden = [(model.hidden_weight, model.hidden_bias)] if model.activation else []
    with torch.no_grad():
        for weight, bias in (*hidden, (model.weight, model.bias)):
            bound = 1 / math.sqrt(len(weight))
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)


def _diverged(options: Options, epoch: int) -> FitError:
    remedy = f"lower --lr (it is {options.lr:g}), or use --standardize"
    return FitError(f"{options.solver} diverged at epoch {epoch}: {remedy}")


def _outcome(options: Options, losses: list[float], steepest: float) -> str:
    """The note on convergence; `steepest` is the last gradient's largest entry."""
    steps = len(losses) - 1
    if steepest <= CONVERGED:
        return f"{options.solver} converged at epoch {steps}: the gradient's largest entry is {steepest:.1e}."
    moving = [step for step, loss in enumerate(losses) if abs(loss - losses[-1]) > 1e-12 * abs(losses[-1])]
    still = moving[-1] + 1 if moving else 0
    if steps - still < STILL:
        other = ", or use --solver newton" if options.linear else ""
        return (
            f"{options.solver} stopped after {options.epochs} epochs before it converged: the gradient's largest entry "
            f"is still {steepest:.1e}. Raise --epochs{other}."
        )
    if steepest < 1e-6:
        why = "Rounding hides further progress: the fit has practically converged"
    else:
        why = "The gradient changes its sign without reaching 0, as at a kink: use another --solver, not more steps"
    return (
        f"{options.solver} has not reduced the loss since epoch {still}; the gradient's largest entry is "
        f"{steepest:.1e}. {why}."
    )
