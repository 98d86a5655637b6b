"""The coefficient table of a maximum likelihood fit, in the table's own units."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from passfail.arrays import Floats
from passfail.intervals import MOST_PARAMETERS, Z95
from passfail.measurements import Coefficient, Statistics
from passfail.proof import reference
from train import distributed
from train.evaluation.profile import Profile, profile
from train.evaluation.separation import model_separation
from train.model.design import Design
from train.model.links import LINKS
from train.model.logistic import Features, parameters
from train.model.terms import INTERCEPT, terms
from train.solvers.collinearity import collinear, relations_in_words
from train.solvers.fit import Blocks, Fit
from train.solvers.objective import Objective, inverse
from train.solvers.options import Options
from train.solvers.recession import Separation
from train.solvers.sums import Sums, add_up, total
from train.table.out_of_core import BLOCK, one_thread, pieces

SHOWN = 20  # columns at most that a sentence about separation names
WELL_CONDITIONED = 1e4  # a condition number up to which an inverse keeps some eleven digits
PROFILED = 3e7  # rows times the cube of the columns; above it, profiles take many seconds


def statistics(features: Features, fitted: Fit, options: Options, cluster: Floats | None = None) -> Statistics | None:
    """The statistics of a fit by newton, from one more pass over its rows.

    Standard errors come from Fisher's information at the estimates, or are robust. A weight counts as that many rows.
    Class weights do not, so with them there is no likelihood, and errors are robust.

    Parameters
    ----------
    cluster : (n,), the number of each row's group, for options.cluster.

    Returns
    -------
    None if the solver did not converge, and separation is not proved.
    """
    solution, model, rows = fitted.solution, fitted.model, fitted.rows
    if solution is None or not (solution.converged or solution.doubtful):
        return None
    names = terms(features, options.intercept)
    beta, to_raw = map(torch.from_numpy, reference.raw_units(parameters(model), options.intercept))
    end = total(options.link, rows.matrices, beta)
    no, yes = rows.factors
    count = (end.weight - end.positive) / no + end.positive / yes
    root, clusters = _covariance_root(fitted, end, cluster, count)
    relations, flat = ({}, []) if options.penalty else collinear(solution.start.information)
    kept = [index for index in range(len(names)) if index not in relations]
    found = model_separation(rows, kept, solution.recession) if solution.doubtful else None
    if solution.doubtful and (found is None or found.kind == "none"):
        return None
    notes = _infinite(to_raw, found) if found else [""] * len(names)
    for direction in flat:
        notes = ["not unique" if moves else note for moves, note in zip(_moves(to_raw, direction), notes, strict=True)]
    profiled = options.profile and (bool(options.intervals) or end.rows * len(names) ** 3 < PROFILED)
    profiles = _profiles(fitted, options, to_raw, notes) if profiled and solution.converged else [None] * len(names)
    error = torch.linalg.norm(to_raw @ root, dim=1)
    table = zip(names, (to_raw @ beta).tolist(), error.tolist(), notes, profiles, strict=True)
    return Statistics(
        coefficients=tuple(coefficient(*line, options) for line in table),
        references={f.name: f.levels[0] for f in features if f.kind == "categorical"},
        **_goodness(end, options, len(kept), count),
        degrees_of_freedom=max(round(count) - len(kept), 0),
        null_degrees_of_freedom=max(round(count) - int(options.intercept), 0),
        separation=found.kind if found else "none",
        separating=tuple(names[index] for index in (found.causes if found else []) if index >= int(options.intercept)),
        collinear=relations_in_words(relations, names),
        standard_errors="cluster" if clusters else "sandwich" if options.reweighted else "information",
        clusters=clusters,
        intervals="profile" if profiled else "wald",
        factor=() if options.penalty or relations or found else _factor(root @ root.T),
    )


def _covariance_root(fitted: Fit, sums: Sums, cluster: Floats | None, count: float) -> tuple[torch.Tensor, int]:
    """The root (P, P) of the estimates' covariance, root @ root.T, and the number of clusters."""
    if cluster is not None:
        return clustered(fitted.rows, sums, cluster, count)
    if fitted.options.reweighted:
        return sandwich(fitted.rows, sums), 0
    return inverse_root(fitted.rows, sums.information, -1), 0


def inverse_root(rows: Blocks, second: torch.Tensor, term: int) -> torch.Tensor:
    """The root (P, P) of a second derivative's inverse: the inverse is root @ root.T.

    If columns are nearly collinear, the inverse has lost digits. Another pass then computes the second derivative of
    the nearly orthogonal columns matrix @ root, and corrects the root (CholeskyQR2: Fukaya and others, ScalA 2014).

    Parameters
    ----------
    second : (P, P), from the last pass.
    term : its index in `Link.terms`.
    """
    root, size = _root(inverse(second)[0]), torch.sqrt(torch.diagonal(second).clamp(min=0))
    unit = root * size[:, None]
    if torch.linalg.norm(unit @ unit.T) * len(size) < WELL_CONDITIONED:
        return root

    def gram(matrix: Design, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        columns = matrix @ root
        share: torch.Tensor = weight * LINKS[rows.model.link].terms(matrix @ rows.model.beta, y)[term]
        return columns.T @ (columns * share[:, None])

    return root @ _root(inverse(add_up(rows.matrices, gram))[0])


@one_thread()
def _root(matrix: torch.Tensor) -> torch.Tensor:
    """A root of a symmetric matrix (P, P), which may be singular."""
    root: torch.Tensor
    root, fault = torch.linalg.cholesky_ex(matrix)
    if fault:
        values, vectors = torch.linalg.eigh(matrix)
        root = vectors * torch.sqrt(values.clamp(min=0))
    return root


def _profiles(fitted: Fit, options: Options, to_raw: torch.Tensor, notes: Sequence[str]) -> list[Profile | None]:
    """The Profile of each raw coefficient whose estimate exists."""
    objective, beta = Objective(fitted.model, fitted.rows.matrices, options), fitted.model.beta
    return [None if note else profile(objective, beta, contrast) for contrast, note in zip(to_raw, notes, strict=True)]


def _goodness(sums: Sums, options: Options, rank: int, count: float) -> dict[str, float | None]:
    """The figures of the likelihood in Statistics; None with class weights."""
    if options.class_weight:
        return dict.fromkeys(("log_likelihood", "deviance", "null_deviance", "aic", "bic"))
    return {
        "log_likelihood": -sums.loss,
        "deviance": 2 * sums.loss,
        "null_deviance": 2 * _null_loss(sums, options),
        "aic": 2 * sums.loss + 2 * rank,
        "bic": 2 * sums.loss + rank * math.log(count),
    }


@one_thread()
def _factor(covariance: torch.Tensor) -> tuple[float, ...]:
    """Statistics.factor of a covariance (P, P); empty if it is large, or numerically singular."""
    lower, fault = torch.linalg.cholesky_ex(covariance)
    if len(covariance) > MOST_PARAMETERS or fault:
        return ()
    return tuple(lower[tuple(torch.tril_indices(*lower.shape))].tolist())


def sandwich(rows: Blocks, sums: Sums) -> torch.Tensor:
    """The root (P, P) of the sandwich estimator, valid even if the model is wrong.

    The estimator is A^-1 B A^-1. A is the observed information, B the sum of each row's score times its transpose
    (Huber, Proc. 5th Berkeley Symposium, 1967; White, Econometrica 50, 1982). There is no small-sample factor (HC0). A
    row of weight m has m scores; its class weight is part of each.
    """
    beta, root = rows.model.beta, inverse_root(rows, sums.curvature, 2)

    def squares(matrix: Design, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        columns = matrix @ root
        slope: torch.Tensor = LINKS[rows.model.link].terms(matrix @ beta, y)[1]
        return columns.T @ (columns * (weight * rows.factor(y) * slope**2)[:, None])

    return root @ _root(add_up(rows.matrices, squares))


def clustered(rows: Blocks, sums: Sums, cluster: Floats, count: float) -> tuple[torch.Tensor, int]:
    """The root (P, P) of the covariance of grouped rows, and the number of groups.

    The covariance is `sandwich` with the sum of each group's scores in place of each row's, times G / (G - 1) * (n - 1)
    / (n - P) for G groups and n rows (Cameron & Miller, Journal of Human Resources 50, 2015).

    Parameters
    ----------
    cluster : (n,), the number of each row's group.
    count : n, the sum of the weights.
    """
    beta = rows.model.beta
    names = np.unique(np.concatenate(distributed.gathered(np.unique(cluster))))
    sums_of = torch.zeros(len(names), len(beta) + 1, dtype=torch.float64)  # of the scores, and of the weights
    with one_thread(), torch.inference_mode():
        for part in pieces(len(cluster), BLOCK, rows.x, rows.y, rows.counts, cluster):
            matrix, y, weight = rows.block(part)
            scores = matrix.dense() * (weight * LINKS[rows.model.link].terms(matrix @ beta, y)[1])[:, None]
            group = torch.from_numpy(np.searchsorted(names, cluster[part]))
            sums_of.index_add_(0, group, torch.cat([scores, weight[:, None]], dim=1))
    sums_of = distributed.total(sums_of)
    root = inverse_root(rows, sums.curvature, 2)
    groups, scores = int((sums_of[:, -1] > 0).sum()), sums_of[:, :-1] @ root
    factor = groups / max(groups - 1, 1) * (count - 1) / max(count - len(beta), 1)
    return root @ _root(scores.T @ scores * factor), groups


def lines(table: Statistics, options: Options) -> Iterator[str]:
    """The lines of text that the command fit prints for Statistics."""
    width = max(len(c.term) for c in table.coefficients)
    odds = "  odds ratio" if options.link == "logit" else ""
    yield f"{'':{width}}  {'estimate':>12} {'std. error':>12} {'z':>9} {'p':>9}  {'95 % interval':>25}{odds}"
    for c in table.coefficients:
        if c.estimate is None:
            yield f"{c.term:{width}}  {c.note:>12}"
        elif c.standard_error is None:
            yield f"{c.term:{width}}  {c.estimate:12.6g}"
        else:
            ratio = "" if c.odds_ratio is None else f"  {c.odds_ratio:10.4g}"
            lower, upper = ("open" if bound is None else f"{bound:.6g}" for bound in (c.lower, c.upper))
            numbers = f"{c.estimate:12.6g} {c.standard_error:12.6g} {c.z:9.3f} {c.p:9.3g}"
            yield f"{c.term:{width}}  {numbers}  {lower:>12} {upper:>12}{ratio}"
    for name, level in table.references.items():
        yield f"{name}: the reference level is {level}"
    if table.log_likelihood is None:
        yield "likelihood, deviance, AIC and BIC are not given: class weights are not numbers of rows"
    else:
        yield (
            f"log-likelihood {table.log_likelihood:.4f}, AIC {table.aic:.4f}, BIC {table.bic:.4f}; deviance "
            f"{table.deviance:.4f} on {table.degrees_of_freedom} degrees of freedom, null {table.null_deviance:.4f} on "
            f"{table.null_degrees_of_freedom}"
        )
    if options.profile and table.intervals == "wald":
        yield "intervals and p are Wald's, since profile likelihood takes long here; --intervals profile computes it"
    if table.intervals == "profile":
        yield "intervals are by profile likelihood, p by the likelihood-ratio test; z is Wald's"
        yield from _tests(table, width)
    if table.standard_errors == "sandwich":
        yield "standard errors are robust (the sandwich estimator of Huber and White)"
    if table.standard_errors == "cluster":
        yield f"standard errors are robust, with the {table.clusters} groups of {options.cluster} as clusters"
    if options.penalty:
        yield f"standard errors are not given: the penalty {options.penalty} shrinks the estimates towards 0"


def _tests(table: Statistics, width: int) -> Iterator[str]:
    """The p-values of each test, side by side."""
    tested = [c for c in table.coefficients if c.tests]
    names = list(tested[0].tests) if tested else []
    yield f"{'p by test':{width}}  {'  '.join(f'{name:>16}' for name in names)}"
    for c in tested:
        yield f"{c.term:{width}}  {'  '.join(f'{c.tests[name]:16.3g}' for name in names)}"


def fit_warnings(stopped: str, table: Statistics | None, link: str) -> Iterator[str]:
    """A sentence for each reason not to trust the coefficients of a fit, with the remedy.

    Parameters
    ----------
    stopped : why the fit did not converge; "" if it did.
    """
    if stopped and (table is None or table.separation == "none"):
        yield stopped
    if table is None:
        return
    if table.separation != "none":
        rows = "all rows" if table.separation == "complete" else "some of the rows"
        shown, more = table.separating[:SHOWN], len(table.separating) - SHOWN
        unnamed = "columns (a fit to fewer rows, in one process, names them)"
        columns = ", ".join([*shown, *([f"{more} more"] if more > 0 else [])]) or unnamed
        remedy = "--firth or --l2 1" if link == "logit" else "--l2 1"
        what = f"the outcomes of {rows} are separated by {columns}"
        yield f"separation: {what}; their slopes have no finite estimate; use {remedy}"
    for relation in table.collinear:
        yield f"collinear: {relation}; the coefficients of these columns are not unique; leave one out with --drop"


def _infinite(to_raw: torch.Tensor, found: Separation) -> list[str]:
    """Each coefficient's note for separated outcomes: infinite, or none."""
    sizes = (to_raw @ found.direction).tolist()
    infinite = _moves(to_raw, found.direction) if found.kind == "quasi" else [True] * len(sizes)
    signs = [f"{'+' if size > 0 else '-'}infinite" for size in sizes]
    return [sign if endless else "" for sign, endless in zip(signs, infinite, strict=True)]


def _moves(to_raw: torch.Tensor, direction: torch.Tensor) -> list[bool]:
    """Whether a step of beta in this direction moves each raw coefficient beyond rounding."""
    return [*((to_raw @ direction).abs() > 1e-7 * (to_raw.abs() @ direction.abs())).tolist()]


def _null_loss(sums: Sums, options: Options) -> float:
    """The log loss of the best fit with an intercept alone; without one, of the score 0."""
    parts = sums.weight - sums.positive, sums.positive
    if options.intercept:
        return -sum(part * math.log(part / sums.weight) for part in parts if part > 0)
    losses = LINKS[options.link].terms(*torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=torch.float64))[0]
    return float(sum(part * loss for part, loss in zip(parts, losses.tolist(), strict=True)))


def coefficient(
    term: str, estimate: float, error: float, note: str, profiled: Profile | None, options: Options
) -> Coefficient:
    """A line of the coefficient table, from an estimate, its standard error and its Profile."""
    if note:
        return Coefficient(term, note=note)
    is_odds = options.link == "logit" and term != INTERCEPT and abs(estimate) < 700
    ratio = math.exp(estimate) if is_odds else None
    if options.penalty or error == 0:
        return Coefficient(term, estimate, odds_ratio=ratio)
    z = estimate / error
    lower, upper, p, tests = estimate - Z95 * error, estimate + Z95 * error, math.erfc(abs(z) * 0.5**0.5), {}
    if profiled:
        tests = {"wald": p, "likelihood ratio": profiled.ratio}
        tests |= {} if options.firth else {"score": profiled.score}  # Firth's penalised likelihood has no score test
        lower, upper, p, _ = profiled
    low, high = (bound if math.isfinite(bound) else None for bound in (lower, upper))
    return Coefficient(term, estimate, error, z, p, low, high, ratio, "", tests)
