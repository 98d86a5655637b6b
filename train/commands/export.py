"""The command export: prove the named checkpoint and publish it as a new version."""

from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress

from passfail.errors import ConfigError
from passfail.repository import pinned
from passfail.spelling import shown
from train.arguments import model_name, signer_of
from train.export import checkpoint, parity
from train.export.publish import export


def run(args: Namespace) -> None:
    """Export the named checkpoint, and print the new version's answers to two examples."""
    sign = signer_of(args)
    manifest = export(*checkpoint.load(args.checkpoints, model_name(args)), args.models, sign)
    proof = manifest.certificate
    different = sum(one.logit_differences for one in proof.engines.values())
    wrong = sum(one.verdict_differences for one in proof.engines.values())
    print(
        f"proven on {sum(proof.rows.values())} rows, {proof.exact} of them against exact arithmetic, in "
        f"{len(proof.engines)} engines ({', '.join(proof.engines)}): {different} logits differ; {parity.worst(proof)}; "
        f"{wrong} wrong verdicts"
    )
    print(f"wrote {args.models / manifest.name / str(manifest.version)}{', signed' if sign else ''}")
    with suppress(ConfigError):  # the service names a pin that can't be read
        if (held := pinned(args.models / manifest.name)) is not None:
            print(f"version {held} is pinned, so the service keeps it; make use VERSION=highest removes the pin")
    last = 3 if len(manifest.features) > 1 else 4  # the fifth lies beyond the training range
    for example in (manifest.examples[0], manifest.examples[last]):
        label = manifest.target.labels[example.logit > manifest.logit_threshold]
        print(f"predict {_format(example.instance)}: {label}")


def _format(instance: Mapping[str, float | str | None]) -> str:
    """`7 hours` if that is the whole instance, else `gre=220, rank=1`."""
    cells = {name: shown(value) if isinstance(value, float) else value for name, value in instance.items()}
    name, value = next(iter(instance.items()))
    if len(instance) == 1 and isinstance(value, float):
        return f"{cells[name]} {name.removesuffix('s') if value == 1 else name}"
    return ", ".join(f"{name}={cell}" for name, cell in cells.items())
