"""The command parity: prove a published version again on this machine."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from passfail.manifest import Manifest
from train.arguments import model_name
from train.errors import FitError
from train.export import checkpoint, comparison, parity


def run(args: Namespace) -> None:
    """Prove a published version again, and print each comparison and the certificate."""
    certificate, manifest = parity.prove_again(args.models, model_name(args), args.version)
    for one in _comparisons(args.checkpoints, manifest):
        print(one)
    print(f"export to exact arithmetic: {parity.worst(certificate)}")
    print(parity.table(certificate, manifest.link))


def _comparisons(checkpoints: Path, manifest: Manifest) -> Iterator[str]:
    """The comparisons from the table to the export, each with its differences."""
    try:
        description, _, kept = checkpoint.load(checkpoints, manifest.name)
    except FitError as error:
        yield f"table and fit to export: not compared: {error}"
        return
    if description.training != manifest.training:
        yield f"table and fit to export: not compared: the checkpoint in {checkpoints} is of another fit"
        return
    words = comparison.text_faults(manifest, description.raw)
    figures = comparison.faults(manifest, description, kept)
    compared = f"{len(kept.logit)} logits, the coefficient table, the metrics and the calibration bins"
    yield f"table to export: {len(description.raw)} rows as CSV, JSON and tensors: {'; '.join(words) or 'the same'}"
    yield f"fit to export: {compared}: {'; '.join(figures) or 'the same'}"
