"""Random models and the rows that they answer, as hypothesis strategies."""

import math

import numpy as np
from hypothesis import strategies as st

from passfail.links import LINKS
from passfail.manifest import Column, Feature, Hidden, Manifest, Parameters, Target, Unit
from passfail.model import Model
from passfail.proof import reference

NUMBERS = st.floats(-1e3, 1e3) | st.floats(-1e12, 1e12) | st.sampled_from([0.0, -0.0, 5e-324, 1e300, -1e300])
WEIGHTS = st.floats(-10, 10) | st.sampled_from([0.0, 1e-300, -1e-9, 1e9])
SCALES = st.floats(1e-3, 1e3) | st.sampled_from([1.0, 1e-12, 1e12])


@st.composite
def features(draw, index):
    fill = draw(st.booleans())
    missing = draw(st.sampled_from(["mean", "indicator"])) if fill else "error"
    if draw(st.booleans()):
        levels = tuple("abcde"[: draw(st.integers(2, 5))])
        return Feature(f"c{index}", "categorical", levels, None, None, float(fill) if fill else None, missing)
    low, high = sorted([draw(st.floats(-1e3, 1e3)), draw(st.floats(-1e3, 1e3))])
    return Feature(f"n{index}", "numeric", (), low, high, (low + high) / 2 if fill else None, missing)


@st.composite
def models(draw, hidden=False):
    """A served model of random parameters, with the closed form as its runtime."""
    described = tuple(draw(features(index)) for index in range(draw(st.integers(1, 4))))
    columns = []
    for index, feature in enumerate(described):
        if feature.kind == "numeric":
            mean = draw(st.floats(-1e3, 1e3))
            center = draw(st.sampled_from([mean, 0.0]))
            columns.append(Column(index, None, center, draw(SCALES), 1.0 if hidden else draw(WEIGHTS), mean))
        for level in range(1, len(feature.levels)):
            weight = 1.0 if hidden else draw(WEIGHTS)
            columns.append(Column(index, level, 0.0, 1.0, weight, draw(st.floats(0, 1))))
        if feature.missing == "indicator":
            weight = 1.0 if hidden else draw(WEIGHTS)
            columns.append(Column(index, None, 0.0, 1.0, weight, draw(st.floats(0, 1)), missing=True))
    layer = None
    if hidden:
        small = st.floats(-3, 3)
        units = [Unit(draw(small), tuple(draw(small) for _ in columns), draw(small)) for _ in range(3)]
        layer = Hidden(draw(st.sampled_from(["Tanh", "ReLU"])), None, tuple(units))
    parameters = Parameters(draw(st.floats(-10, 10)), tuple(columns), layer)
    link, threshold = draw(st.sampled_from(sorted(LINKS))), draw(st.floats(0.01, 0.99))
    target = Target("y", ("0", "1"), ("no", "yes"))
    manifest = Manifest(1, "", "m", 1, "", described, target, link, threshold, parameters, {}, (), None, None)

    def run(x):
        with np.errstate(all="ignore"):
            z = reference.logit(manifest, x)
        return z, z

    return Model(manifest, run)


@st.composite
def cases(draw, hidden=False):
    """(model, x (3, d), logit (3,)): rows that the model answers."""
    model = draw(models(hidden))
    x = np.empty((3, len(model.manifest.features)))
    for index, feature in enumerate(model.manifest.features):
        known = st.integers(0, len(feature.levels) - 1) if feature.kind == "categorical" else NUMBERS
        value = st.just(math.nan) | known if feature.nullable else known
        x[:, index] = [draw(value) for _ in x]
    x[~np.isfinite(model.runtime(x)[0])] = [feature.fill or 0.0 for feature in model.manifest.features]
    logit, _ = model.runtime(x)
    x, logit = x[np.isfinite(logit)], logit[np.isfinite(logit)]
    return model, x, logit
