"""Random models and the rows that they answer, with hypothesis; a model of awkward names."""

import math
import random

import msgspec
import numpy as np
from hypothesis import strategies as st

from passfail.links import LINKS
from passfail.manifest import Column, Feature, Hidden, Manifest, Parameters, Target, Unit
from passfail.model import Model
from passfail.proof import reference

NUMBERS = st.floats(-1e3, 1e3) | st.floats(-1e12, 1e12) | st.sampled_from([0.0, -0.0, 5e-324, 1e300, -1e300])
WEIGHTS = st.floats(-10, 10) | st.sampled_from([0.0, 1e-300, -1e-9, 1e9])
SCALES = st.floats(1e-3, 1e3) | st.sampled_from([1.0, 1e-12, 1e12])

# Names and levels that SQL, JavaScript or a shell would read as something else than a text.
NAMES = ("select", 'a"b', "a.b", "größe, cm", "Logit", "verdict", "label", "probability", "x y", "it's", "`tick`",
         "back\\slash", "scored", "$x", "{x}", "%s", "--c", "__proto__", "constructor", "</script>")  # fmt: skip
LEVELS = ("plain", "it's", '"q"', "", "NULL", "back\\slash", "new\nline", "tab\there", "größe", "%", "\\N", "a`b", "0",
          "-1", "?1", ":x", "@x", "\\'", "</script>", "{{x}}", "NaN")  # fmt: skip


def awkward(manifest: Manifest) -> Manifest:
    """The manifest with features of such names and levels, some of which may be missing."""
    draw = random.Random(1)
    numbers = [Feature(name, "numeric", (), -1e3, 1e3, None) for name in NAMES]
    numbers[:2] = [
        Feature(NAMES[0], "numeric", (), -1e3, 1e3, 7.5, "indicator"),
        Feature(NAMES[1], "numeric", (), -1e3, 1e3, 2.5, "mean"),
    ]
    texts = [
        Feature("order", "categorical", LEVELS, None, None, None),
        Feature("gr'oup", "categorical", LEVELS, None, None, 5.0, "indicator"),
        Feature("flag", "categorical", ("false", "true"), None, None, None),
    ]
    columns = []
    for at, feature in enumerate([*numbers, *texts]):
        for level in range(1, len(feature.levels)) if feature.levels else [None]:
            columns.append(Column(at, level, draw.gauss(0, 1), draw.uniform(0.1, 3), draw.gauss(0, 1), 0.0))
        if feature.missing == "indicator":
            columns.append(Column(at, None, 0.25, 1.0, draw.gauss(0, 1), 0.0, missing=True))
    return msgspec.structs.replace(
        manifest,
        features=(*numbers, *texts),
        parameters=Parameters(0.3, tuple(columns)),
        target=msgspec.structs.replace(manifest.target, name="order by", labels=("it's no", 'a "yes"')),
    )


def awkward_rows(manifest: Manifest, n: int) -> np.ndarray:
    """Random rows of x (n, d) of an awkward manifest."""
    draw = np.random.default_rng(1)
    x = draw.normal(0, 5, (n, len(manifest.features)))
    for at, feature in enumerate(manifest.features):
        if feature.levels:
            x[:, at] = draw.integers(0, len(feature.levels), n)
        if feature.nullable:
            x[draw.random(n) < 0.2, at] = np.nan
    return x


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
