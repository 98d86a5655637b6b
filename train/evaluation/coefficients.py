"""The coefficient table of a maximum likelihood fit, in the table's own units, and where it has no finite estimates."""

import math
from collections.abc import Iterator, Sequence

import torch

from passfail.arrays import Floats
from passfail.manifest import Coefficient, Feature, Statistics
from train.evaluation.metrics import Z95
from train.evaluation.separation import Separation, model_separation
from train.model.links import LINKS
from train.model.logistic import LogisticModel
from train.model.terms import INTERCEPT, terms
from train.solvers.collinearity import collinear, relations_in_words
from train.solvers.fit import Fit
from train.solvers.newton import Sums, inverse
from train.solvers.options import Options


def statistics(
    features: Sequence[Feature], fitted: Fit, options: Options, rows: tuple[Floats, Floats, Floats] | None = None
) -> Statistics | None:
    """Statistics of a fit by newton; None if it has no maximum to describe.

    Standard errors are from Fisher's information; a weight counts as that many rows.

    Parameters
    ----------
    rows : x (n, d), y and weight (n,), needed only to name the columns that separate the outcomes.
    """
    solution, model = fitted.solution, fitted.model
    if solution is None or not (solution.converged or solution.separated):
        return None
    free = int(options.intercept)
    names = terms(features, options.intercept)
    to_raw = _to_raw(model, free)
    estimate = to_raw @ torch.cat([model.bias.detach().reshape(1)[:free], model.weight.detach()])
    error = torch.sqrt(torch.diagonal(to_raw @ inverse(solution.end.information)[0] @ to_raw.T).clamp(min=0))

    relations, flat = collinear(solution.start.information)
    kept = [index for index in range(len(names)) if index not in relations]
    found = model_separation(model, rows, options.intercept, kept) if solution.separated and rows else None
    notes = _infinite(to_raw, estimate, found) if solution.separated else [""] * len(names)
    for direction in flat:
        notes = ["not unique" if moves else note for moves, note in zip(_moves(to_raw, direction), notes, strict=True)]

    end, count, rank = solution.end, int(solution.end.rows), len(kept)
    return Statistics(
        coefficients=tuple(
            _coefficient(name, b, s, note, options)
            for name, b, s, note in zip(names, estimate.tolist(), error.tolist(), notes, strict=True)
        ),
        references={f.name: f.levels[0] for f in features if f.kind == "categorical"},
        log_likelihood=-end.loss,
        deviance=2 * end.loss,
        degrees_of_freedom=count - rank,
        null_deviance=2 * _null_loss(end, options),
        null_degrees_of_freedom=count - free,
        aic=2 * end.loss + 2 * rank,
        bic=2 * end.loss + rank * math.log(count),
        separation=(found.kind if found else "unknown") if solution.separated else "none",
        separating=tuple(names[index] for index in (found.causes if found else []) if index >= free),
        collinear=relations_in_words(relations, names),
    )


def lines(found: Statistics, options: Options) -> Iterator[str]:
    """The lines of text that the command fit prints for Statistics."""
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
        yield f"{name}: the reference level is {level}"
    yield (
        f"log-likelihood {found.log_likelihood:.4f}, AIC {found.aic:.4f}, BIC {found.bic:.4f}; deviance "
        f"{found.deviance:.4f} on {found.degrees_of_freedom} degrees of freedom, null {found.null_deviance:.4f} on "
        f"{found.null_degrees_of_freedom}"
    )
    if options.l2:
        yield "standard errors are not given: the penalty --l2 shrinks the estimates towards 0"
    yield from unidentified(found)


def unidentified(found: Statistics) -> Iterator[str]:
    """A sentence for each reason why some coefficients have no finite or no unique estimate."""
    if found.separation != "none":
        rows = {"complete": "all rows", "quasi": "some of the rows"}.get(found.separation, "rows")
        columns = ", ".join(found.separating) or "columns (a fit to fewer rows, in one process, names them)"
        yield (
            f"separation: the outcomes of {rows} are separated by {columns}; "
            "their slopes have no finite estimate; use --firth or --l2 1"
        )
    for relation in found.collinear:
        yield f"collinear: {relation}; the coefficients of these columns are not unique; leave one out with --drop"


def _infinite(to_raw: torch.Tensor, estimate: torch.Tensor, found: Separation | None) -> list[str]:
    """Each coefficient's note for separated outcomes: infinite, perhaps infinite (the columns are unknown), or none."""
    if found is None:
        return ["perhaps infinite"] * len(estimate)
    sizes = (to_raw @ found.direction).tolist()
    infinite = _moves(to_raw, found.direction) if found.kind == "quasi" else [True] * len(sizes)
    signs = [f"{'+' if size > 0 else '-'}infinite" for size in sizes]
    return [sign if endless else "" for sign, endless in zip(signs, infinite, strict=True)]


def _to_raw(model: LogisticModel, free: int) -> torch.Tensor:
    """The matrix (P, P) that turns beta of the scaled columns into intercept and slopes of the raw ones."""
    matrix = torch.diag(torch.cat([torch.ones(free, dtype=torch.float64), 1 / model.scale]))
    if free:
        matrix[0, 1:] = -model.center / model.scale
    return matrix


def _moves(to_raw: torch.Tensor, direction: torch.Tensor) -> list[bool]:
    """Whether a step of beta in this direction moves each raw coefficient by more than rounding does."""
    moved: list[bool] = ((to_raw @ direction).abs() > 1e-7 * (to_raw.abs() @ direction.abs())).tolist()
    return moved


def _null_loss(sums: Sums, options: Options) -> float:
    """The log loss of the best fit of an intercept alone; without an intercept, of the score 0."""
    parts = sums.weight - sums.positive, sums.positive
    if options.intercept:
        return -sum(part * math.log(part / sums.weight) for part in parts if part > 0)
    losses = LINKS[options.link].terms(*torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=torch.float64))[0]
    return float(sum(part * loss for part, loss in zip(parts, losses.tolist(), strict=True)))


def _coefficient(term: str, estimate: float, error: float, note: str, options: Options) -> Coefficient:
    if note:
        return Coefficient(term, None, None, None, None, None, None, None, note)
    ratio = None
    if options.link == "logit" and term != INTERCEPT and abs(estimate) < 700:
        ratio = math.exp(estimate)
    if options.l2 or error == 0:
        return Coefficient(term, estimate, None, None, None, None, None, ratio, "")
    z = estimate / error
    p = math.erfc(abs(z) * 0.5**0.5)
    return Coefficient(term, estimate, error, z, p, estimate - Z95 * error, estimate + Z95 * error, ratio, "")
