"""The coefficient table: what the fit says about each column, and where it can't say anything.

Separation is found by linear programmes (Konis, Linear programming algorithms for detecting separated data in binary
logistic regression models, 2007), collinear columns by regressing each on those before it.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linprog

from passfail.manifest import Coefficient, Statistics
from train.model.links import LINKS
from train.solvers.newton import inverse
from train.table.out_of_core import one_thread

Z95 = 1.959963984540054  # of the 95 % interval
SECONDS = 30  # for each linear programme
TAKEN = 2000  # rows into one at first, and at most so many more each time


def statistics(features, fitted, options, rows=None):
    """Statistics of a train.solvers.fit.Fit by newton, or None where it has no maximum to describe.

    Standard errors are from Fisher's information, in the table's own units; a weight counts as that many rows.
    rows: x (n, d), y and weight (n,), float64 arrays, needed only to name the columns that separate the outcomes.
    """
    solution, model = fitted.solution, fitted.model
    if solution is None or not (solution.converged or solution.separated):
        return None
    free = int(options.intercept)
    terms = _terms(features, model, free)
    to_raw = _to_raw(model, free)
    estimate = to_raw @ torch.cat([model.bias.detach().reshape(1)[:free], model.weight.detach()])
    error = torch.sqrt(torch.diagonal(to_raw @ inverse(solution.end.information)[0] @ to_raw.T).clamp(min=0))

    relations, flat = collinear(solution.start.information)
    kind, causes, note = "none", [], [""] * len(terms)
    if solution.separated:
        kept = [index for index in range(len(terms)) if index not in relations]
        found = None if rows is None else _separation(model, *map(torch.as_tensor, rows), free, kept)
        kind, causes = (found.kind, found.causes) if found else ("unknown", [])
        moved = to_raw @ found.direction if found else estimate
        certain = _moves(to_raw, found.direction) if kind == "quasi" else [kind == "complete"] * len(terms)
        for index, (size, endless) in enumerate(zip(moved.tolist(), certain, strict=True)):
            if endless or kind == "unknown":
                note[index] = f"{'+' if size > 0 else '-'}infinite" if endless else "perhaps infinite"
    for direction in flat:
        note = ["not unique" if moves else text for moves, text in zip(_moves(to_raw, direction), note, strict=True)]

    end, count, rank = solution.end, int(solution.end.rows), len(terms) - len(relations)
    return Statistics(
        coefficients=tuple(
            _coefficient(term, b, s, text, options)
            for term, b, s, text in zip(terms, estimate.tolist(), error.tolist(), note, strict=True)
        ),
        references={f.name: f.levels[0] for f in features if f.kind == "categorical"},
        log_likelihood=-end.loss,
        deviance=2 * end.loss,
        degrees_of_freedom=count - rank,
        null_deviance=2 * _null_loss(end, options),
        null_degrees_of_freedom=count - free,
        aic=2 * end.loss + 2 * rank,
        bic=2 * end.loss + rank * math.log(count),
        separation=kind,
        separating=tuple(terms[index] for index in causes if index >= free),
        collinear=tuple(
            _relation(terms[index], [terms[i] for i in others if i >= free]) for index, others in relations.items()
        ),
    )


def lines(found, options):
    """Statistics as the lines of text that fit prints."""
    width = max(len(c.term) for c in found.coefficients)
    odds = "  odds ratio" if options.link == "logit" else ""
    yield f"{'':{width}}  {'estimate':>12} {'std. error':>12} {'z':>9} {'p':>9}  {'95 % interval':>25}{odds}"
    for c in found.coefficients:
        if c.estimate is None:
            yield f"{c.term:{width}}  {c.note:>12}"
        elif c.standard_error is None:
            yield f"{c.term:{width}}  {c.estimate:12.6g}"
        else:
            ratio = "" if c.odds_ratio is None else f"  {c.odds_ratio:10.4g}"
            yield (
                f"{c.term:{width}}  {c.estimate:12.6g} {c.standard_error:12.6g} {c.z:9.3f} {c.p:9.3g}  "
                f"{c.lower:12.6g} {c.upper:12.6g}{ratio}"
            )
    for name, level in found.references.items():
        yield f"{name}: against {level}"
    yield (
        f"log-likelihood {found.log_likelihood:.4f}, AIC {found.aic:.4f}, BIC {found.bic:.4f}; deviance "
        f"{found.deviance:.4f} on {found.degrees_of_freedom} degrees of freedom, null {found.null_deviance:.4f} on "
        f"{found.null_degrees_of_freedom}"
    )
    if options.l2:
        yield "the penalty --l2 draws the estimates to 0: standard errors would not be those of a best fit"
    if found.separation != "none":
        rows = {"complete": "all rows", "quasi": "some of the rows"}.get(found.separation, "rows")
        columns = ", ".join(found.separating) or "columns that a fit to fewer rows, in one process, would name"
        yield f"separation: {rows} are told apart without error by {columns}; these slopes have no finite size"
    for relation in found.collinear:
        yield f"collinear: {relation}; the columns share their effect in no unique way"


@one_thread()
def collinear(information):
    """Which columns of a design matrix (n, P) are made of those before them, from its information (P, P) at beta = 0.

    Returns ({index: the indices it is made of}, as many directions (P,) in which beta moves no row's score). A column
    counts as made of others where they leave less than 1e-5 of its size.
    """
    scale = torch.sqrt(torch.diagonal(information))
    scale = torch.where(scale > 0, scale, 1.0)
    shape = information / scale / scale[:, None]
    kept, relations, directions = [], {}, []
    for index in range(len(shape)):
        share = torch.linalg.solve(shape[kept][:, kept], shape[kept, index]) if kept else shape.new_zeros(0)
        if shape[index, index] - share @ shape[kept, index] > 1e-10:
            kept.append(index)
            continue
        share = torch.where(share.abs() > 1e-5, share, 0.0)
        relations[index] = [kept[i] for i in torch.nonzero(share).flatten().tolist()]
        direction = shape.new_zeros(len(shape))
        direction[index] = 1
        direction[kept] = -share
        directions.append(direction / scale)
    return relations, directions


def nearly_collinear(features, model, options, information):
    """A sentence for each column that is made of others but for less than 1e-5 of its size, as `collinear` tells."""
    free = int(options.intercept)
    terms = _terms(features, model, free)
    return tuple(
        f"{_relation(terms[index], [terms[i] for i in others if i >= free])}, all but a hundred-thousandth of it: "
        "leave it out with --drop."
        for index, others in collinear(information)[0].items()
    )


@dataclass(frozen=True)
class Separation:
    """kind: "complete" or "quasi". causes: the columns that it takes. direction (P,): where beta runs to."""

    kind: str
    causes: list
    direction: torch.Tensor


def separation(matrix, y):
    """The Separation of a design matrix (n, P), NumPy float64, of full rank, with outcomes y (n,); None for none.

    Also None where a linear programme takes too long.
    """
    rows = np.where(y == 1, 1.0, -1.0)[:, None] * matrix
    size = matrix.shape[1]
    taken = np.arange(0, len(rows), -(-len(rows) // TAKEN))

    def solve(cost, least, bounds):
        """A programme over all rows: over some, and again with those that its answer wrongs, until it wrongs none."""
        nonlocal taken
        until = time.monotonic() + SECONDS
        while (left := until - time.monotonic()) > 0:
            above = -np.hstack([rows[taken], -rows[taken]])[:, : len(cost)]
            done = linprog(cost, above, -least[taken], bounds=bounds, options={"time_limit": left})
            if done.status != 0:
                return None
            short = least - rows @ (done.x if len(cost) == size else done.x[:size] - done.x[size:])
            short[taken] = 0
            if short.max() <= 1e-7:
                return done.x
            worst = np.argpartition(-short, min(TAKEN, len(rows)) - 1)[:TAKEN]
            taken = np.concatenate([taken, worst[short[worst] > 1e-7]])
        return None

    # Where beta runs to: as many rows as far on their own side as a box allows, none on the wrong one.
    direction = solve(-rows.sum(0), np.zeros(len(rows)), (-1, 1))
    if direction is None or (margin := rows @ direction).max() <= 1e-7:
        return None
    # Which columns it takes: those of the shortest beta that keeps every row (complete), or all that can be (quasi), at
    # least 1 from the boundary; less each one that the others can do without.
    twice = np.ones(2 * size)  # beta's two signs apart
    kind, least = "complete", np.ones(len(rows))
    if (shortest := solve(twice, least, (0, None))) is None:
        kind, least = "quasi", (margin > 1e-7).astype(float)
        shortest = solve(twice, least, (0, None))
    shortest = np.abs(direction) if shortest is None else np.abs(shortest[:size] - shortest[size:])
    causes = np.flatnonzero(shortest > 1e-7).tolist()
    for index in sorted(causes, key=shortest.__getitem__):
        fewer = [(0, None if i % size in causes and i % size != index else 0) for i in range(2 * size)]
        if len(causes) > 1 and solve(twice, least, fewer) is not None:
            causes.remove(index)
    return Separation(kind, causes, torch.from_numpy(direction))


def _separation(model, x, y, weight, free, kept):
    """The separation of the rows that count, in the scaled columns `kept`, with its indices among all columns."""
    with torch.no_grad():
        matrix = torch.cat([torch.ones(len(x), free, dtype=torch.float64), model.design(x)], 1)
    used = weight > 0
    found = separation(matrix[used][:, kept].numpy(), y[used].numpy())
    if found is None:
        return None
    direction = torch.zeros(matrix.shape[1], dtype=torch.float64)
    direction[kept] = found.direction
    return Separation(found.kind, [kept[index] for index in found.causes], direction)


def _terms(features, model, free):
    columns = zip(model.source, model.level, model.flag, strict=True)
    return ["(intercept)"] * free + [_term(features, *column) for column in columns]


def _term(features, source, level, flag):
    feature = features[source]
    if flag:
        return f"{feature.name} missing"
    return feature.name if feature.kind == "numeric" else f"{feature.name}={feature.levels[int(level)]}"


def _relation(term, others):
    return f"{term} is made of {', '.join(others)}" if others else f"{term} is constant"


def _to_raw(model, free):
    """The matrix (P, P) that turns beta of the scaled columns into intercept and slopes of the raw ones."""
    matrix = torch.diag(torch.cat([torch.ones(free, dtype=torch.float64), 1 / model.scale]))
    if free:
        matrix[0, 1:] = -model.center / model.scale
    return matrix


def _moves(to_raw, direction):
    """Of each raw coefficient, whether a step of beta in this direction moves it by more than rounding does."""
    return ((to_raw @ direction).abs() > 1e-7 * (to_raw.abs() @ direction.abs())).tolist()


def _null_loss(sums, options):
    """The log loss of the best fit with an intercept alone, or, without one, with nothing."""
    parts = sums.weight - sums.positive, sums.positive
    if options.intercept:
        return -sum(part * math.log(part / sums.weight) for part in parts if part > 0)
    losses = LINKS[options.link].terms(*torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=torch.float64))[0]
    return sum(part * loss for part, loss in zip(parts, losses.tolist(), strict=True))


def _coefficient(term, estimate, error, note, options):
    if note:
        return Coefficient(term, None, None, None, None, None, None, None, note)
    ratio = None
    if options.link == "logit" and term != "(intercept)" and abs(estimate) < 700:
        ratio = math.exp(estimate)
    if options.l2 or error == 0:
        return Coefficient(term, estimate, None, None, None, None, None, ratio, "")
    z = estimate / error
    p = math.erfc(abs(z) * 0.5**0.5)
    return Coefficient(term, estimate, error, z, p, estimate - Z95 * error, estimate + Z95 * error, ratio, "")
