"""A manifest whose figures agree has no contradiction."""

from msgspec.structs import replace

from passfail.proof.contradictions import contradictions
from tests.support.models import opened


def test_the_examples_of_a_range_that_ends_beside_zero_are_its_own(models):
    """The last of four examples is the minimum plus the width, which float64 rounds."""
    manifest = opened(models, "hours").manifest
    least, most = -50.0, -1e-12
    feature = replace(manifest.features[0], minimum=least, maximum=most)
    numbers = [least + share * (most - least) for share in (0.0, 1 / 3, 2 / 3, 1.0, 2.0)]
    examples = [replace(one, instance={"hours": x}) for one, x in zip(manifest.examples, numbers, strict=False)]
    changed = replace(manifest, features=(feature,), examples=(*examples, *manifest.examples[5:]))

    assert not [one for one in contradictions(changed) if "training range" in one]
