"""The coverage of a probability's 95 % interval, and its width beside a bootstrap's.

python -m bench.coverage            200 tables of 200 rows; under a minute
python -m bench.coverage --link probit --rows 100 --tables 500
"""

import argparse
from types import SimpleNamespace

import numpy as np
import torch

from passfail.arrays import Floats
from passfail.intervals import Intervals
from passfail.links import LINKS, score_at
from passfail.manifest import Feature
from passfail.proof import reference
from train.evaluation.coefficients import statistics
from train.evaluation.profile import bounds
from train.model.logistic import parameters
from train.solvers.fit import Fit, fit
from train.solvers.objective import Objective
from train.solvers.options import Options
from train.table.data import Data

TRUE = np.array([-0.5, 1.0, -0.7, 0.4])  # the intercept, then the slopes
PLACES = (0.1, 0.5, 0.9)  # true probabilities of the rows
BOOTSTRAPS = 200


def main() -> None:
    """Print the coverage at each place, and the first table's widths beside the bootstrap's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--link", choices=LINKS, default="logit")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--tables", type=int, default=200)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    slopes = TRUE[1:]
    asked = np.array([(score_at(options.link, p) - TRUE[0]) / (slopes @ slopes) * slopes for p in PLACES])
    inside, fitted = np.zeros((2, len(PLACES))), 0
    probability = np.vectorize(LINKS[options.link].probability)
    for table in range(options.tables):
        x, y = draw(generator, options.rows, options.link)
        if (found := ask(x, y, options.link, asked)) is None:
            continue  # separated: there is no interval
        fitted += 1
        both = np.array([found, probability(profiled(x, y, options.link, asked))])
        inside += (both[:, :, 0] <= PLACES) & (both[:, :, 1] >= PLACES)
        if table == 0:
            first = x, y, *both
    for name, counts in zip(("Wald's", "the profile"), inside, strict=True):
        shares = ", ".join(f"{share:.1%} at {p}" for p, share in zip(PLACES, counts / fitted, strict=True))
        print(f"{options.link}, {options.rows} rows, {fitted} tables: {name} interval contains the truth in {shares}")
    x, y, found, profiles = first
    again = []
    for _ in range(BOOTSTRAPS):
        rows = generator.integers(len(y), size=len(y))
        if (model := fitted_model(x[rows], y[rows], options.link)) is not None:
            again.append(reference.logit(model, asked))
    low, high = np.percentile(again, (2.5, 97.5), axis=0)
    for p, ours, other, *ends in zip(PLACES, found, profiles, probability(low), probability(high), strict=True):
        print(
            f"  at {p}: {ours[0]:.3f} to {ours[1]:.3f}, by profile likelihood {other[0]:.3f} to {other[1]:.3f}, "
            f"by {len(again)} bootstraps {ends[0]:.3f} to {ends[1]:.3f}"
        )


def draw(generator: np.random.Generator, rows: int, link: str) -> tuple[Floats, Floats]:
    """Draw a table from the true model: x (n, d), y (n,)."""
    x = generator.normal(size=(rows, len(TRUE) - 1))
    p = np.array([LINKS[link].probability(score) for score in TRUE[0] + x @ TRUE[1:]])
    return x, (generator.random(rows) < p).astype(np.float64)


def features_of(x: Floats) -> tuple[Feature, ...]:
    return tuple(Feature(f"x{i}", "numeric", (), c.min().item(), c.max().item(), None) for i, c in enumerate(x.T))


def fit_to(x: Floats, y: Floats, link: str) -> Fit:
    """The fit to a table: x (n, d), y (n,)."""
    return fit(Data(features_of(x), x, y, np.ones(len(y))), Options(link=link), log=lambda line: None)


def fitted_model(x: Floats, y: Floats, link: str) -> SimpleNamespace | None:
    """The part of a manifest that Intervals uses; None if the outcomes are separated."""
    found, features, options = fit_to(x, y, link), features_of(x), Options(link=link)
    table = statistics(features, found, options)
    if table is None or not table.factor:
        return None
    training = SimpleNamespace(statistics=table, options=vars(options))
    return SimpleNamespace(features=features, parameters=parameters(found.model), link=link, training=training)


def ask(x: Floats, y: Floats, link: str, asked: Floats) -> Floats | None:
    """The intervals (k, 2) of rows (k, d), from a fit to a table; None if it has none."""
    model = fitted_model(x, y, link)
    return None if model is None else Intervals(model).at(asked, reference.logit(model, asked))


def profiled(x: Floats, y: Floats, link: str, asked: Floats) -> Floats:
    """The profile likelihood intervals (k, 2) of the scores of the rows asked (k, d)."""
    found = fit_to(x, y, link)
    objective = Objective(found.model, found.rows.matrices, Options(link=link))
    rows = found.model.matrix(torch.from_numpy(asked))
    best = objective.at(found.model.beta)
    return np.array([bounds(objective, best, row) for row in rows.dense()])


if __name__ == "__main__":
    main()
