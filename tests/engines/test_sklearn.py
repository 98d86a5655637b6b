"""scikit-learn's own tools take an export as one of its classifiers."""

from pathlib import Path

import numpy as np
import pytest

from passfail.loading import load

pytestmark = pytest.mark.engines
pytest.importorskip("sklearn", reason="scikit-learn is not installed: the classifier is NOT tested")
pandas = pytest.importorskip("pandas")

from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibrationDisplay, calibration_curve
from sklearn.inspection import permutation_importance
from sklearn.metrics import get_scorer
from sklearn.model_selection import cross_val_score
from sklearn.utils.validation import check_is_fitted

from tests.support import DATA


@pytest.fixture(scope="module")
def model(models: Path):
    return load(models / "admissions")


@pytest.fixture(scope="module")
def table():
    table = pandas.read_csv(DATA / "admissions.csv")
    return table[["gre", "gpa", "rank"]], table["admit"]


def test_the_conventions_are_those_of_a_fitted_classifier(model, table):
    rows, _ = table
    classifier = model.classifier()
    answers = model.predict(rows)

    check_is_fitted(classifier)
    assert is_classifier(classifier)
    assert clone(classifier) is classifier
    assert classifier.fit(rows) is classifier
    assert classifier.classes_.tolist() == [0, 1]
    assert classifier.feature_names_in_.tolist() == list(rows.columns)
    assert classifier.n_features_in_ == 3
    assert classifier.predict_proba(rows)[:, 1].tobytes() == answers.probability.tobytes()
    assert classifier.predict_proba(rows).shape == (len(rows), 2)
    assert ((classifier.decision_function(rows) > 0) == answers.verdict).all()
    assert (classifier.predict(rows) == answers.verdict).all()


def test_scorers_permutation_importance_and_cross_validation_work(model, table):
    rows, outcome = table
    classifier = model.classifier()

    for name in ("accuracy", "neg_log_loss", "roc_auc", "neg_brier_score"):
        assert np.isfinite(get_scorer(name)(classifier, rows, outcome))
    assert get_scorer("roc_auc")(classifier, rows, outcome) == pytest.approx(
        model.manifest.training.metrics.auc, rel=1e-12
    )
    importance = permutation_importance(classifier, rows, outcome, scoring="neg_log_loss", n_repeats=2, random_state=0)
    assert (importance.importances_mean > 0).all()
    assert len(cross_val_score(classifier, rows, outcome, cv=3)) == 3


def test_the_calibration_display_draws_the_curve(model, table):
    pytest.importorskip("matplotlib").use("agg")
    rows, outcome = table
    display = CalibrationDisplay.from_estimator(model.classifier(), rows, outcome, n_bins=5)

    share, _ = calibration_curve(outcome, model.predict(rows).probability, n_bins=5)
    assert display.prob_true.tolist() == share.tolist()


def test_a_target_whose_positive_value_sorts_first_keeps_its_columns(model, table, monkeypatch):
    import msgspec

    rows, _ = table
    target = msgspec.structs.replace(model.manifest.target, values=("yes", "no"))
    turned = type(model)(msgspec.structs.replace(model.manifest, target=target), model.runtime).classifier()
    answers = model.predict(rows)

    assert turned.classes_.tolist() == ["no", "yes"]
    assert turned.predict_proba(rows)[:, 0].tobytes() == answers.probability.tobytes()
    assert ((turned.decision_function(rows) < 0) == answers.verdict).all()
    assert ((turned.predict(rows) == "no") == answers.verdict).all()
