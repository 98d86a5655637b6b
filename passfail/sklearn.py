"""A model as a fitted classifier of scikit-learn, for its tools and plots."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin

from passfail.arrays import Floats

if TYPE_CHECKING:
    from passfail.model import Model


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An exported model with scikit-learn's interface; it is already fitted.

    Each method takes rows as `Model.predict` does.

    Attributes
    ----------
    classes_ : the target's two values in ascending order, as pandas reads them: numbers, booleans or texts.
    feature_names_in_ : the features' names (d,); n_features_in_ is d.
    """

    def __init__(self, model: "Model") -> None:
        self.model = model

    def fit(self, X: object, y: object = None) -> "Classifier":
        """Return the classifier itself: an export is fitted, and never changes."""
        return self

    @property
    def classes_(self) -> npt.NDArray[Any]:
        return np.sort(self._values)

    @property
    def feature_names_in_(self) -> npt.NDArray[Any]:
        return np.array([feature.name for feature in self.model.manifest.features], dtype=object)

    @property
    def n_features_in_(self) -> int:
        return len(self.model.manifest.features)

    def predict(self, X: object) -> npt.NDArray[Any]:
        """The class of each row (n,): the model's verdict at its own threshold."""
        return self._values[self.model.predict(X).verdict.astype(np.intp)]

    def predict_proba(self, X: object) -> Floats:
        """The probability of each class, float64 (n, 2)."""
        probability = self.model.predict(X).probability
        return np.column_stack([1 - probability, probability])[:, np.argsort(self._values)]

    def decision_function(self, X: object) -> Floats:
        """The logit minus the threshold's, float64 (n,); positive for the second class."""
        distance = self.model.predict(X).logit - self.model.manifest.logit_threshold
        return distance if self._values[1] > self._values[0] else -distance

    @property
    def _values(self) -> npt.NDArray[Any]:
        """The target's two values, the negative first, as pandas reads them."""
        texts = self.model.manifest.target.values
        if {text.casefold() for text in texts} == {"true", "false"}:
            return np.array([text.casefold() == "true" for text in texts])
        try:
            numbers = np.array([float(text) for text in texts])
        except ValueError:
            return np.array(texts)
        whole: npt.NDArray[Any] = numbers.astype(np.int64)
        return whole if (whole == numbers).all() else numbers

    def __sklearn_clone__(self) -> "Classifier":
        return Classifier(self.model)

    def __sklearn_is_fitted__(self) -> bool:
        return True
