"""The default solver: Newton's method."""

import torch
from torch.nn import functional


def newton(model, design, y, options, log, most_steps=100):
    """Maximum likelihood by Newton's method, which for this model is iteratively reweighted least squares.

    Each step solves (A' W A + l2) step = A' (p - y) + l2 * weight, with A the design matrix and a column of ones and
    W = p (1 - p) (McCullagh & Nelder, Generalized Linear Models, 1989, section 2.5); a step that doesn't lower the
    loss is halved. Its error is squared at every step, so the last one, below 1e-9 on every row's logit, leaves the
    parameters exact to rounding.

    design (n, D), y (n,), float64. Sets the model's weight and bias; returns (whether it converged, notes).
    """
    ones = torch.ones(len(y), 1, dtype=torch.float64)
    matrix = torch.cat([ones, design], dim=1)
    penalty = torch.full((matrix.shape[1],), options.l2, dtype=torch.float64)
    penalty[0] = 0.0

    def objective(beta):
        logit = matrix @ beta
        return _log_loss(logit, y).sum() + (penalty * beta**2).sum() / 2

    beta = torch.zeros(matrix.shape[1], dtype=torch.float64)
    loss = objective(beta)
    converged, notes = False, []
    with torch.no_grad():
        for count in range(1, most_steps + 1):
            p = torch.sigmoid(matrix @ beta)
            gradient = matrix.T @ (p - y) + penalty * beta
            hessian = matrix.T @ (matrix * (p * (1 - p))[:, None]) + torch.diag(penalty)
            step = _solve(hessian, gradient)
            moved = (matrix @ step).abs().max().item()
            for _ in range(50):
                trial = objective(beta - step)
                if trial <= loss or moved < 1e-6:  # this close, only rounding is left to see
                    break
                step = step / 2
            gain = (loss - trial).item()
            beta, loss = beta - step, trial
            log(f"step {count}: mean log loss {loss.item() / len(y):.10f}, largest change of a logit {moved:.1e}")
            if moved <= 1e-9 * (1 + (matrix @ beta).abs().max().item()):
                converged = True
                break
            if gain < 1e-8 and moved > 0.1:
                notes.append(
                    "The columns separate the two outcomes (of all rows, or of some), so the best fit is infinitely "
                    f"steep and doesn't exist. Stopped after {count} steps, where one more would lower the summed log "
                    "loss by less than 1e-8. Use --l2 1 for a fit that exists."
                )
                break
        else:
            notes.append(f"Stopped after {most_steps} steps without arriving; the parameters are not the best fit.")
        model.bias.copy_(beta[0])
        model.weight.copy_(beta[1:])
    return converged, notes


def _log_loss(logit, y):
    """-log of the probability given to each row's outcome, from the logit so that it never overflows."""
    return functional.softplus(-logit) * y + functional.softplus(logit) * (1 - y)


def _solve(hessian, gradient):
    """The shortest step for a Hessian that may be singular, as collinear columns make it.

    Scaled to a unit diagonal first, so that a direction counts as flat by its shape, not by its size.
    """
    scale = torch.sqrt(torch.diagonal(hessian))
    scale = torch.where(scale > 0, scale, 1.0)
    values, vectors = torch.linalg.eigh(hessian / scale / scale[:, None])
    inverse = torch.where(values > values[-1] * 1e-12, 1 / values, 0.0)
    return vectors @ (inverse * (vectors.T @ (gradient / scale))) / scale
