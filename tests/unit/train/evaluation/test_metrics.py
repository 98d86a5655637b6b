"""Held-out figures, thresholds and suspicions."""

import json

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from passfail.manifest import Feature, decode
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support import DATA
from train.__main__ import main
from train.errors import FitError
from train.evaluation import metrics
from train.solvers.fit import Options, fit
from train.table.checks import warnings
from train.table.table import Table, read_table

Y = np.array([0, 0, 1, 0, 1, 1, 0, 1], dtype=np.float64)
Z = np.array([-2.0, -1.0, -1.0, 0.5, 0.5, 0.5, 1.0, 3.0])
W = np.array([1.0, 2.0, 3.0, 1.0, 2.0, 1.0, 2.0, 1.0])


@pytest.fixture(scope="module")
def admissions():
    return read_table(DATA / "admissions.csv", categorical=["rank"])


@pytest.mark.parametrize(("missing", "expected"), [("mean", np.mean), ("median", np.median)])
def test_what_missing_cells_become_is_not_taken_from_the_rows_held_out(monkeypatch, missing, expected):
    """Every known cell of a row is one of its own numbers, so a fill tells which rows it is made of."""
    n = 60
    x = np.column_stack([2.0 ** np.arange(n) % 1009, np.arange(n) % 7 % 3]).astype(np.float64)
    y = (np.arange(n) % 2).astype(np.float64)
    x[::5] = np.nan
    features = [
        Feature("number", "numeric", (), 1.0, 1008.0, float(np.nanmean(x[:, 0])), missing),
        Feature("group", "categorical", ("a", "b", "c"), None, None, 2.0, "most-frequent"),
    ]
    seen = []

    def watched(features, part, *arguments, **keywords):
        seen.append((features, part))
        return fit(features, part, *arguments, **keywords)

    monkeypatch.setattr(metrics, "fit", watched)
    metrics.held_out(features, x, y, np.ones(n), Options(l2=1.0))

    assert [len(part) for _, part in seen] == [48] * 5
    for used, part in seen:
        known = part[~np.isnan(part[:, 0]), 0]
        assert used[0].fill == pytest.approx(expected(known))
        counts = [(part[:, 1] == level).sum() for level in range(3)]
        assert counts[int(used[1].fill)] == max(counts)


def test_every_row_is_held_out_once_and_each_fold_has_its_share(admissions, monkeypatch):
    parts = []

    def watched(features, x, y, *arguments, **keywords):
        parts.append((len(y), y.mean()))
        return fit(features, x, y, *arguments, **keywords)

    monkeypatch.setattr(metrics, "fit", watched)
    scores = metrics.held_out(admissions.features, admissions.x, admissions.y, admissions.weight, Options(), folds=4)

    assert (len(scores.logit), scores.how) == (400, "4-fold cross-validation")
    assert all(abs(rows - 300) <= 1 and abs(share - admissions.y.mean()) < 0.004 for rows, share in parts)
    monkeypatch.setattr(metrics, "MOST_CROSS_VALIDATED", 399)
    fifth = metrics.held_out(admissions.features, admissions.x, admissions.y, admissions.weight, Options())
    assert (len(fifth.logit), fifth.how) == (81, "a fifth of the rows held out")
    assert len(parts) == 5


def test_too_few_rows_of_an_outcome_are_not_split(admissions):
    first = np.flatnonzero(admissions.y)[:9]
    rows = np.r_[first, np.flatnonzero(admissions.y == 0)]

    assert (
        metrics.held_out(admissions.features, admissions.x[rows], admissions.y[rows], np.ones(len(rows)), Options())
        is None
    )


def test_rows_of_weight_0_are_not_held_out(admissions):
    weight = np.where(np.cumsum(admissions.y) <= 9, 1.0, 0.0)  # nine positive rows
    assert metrics.held_out(admissions.features, admissions.x, admissions.y, weight, Options()) is None


def test_a_weight_is_as_many_rows():
    repeated = np.repeat(np.arange(len(Y)), W.astype(int))

    weighted = metrics.metrics(Z, Y, "logit", 0.6, W)
    plain = metrics.metrics(Z[repeated], Y[repeated], "logit", 0.6, np.ones(len(repeated)))

    for name in ("log_loss", "accuracy", "auc", "brier", "calibration_error"):
        assert getattr(weighted, name) == pytest.approx(getattr(plain, name), rel=1e-12)
    assert metrics.calibration(1 / (1 + np.exp(-Z)), Y, W) == metrics.calibration(
        1 / (1 + np.exp(-Z[repeated])), Y[repeated], np.ones(len(repeated))
    )


@pytest.mark.parametrize("share", [1 / 1000, 0.3])
def test_metrics_take_weights_of_any_size(share):
    """Weights that sum to 1 leave less than half a row to each bin of the calibration."""
    whole, small = (metrics.metrics(Z, Y, "logit", 0.6, weight) for weight in (W, W * share))

    for name in ("log_loss", "accuracy", "auc", "brier", "calibration_error"):
        assert getattr(small, name) == pytest.approx(getattr(whole, name), rel=1e-12)


def test_metrics_by_hand():
    found = metrics.metrics(Z, Y, "logit", 0.5, np.ones(8))
    p = 1 / (1 + np.exp(-Z))
    pairs = [(a > b) + (a == b) / 2 for a in Z[Y == 1] for b in Z[Y == 0]]

    assert found.auc == pytest.approx(np.mean(pairs))
    assert found.brier == pytest.approx(np.mean((p - Y) ** 2))
    assert found.log_loss == pytest.approx(-np.mean(np.log(np.where(Y == 1, p, 1 - p))))
    assert found.accuracy == 5 / 8
    assert metrics.metrics(Z, Y, "logit", 0.7, np.ones(8)).accuracy == 4 / 8
    assert metrics.metrics(Z, Y, "logit", 0.9, np.ones(8)).accuracy == 5 / 8
    assert metrics.metrics(Z, Y, "logit", 0.2, np.ones(8)).accuracy == 5 / 8


def test_calibration_bins_hold_all_rows_with_wilsons_interval(admissions):
    scores = metrics.held_out(admissions.features, admissions.x, admissions.y, admissions.weight, Options())
    p = 1 / (1 + np.exp(-scores.logit))
    bins = metrics.calibration(p, scores.y, scores.weight)

    assert (sum(b.rows for b in bins), sum(b.positives for b in bins)) == (400, 127)
    for b in bins:
        inside = (p >= b.lower) & (p < b.upper)
        assert b.rows == inside.sum()
        assert b.probability == pytest.approx(p[inside].mean())
        assert (b.low, b.high) == pytest.approx(proportion_confint(b.positives, b.rows, method="wilson"), abs=1e-12)
    error = sum(b.rows / 400 * abs(b.probability - b.positives / b.rows) for b in bins)
    assert metrics.calibration_error(p, scores.y, scores.weight) == pytest.approx(error)


def test_the_evaluation_is_consistent_with_itself(admissions):
    scores = metrics.held_out(admissions.features, admissions.x, admissions.y, admissions.weight, Options())
    rows = admissions.features, admissions.x, admissions.y, admissions.weight
    found = metrics.evaluation(scores, "logit", 0.5, tuple(range(1000)), *rows)

    fall, hit = np.array(found.roc).T
    assert (found.roc[0], found.roc[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert (np.diff(fall) >= 0).all()
    assert (np.diff(hit) >= 0).all()
    assert np.trapezoid(hit, fall) == pytest.approx(found.metrics.auc, abs=0.003)
    assert (sum(found.negatives), sum(found.positives)) == (273, 127)
    half = found.thresholds[49]
    assert (half.threshold, half.accuracy) == (0.5, found.metrics.accuracy)
    assert half.false_positives + half.false_negatives == round(400 * (1 - found.metrics.accuracy))
    assert (len(found.losses), found.losses[0], found.losses[-1]) == (200, 0, 999)
    assert set(found.auc) == {"gre", "gpa", "rank"}


def test_the_threshold_of_least_cost():
    """By trying every threshold on rows whose probability is right."""
    p = np.linspace(0.0005, 0.9995, 1000)
    costs = [((p > t) * (1 - p) * 1 + (p <= t) * p * 5).sum() for t in p]

    assert metrics.cheapest(1, 5) == pytest.approx(p[np.argmin(costs)], abs=0.002)


@pytest.mark.parametrize("wanted", [0.55, 0.7, 1.0])
@pytest.mark.parametrize("what", ["precision", "recall"])
def test_the_threshold_that_reaches_a_share(what, wanted):
    """The best of all thresholds between two scores, found by trying each."""
    scores = metrics.Scores("", Z, Y, W, 0.0)
    p = 1 / (1 + np.exp(-Z))

    def shares(threshold):
        passes = p > threshold
        hits = (W * Y)[passes].sum()
        return {"precision": hits / W[passes].sum(), "recall": hits / (W * Y).sum()}

    threshold = metrics.reaching(what, wanted, scores, "logit")
    other = {"precision": "recall", "recall": "precision"}[what]
    between = [0.01, *((np.unique(p)[1:] + np.unique(p)[:-1]) / 2)]
    best = max(shares(t)[other] for t in between if shares(t)[what] >= wanted)
    assert shares(threshold)[what] >= wanted
    if what == "precision":
        assert shares(threshold)[other] == best
    else:
        assert threshold == max(t for t in between if shares(t)[what] >= wanted)


def test_a_precision_that_nothing_reaches_is_refused():
    scores = metrics.Scores("", -Z, Y, W, 0.0)

    with pytest.raises(
        FitError, match=r"no threshold reaches a precision of 0.99 on held-out rows; the best is 0\.\d+"
    ):
        metrics.reaching("precision", 0.99, scores, "logit")


def test_the_service_decides_by_the_chosen_threshold(tmp_path, capsys):
    data = ["--data", str(DATA / "study_hours.csv"), "--checkpoints", str(tmp_path)]
    assert main(["fit", *data, "--cost-fp", "1", "--cost-fn", "5"]) == 0
    assert "threshold: 0.166667 on the probability" in capsys.readouterr().out
    assert main(["export", *data, "--models", str(tmp_path / "models")]) == 0

    client = create_app(Config(models=tmp_path / "models")).test_client()
    answers = [client.post("/predict", json={"hours": hours}).json for hours in (1.6, 1.7)]
    assert [(answer["passed"], round(answer["probability"], 3)) for answer in answers] == [
        (False, 0.158),
        (True, 0.179),
    ]
    training = decode((tmp_path / "models" / "study_hours" / "1" / "manifest.json").read_bytes()).training
    assert sum(b.rows for b in training.calibration) == 20
    assert training.held_out.rows == 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--precision", "0.9", "--recall", "0.9"], "--precision, --recall: choose one of them"),
        (["--data", str(DATA / "hours.csv"), "--l2", "1", "--recall", "0.9"], "needs rows held out of the fit"),
    ],
)
def test_thresholds_that_cannot_be_chosen(tmp_path, capsys, arguments, said):
    assert main(["fit", "--data", str(DATA / "study_hours.csv"), *arguments, "--checkpoints", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_two_wishes_for_one_threshold_are_refused_before_the_fit(tmp_path, capsys):
    arguments = ["--cost-fp", "2", "--recall", "0.9", "--checkpoints", str(tmp_path)]
    assert main(["fit", "--data", str(DATA / "study_hours.csv"), *arguments]) == 2
    assert capsys.readouterr() == ("", "error: --cost-fp and --cost-fn, --recall: choose one of them\n")


@pytest.mark.parametrize("folds", [255, 256, 300])
def test_any_number_of_folds_is_shared_out(folds):
    """Counted in bytes as small as they may be: none may run over."""
    y = np.repeat([0.0, 1.0], 400)
    fold = metrics._folds(y, folds, seed=0)

    assert sorted(set(fold.tolist())) == list(range(folds))
    assert max(np.bincount(fold)) <= 2 * -(-400 // folds)


def table(columns, y):
    """A Table of {name: values, or texts for a group}."""
    features, x = [], []
    for name, values in columns.items():
        if isinstance(values[0], str):
            levels = tuple(sorted(set(values)))
            features.append(Feature(name, "categorical", levels, None, None, None))
            x.append([float(levels.index(value)) for value in values])
        else:
            features.append(Feature(name, "numeric", (), float(min(values)), float(max(values)), None))
            x.append(values)
    return Table(
        "t.csv",
        "",
        np.column_stack(x).astype(float),
        np.array(y, dtype=float),
        np.ones(len(y)),
        tuple(features),
        None,
        len(y),
        sum(y),
    )


def suspicions(columns, y):
    found = table(columns, y)
    scores = metrics.held_out(found.features, found.x, found.y, found.weight, Options(l2=1.0))
    outside = metrics.evaluation(scores, "logit", 0.5, (1.0,), found.features, found.x, found.y, found.weight)
    return warnings(found.features, found.x, True, outside)


def test_suspicions_name_the_column_and_the_remedy():
    generator = np.random.default_rng(1)
    n = 200
    y = generator.random(n) < 0.5
    fine = generator.normal(size=n).tolist()
    columns = {
        "fine": fine,
        "same": [3.0] * n,
        "id": (np.arange(n) + 1000).tolist(),
        "shuffled": generator.permutation(n).tolist(),
        "leak": (y + generator.normal(size=n) / 100).tolist(),
        "verdict": ["out" if one else "in" for one in y],
        "town": ["Rome", *(["Bonn", "Oslo"] * n)[: n - 1]],
    }

    found = suspicions(columns, y)

    assert [sentence.split(":")[0] for sentence in found] == ["same", "id", "shuffled", "town", "leak", "verdict"]
    assert "every row says 3" in found[0]
    assert all("--drop" in sentence for sentence in found if not sentence.startswith("town"))
    assert "only one row says Rome" in found[3]
    assert suspicions({"fine": fine}, y) == ()


def test_levels_that_differ_only_in_case_are_suspected():
    """As TRUE, True and true do in a table that several programs wrote: each would have a coefficient of its own."""
    y, size = np.random.default_rng(5).random((2, 200))

    def said(*levels):
        return suspicions({"vip": list(levels) * (200 // len(levels)), "size": size.tolist()}, y < 0.5)

    assert said("TRUE", "no", "True", "Groß", "true") == (
        "vip: TRUE, True, true differ only in case; if they mean the same, write only one",
    )
    assert said("TRUE", "no", "Straße", "Groß") == ()


def test_a_row_in_the_place_of_the_header_is_suspected():
    """The file has no header, and its first row is lost; columns that are called by their year have one."""
    generator = np.random.default_rng(4)
    y, *columns = (generator.random((3, 100)) * [[1], [9], [9]]).tolist()
    y = np.array(y) < 0.5

    (found,) = suspicions({"3.5": columns[0], "Rome": ["Bonn", "Oslo"] * 50, "12": columns[1]}, y)

    assert found == "the columns are called 3.5, Rome, 12; if that is a row, write a line of names above it"
    assert suspicions({"2019": columns[0], "2020": columns[1]}, y) == ()
    assert suspicions({"3.5": columns[0], "age": columns[1]}, y) == ()


def test_identifiers_are_told_from_quantities_that_happen_not_to_repeat():
    """By how close they lie: 500 of 9000 numbers, or 60 of a million; or by their name."""
    generator = np.random.default_rng(3)
    y = np.arange(500) % 2

    def named(n, **columns):
        columns = {name: values[:n].tolist() for name, values in columns.items()}
        return [sentence.split(":")[0] for sentence in suspicions(columns, y[:n]) if "identifier" in sentence]

    drawn = 1000 + generator.permutation(9000)[:500]
    income = np.unique(generator.lognormal(10.5, 0.5, 600).round())
    generator.shuffle(income)
    assert named(500, ticket=drawn, twice=np.append(drawn[:499], drawn[0]), half=drawn + 0.5) == ["ticket"]
    assert named(60, income=income, customerId=income[::-1], paid=income[100:]) == ["customerId"]


@pytest.mark.parametrize("name", sorted(path.stem for path in DATA.glob("*.csv")))
def test_no_table_of_ours_has_an_identifier(name):
    positive = "agree" if name == "womensrole" else None
    found = read_table(DATA / f"{name}.csv", positive=positive)

    assert not any("identifier" in sentence for sentence in warnings(found.features, found.x, True, None))


def test_twins_across_the_split_are_counted():
    generator = np.random.default_rng(2)
    x = generator.normal(size=100).tolist()
    y = generator.random(100) < 0.5

    (found,) = suspicions({"x": x + x[:20]}, [*y, *y[:20]])

    assert "of the held-out rows have a twin" in found
    share = float(found.split("%")[0])
    assert 20 < share <= 100 * 40 / 120


@pytest.fixture(scope="module")
def told_apart(tmp_path_factory):
    """A repository of a model that tells missing cells apart."""
    folder = tmp_path_factory.mktemp("missing")
    rows = [f"{'' if i % 4 == 0 else i % 9},{['a', 'b', ''][i % 3]},{int(i % 4 == 0 or i % 5 == 0)}" for i in range(80)]
    (folder / "t.csv").write_text("age,town,passed\n" + "\n".join(rows) + "\n")
    arguments = ["--data", str(folder / "t.csv"), "--checkpoints", str(folder)]
    assert main(["fit", *arguments, "--missing", "indicator", "--l2", "1"]) == 0
    assert main(["export", *arguments, "--models", str(folder / "models")]) == 0
    return folder / "models"


def test_a_missing_cell_has_an_effect_of_its_own(told_apart, runtime):
    manifest = decode((told_apart / "t" / "1" / "manifest.json").read_bytes())
    age, town = manifest.features
    client = create_app(Config(models=told_apart, runtime=runtime)).test_client()
    filled = {"age": age.fill, "town": town.levels[int(town.fill)]}

    def logit(**change):
        return client.post("/predict", json={**filled, **change}).json["logit"]

    flags = {c.feature: c for c in manifest.parameters.columns if c.missing}
    assert [feature.missing for feature in manifest.features] == ["indicator", "indicator"]
    assert [term.term for term in manifest.training.statistics.coefficients][1:] == [
        "age", "age missing", "town=b", "town missing",
    ]  # fmt: skip
    assert logit(age=None) - logit() == pytest.approx(flags[0].weight, rel=1e-12)
    assert logit(town=None) - logit() == pytest.approx(flags[1].weight, rel=1e-12)
    assert flags[0].weight > 1
    assert flags[0].mean == pytest.approx(20 / 80)


def test_weights_reach_every_figure(tmp_path):
    """A table with weights gives what the same table with its rows repeated gives."""
    rows = [line.split(",") for line in (DATA / "study_hours.csv").read_text().split()[1:]]
    weighted = [f"{h},{y},{1 + i % 3}" for i, (h, y) in enumerate(rows)]
    repeated = [f"{h},{y}" for i, (h, y) in enumerate(rows) for _ in range(1 + i % 3)]
    (tmp_path / "w.csv").write_text("hours,passed,w\n" + "\n".join(weighted) + "\n")
    (tmp_path / "r.csv").write_text("hours,passed\n" + "\n".join(repeated) + "\n")
    found = []
    for name, arguments in (("w", ["--weights", "w", "--no-standardize"]), ("r", ["--no-standardize"])):
        path = str(tmp_path / f"{name}.csv")
        command = ["fit", "--data", path, "--target", "passed", *arguments, "--checkpoints", str(tmp_path)]
        assert main(command) == 0
        assert main(["export", "--data", path, "--checkpoints", str(tmp_path), "--models", str(tmp_path / "m")]) == 0
        text = (tmp_path / "m" / name / "1" / "manifest.json").read_bytes()
        found.append(json.loads(text)["training"])

    one, other = found
    for a, b in zip(one["statistics"]["coefficients"], other["statistics"]["coefficients"], strict=True):
        assert (a["estimate"], a["standard_error"]) == pytest.approx((b["estimate"], b["standard_error"]), rel=1e-9)
    for name in ("log_loss", "accuracy", "auc", "brier", "calibration_error"):
        assert one["metrics"][name] == pytest.approx(other["metrics"][name], rel=1e-9)
