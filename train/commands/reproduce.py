"""The command reproduce: fit the table again, and compare it with a published version."""

import io
import math
import re
import zipfile
from argparse import Namespace
from hashlib import sha256

import msgspec
from msgspec.structs import replace

from passfail.manifest import Manifest
from train.arguments import fit_arguments, model_name
from train.commands.fit import fitted_model
from train.errors import ExportError
from train.export import formats, parity
from train.export.checkpoint import Description
from train.export.comparison import Difference, differences
from train.export.javascript import FILENAME, to_javascript
from train.export.publish import draft, pages
from train.model.logistic import LogisticModel

NUMBERED = re.compile(rb"X.{4}(?=__torch__)|[./]___torch_mangle_\d+", re.DOTALL)
OTHER = ("digest", "version", "files")  # fields that a new export has anew

Found = dict[str, list[Difference]]  # {field of the manifest, or file: its differences}


def run(args: Namespace) -> None:
    """Fit the table again as a published version was fitted, and print the differences.

    Raises ExportError if there is a difference.
    """
    _, manifest, files = parity.published(args.models, model_name(args), args.version)
    if not manifest.arguments:
        raise ExportError(f"version {manifest.version} doesn't record its fit's arguments; export it again")
    again = fit_arguments(manifest.arguments)
    again.data = again.data and args.data
    again.environ, again.rank, again.name = {}, 0, manifest.name
    description, model, _ = fitted_model(again, lambda *words: None)
    found = compare(manifest, files, description, model)
    for part, differing in found.items():
        print(f"{part}: {f'{len(differing)} differ' if differing else 'the same'}")
        for one in differing[:10]:
            print(f"  {one}")
    numbers = [one.size for differing in found.values() for one in differing if not math.isnan(one.size)]
    if changed := [part for part, differing in found.items() if differing]:
        largest = f"; the largest relative difference of a number is {max(numbers):.1e}" if numbers else ""
        raise ExportError(f"not reproduced: {', '.join(changed)}{largest}")
    print(f"reproduced: this table and this code give version {manifest.version} again, bit for bit")


def compare(manifest: Manifest, files: parity.Files, description: Description, model: LogisticModel) -> Found:
    """Compare a published export with a new fit.

    Parameters
    ----------
    manifest, files : of the export.
    description, model : of the new fit.
    """
    graphs = formats.graphs(model)
    new = draft(description, model)
    training = replace(new.training, data=manifest.training.data)  # the table may have another name
    known = {name: file for name, file in manifest.files.items() if name in (*graphs, FILENAME)}
    new = replace(new, training=training, created=manifest.created, certificate=manifest.certificate, files=known)
    made = {**graphs, **pages(new, description.evaluation)}
    if (module := to_javascript(new)) is not None:
        made[FILENAME] = module
    fields = [{**one.pop("training"), **one} for one in map(msgspec.to_builtins, (manifest, new))]
    parts = {name: [one.get(name) for one in fields] for name in {**fields[0], **fields[1]} if name not in OTHER}
    parts |= {name: [_digests(some.get(name, b"")) for some in (files, made)] for name in {**files, **made}}
    return {name: list(differences(name, old, now)) for name, (old, now) in parts.items()}


def _digests(data: bytes) -> dict[str, str]:
    """The SHA-256 of each member of a model file, without the parts that differ in each export.

    These parts are torch's serial number, and the number and length of TorchScript's name of the class.
    """
    members = {"": data}
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    varies = ("serialization_id", ".debug_pkl")
    return {
        NUMBERED.sub(b"", name.encode()).decode(): sha256(NUMBERED.sub(b"", part)).hexdigest()
        for name, part in members.items()
        if not name.endswith(varies)
    }
