"""The comparison of a published export with a new fit, field by field."""

import hashlib
import io
import zipfile
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from passfail.manifest import Manifest
from train.export import formats
from train.export.chain import Difference, differences
from train.export.checkpoint import Description
from train.export.javascript import FILENAME, to_javascript
from train.export.publish import draft, pages
from train.model.logistic import LogisticModel

OTHER = ("digest", "version", "files")  # fields that a new export has anew


def compare(
    manifest: Manifest, files: Mapping[str, bytes], description: Description, model: LogisticModel
) -> dict[str, list[Difference]]:
    """Compare a published export with a new fit.

    Parameters
    ----------
    manifest, files : of the export.
    description, model : of the new fit.

    Returns
    -------
    {field of the manifest, or file: its differences}.
    """
    graphs = {name: make(model) for name, make in formats.makers().items()}
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
    """The SHA-256 of each member of a model file, without torch's serial number, which varies."""
    members = {"": data}
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    varies = ("serialization_id", ".debug_pkl")
    return {name: hashlib.sha256(part).hexdigest() for name, part in members.items() if not name.endswith(varies)}
