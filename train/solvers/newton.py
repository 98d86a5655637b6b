"""The default solver: Newton's method, for every link."""

from dataclasses import dataclass
from functools import partial

import torch

from train import distributed
from train.model.links import LINKS
from train.table.out_of_core import each, one_thread

MOST_STEPS = 100
ROUNDING = 8 * torch.finfo(torch.float64).eps
# Relative changes of the parameters, up to which the size of the gradient's terms, which only says how exactly it is
# known, is left as it is; and the second derivative, which then moves by less than a standard error's last digits.
NEAR = 0.1
SAME = 1e-6


@dataclass(frozen=True)
class Sums:
    """What one pass over all rows adds up at some parameters beta (P,), the intercept first if there is one.

    loss: the log loss, weighted. rows, weight, positive: the rows of a weight above 0, the weights' sum, and that of
    the positive rows. gradient (P,) of the loss. doubt (P,): the size of the gradient's terms, each of which is known
    to a rounding error. information, curvature (P, P): the loss's second derivative, expected and observed.
    """

    loss: float
    rows: float
    weight: float
    positive: float
    gradient: torch.Tensor
    doubt: torch.Tensor
    information: torch.Tensor
    curvature: torch.Tensor


@dataclass(frozen=True)
class Solution:
    """Where Newton's method ended, and how it got there.

    converged: the gradient is at rounding level; otherwise notes say why not. separated: the loss falls for ever.
    start, end: the Sums at the start and at the end, without penalties. losses: the mean log loss before each step.
    """

    converged: bool
    notes: tuple[str, ...]
    separated: bool
    start: Sums
    end: Sums
    losses: tuple[float, ...]


def newton(model, batches, options, log):
    """Maximum likelihood by Newton's method, from the model's weight and bias.

    Each step solves curvature * step = gradient (McCullagh & Nelder, Generalized Linear Models, 1989, section 2.5),
    with the information in the curvature's place where that is not convex, as the cauchit's may be; a step that
    raises the loss is halved. options.l2 adds l2 / 2 * sum(weight^2), options.firth Firth's penalty.

    batches() yields, again from the start at every call, functions without argument that may run in any thread, each
    of which returns the next rows: (matrix (m, P), y (m,), weight (m,)), float64; the matrix is the design, after a
    column of ones where there is an intercept. Of several processes (train/distributed.py) each has its own rows; the
    sums are over all. Sets the model's weight and bias (0 without options.intercept); returns a Solution.
    """
    free = int(options.intercept)
    beta = torch.cat([model.bias.detach()[:free], model.weight.detach()])
    penalty = torch.full_like(beta, options.l2)
    penalty[:free] = 0.0
    sizes = None  # of the columns, at the start

    def look(beta, *known):
        """The Sums at beta, and the objective and its gradient with the penalties in it."""
        nonlocal sizes
        sums = total(options.link, batches, beta, *known)
        sizes = torch.sqrt(torch.diagonal(sums.information)) if sizes is None else sizes
        objective = sums.loss + (penalty * beta**2).sum().item() / 2
        gradient = sums.gradient + penalty * beta
        if options.firth:
            objective -= log_determinant(sums.information, sizes) / 2
            gradient = gradient - firth_pull(batches, beta, inverse(sums.information)[0])
        return sums, objective, gradient

    with torch.no_grad():
        sums, objective, gradient = look(beta)
        start, losses, idle, why = sums, [sums.loss / sums.weight], 0, "took too many steps"
        units = torch.sqrt(torch.diagonal(start.information) / start.information.diagonal().max().clamp(min=1e-300))
        converged = separated = collinear = False
        for count in range(1, MOST_STEPS + 1):
            if (gradient.abs() <= ROUNDING * (sums.doubt + penalty * beta.abs())).all():
                converged = True
                break
            second = sums.curvature + torch.diag(penalty)
            solver, convex = inverse(second)
            if not convex:
                second = sums.information + torch.diag(penalty)
                solver, _ = inverse(second)
            step = solver @ gradient
            # Whether the loss falls in a direction that has no curvature to step by, which it had at the start.
            flat = ((gradient - second @ step).abs() > 1e-13 * sums.doubt).any().item()
            collinear = flat if count == 1 else collinear
            slack = 1e-12 * max(abs(objective), 1.0)  # the rounding of a sum over all rows
            for _ in range(50):
                length = (torch.linalg.vector_norm(step * units) / (1 + torch.linalg.vector_norm(beta * units))).item()
                doubt = sums.doubt if length < NEAR else None
                same = (sums.information, sums.curvature) if length < SAME and not options.firth else None
                trial = look(beta - step, doubt, same)
                if trial[1] <= objective + slack:
                    break
                step = step / 2
            else:
                why = "no step lowers the loss any more, though its gradient is not zero"
                break
            gain = objective - trial[1]
            beta, (sums, objective, gradient) = beta - step, trial
            losses.append(sums.loss / sums.weight)
            log(f"step {count}: mean log loss {losses[-1]:.10f}, relative change of the parameters {length:.1e}")
            idle = idle + 1 if gain < 1e-8 and length > 1e-3 else 0
            if idle == 2 or (length < 1e-12 and flat and not collinear):
                separated = not options.l2 and not options.firth
                why = "its steps gain nothing any more"
                break
        model.bias.fill_(beta[0] if free else 0.0)
        model.weight.copy_(beta[free:])
    if separated:
        notes = (
            "The columns separate the two outcomes (of all rows, or of some), so the best fit is infinitely steep and "
            f"doesn't exist. Stopped after {count} steps, where one more would lower the summed log loss by less than "
            "1e-8. Use --firth, or --l2 1, for a fit that exists.",
        )
    elif not converged:
        notes = (
            f"Not converged: {why}. Stopped after {count} steps with the gradient at "
            f"{(gradient.abs() / sums.doubt.clamp(min=1e-300)).max().item():.1e} of its terms' size.",
        )
    else:
        notes = ()
    return Solution(converged, notes, separated, start, sums, tuple(losses))


def total(link, batches, beta, doubt=None, second=None):
    """One pass over the rows of all processes: the Sums at beta (P,).

    doubt and second, (information, curvature), are those at a beta close by, where they are good enough here: to add
    them up takes most of the time of a pass.
    """
    terms = LINKS[link].terms
    size = len(beta)

    def share(matrix, y, weight):
        loss, slope, curvature, information = (term * weight for term in terms(matrix @ beta, y))
        parts = [loss.sum(), (weight > 0).sum(), weight.sum(), (weight * y).sum(), matrix.T @ slope]
        scratch = torch.abs(matrix) if doubt is None else torch.empty_like(matrix)
        if doubt is None:
            parts.append(scratch.T @ (slope.abs() + information * (scratch @ beta.abs())))
        if second is None:
            # One product for the logit, whose curvature is the information; in memory that the cache has at hand.
            weights = [information] if link == "logit" else [information, curvature]
            parts += [matrix.T @ torch.mul(matrix, row[:, None], out=scratch) for row in weights]
        return torch.cat([part.flatten() for part in parts])

    counts, gradient, numbers = torch.tensor_split(_sum(batches, share), [4, 4 + size])
    if doubt is None:
        doubt, numbers = numbers[:size], numbers[size:]
    if second is None:
        second = numbers.view(-1, size, size)
    return Sums(*counts.tolist(), gradient, doubt, second[0], second[-1])


def firth_pull(batches, beta, inverse):
    """The gradient of log(det(information)) / 2 for the logit link, (P,).

    sum of h (1 / 2 - p) row, h being a row's leverage (Firth, Biometrika 80, 1993; Heinze & Schemper, Statistics in
    Medicine 21, 2002).
    """

    def share(matrix, y, weight):
        p = torch.sigmoid(matrix @ beta)
        leverage = ((matrix @ inverse) * matrix).sum(1) * weight * p * (1 - p)
        return matrix.T @ (leverage * (0.5 - p))

    return _sum(batches, share)


def _sum(batches, share):
    """share(design matrix (m, P), y, weight), a tensor, added up over all rows of all processes, in their order."""

    def block(rows):
        with torch.inference_mode():
            return share(*rows())

    return distributed.total(sum(each(partial(block, rows) for rows in batches())))


@one_thread()
def inverse(second):
    """The inverse of a symmetric matrix (P, P), the shortest where it is singular, as collinear columns make it.

    Scaled to a unit diagonal first, so that a direction counts as flat by its shape, not by its size. Returns
    (inverse, whether the matrix is positive, or zero, in every direction).
    """
    scale = torch.sqrt(torch.diagonal(second).abs())
    scale = torch.where(scale > 0, scale, 1.0)
    values, vectors = torch.linalg.eigh(second / scale / scale[:, None])
    flat = values[-1] * 1e-12
    inverted = torch.where(values > flat, 1 / values, 0.0)
    return vectors * inverted @ vectors.T / scale / scale[:, None], bool(values[0] >= -flat)


@one_thread()
def log_determinant(information, sizes):
    """log(det(information)) but for a constant, of the directions that are not flat, in columns divided by sizes (P,).

    Where some are flat, its slope is Firth's only with the same sizes at every beta.
    """
    scale = torch.where(sizes > 0, sizes, 1.0)
    values = torch.linalg.eigvalsh(information / scale / scale[:, None])
    return torch.log(values[values > values[-1] * 1e-12]).sum().item()
