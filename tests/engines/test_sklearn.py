"""scikit-learn's own tools take an export as one of its classifiers."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from passfail.loading import load
from passfail.manifest import Column, Manifest
from passfail.model import Model
from passfail.proof import reference

pytestmark = pytest.mark.engines
pytest.importorskip("sklearn", reason="scikit-learn is not installed: the classifier is NOT tested")
pandas = pytest.importorskip("pandas")

import joblib
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay, calibration_curve
from sklearn.compose import make_column_transformer
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.metrics import get_scorer
from sklearn.model_selection import FixedThresholdClassifier, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
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
    assert clone(classifier).model is classifier.get_params()["model"] is model
    assert repr(classifier) == "Classifier(model=<Model admissions/1>)"
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
    rows, _ = table
    target = msgspec.structs.replace(model.manifest.target, values=("yes", "no"))
    turned = type(model)(msgspec.structs.replace(model.manifest, target=target), model.runtime).classifier()
    answers = model.predict(rows)

    assert turned.classes_.tolist() == ["no", "yes"]
    assert turned.predict_proba(rows)[:, 0].tobytes() == answers.probability.tobytes()
    assert ((turned.decision_function(rows) < 0) == answers.verdict).all()
    assert ((turned.predict(rows) == "no") == answers.verdict).all()


@pytest.mark.parametrize(
    "copied",
    [lambda one: pickle.loads(pickle.dumps(one)), lambda one: joblib.Parallel(2)([joblib.delayed(clone)(one)])[0]],
    ids=["pickle", "joblib's processes"],
)
def test_a_copy_in_another_process_gives_the_same_bits(model, table, copied):
    rows, _ = table
    assert copied(model.classifier()).predict_proba(rows).tobytes() == model.classifier().predict_proba(rows).tobytes()


def test_a_frozen_export_takes_part_in_pipelines_and_cross_validation(model, table):
    rows, outcome = table
    frozen, probability = FrozenEstimator(model.classifier()), model.predict(rows).probability

    assert frozen.predict_proba(rows)[:, 1].tobytes() == probability.tobytes()
    assert len(cross_val_score(frozen, rows, outcome, cv=3, n_jobs=2, scoring="neg_log_loss", error_score="raise")) == 3
    chosen = make_column_transformer(("passthrough", list(rows.columns)), verbose_feature_names_out=False)
    pipeline = make_pipeline(chosen.set_output(transform="pandas"), model.classifier()).fit(rows, outcome)
    assert pipeline.predict_proba(rows.assign(other=1))[:, 1].tobytes() == probability.tobytes()
    strict = FixedThresholdClassifier(frozen, threshold=0.6, response_method="predict_proba").fit(rows, outcome)
    assert (strict.predict(rows) == (probability >= 0.6)).all()
    assert CalibratedClassifierCV(frozen).fit(rows, outcome).predict_proba(rows).shape == (len(rows), 2)


@dataclass
class Closed:
    """The closed form of a manifest as a runtime that can be pickled."""

    manifest: Manifest

    def __call__(self, x):
        z = reference.logit(self.manifest, x)
        return z, 1 / (1 + np.exp(-z))


# A fit would have to refuse these, or to learn from them. An export is fitted already, and takes its features alone.
# overwrite_params compares joblib's hashes, which differ for a deep copy of the nested records of this stand-in.
NEED_A_FIT = {
    "check_array_api_input", "check_classifier_data_not_an_array", "check_classifiers_classes",
    "check_classifiers_one_label", "check_classifiers_regression_target", "check_classifiers_train",
    "check_complex_data", "check_dtype_object", "check_estimator_sparse_array", "check_estimator_sparse_matrix",
    "check_estimator_sparse_tag", "check_estimators_empty_data_messages", "check_estimators_nan_inf",
    "check_estimators_overwrite_params", "check_estimators_unfitted", "check_fit1d", "check_fit2d_predict1d",
    "check_fit_check_is_fitted", "check_n_features_in", "check_n_features_in_after_fitting", "check_supervised_y_2d",
    "check_supervised_y_no_nan",
}  # fmt: skip


def test_it_passes_the_estimator_checks_that_need_no_fit(model):
    """Each check makes rows of its own number of features, which is 2, 3 or 5."""
    passed, failed = set(), set()
    for d in (2, 3, 5):
        number = msgspec.structs.replace(model.manifest.features[0], minimum=-10.0, maximum=10.0)
        features = tuple(msgspec.structs.replace(number, name=f"x{at}") for at in range(d))
        columns = tuple(Column(at, None, 0.0, 1.0, (-1.0) ** at, 0.0) for at in range(d))
        parameters = msgspec.structs.replace(model.manifest.parameters, columns=columns, intercept=0.1)
        manifest = msgspec.structs.replace(model.manifest, features=features, parameters=parameters)
        found = check_estimator(Model(manifest, Closed(manifest)).classifier(), on_skip=None, on_fail=None)
        passed |= {one["check_name"] for one in found if one["status"] == "passed"}
        failed |= {one["check_name"] for one in found}

    assert failed - passed == NEED_A_FIT
    assert len(passed) > 25
