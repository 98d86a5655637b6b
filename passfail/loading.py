"""Opens an export: reads and verifies its files, starts the runtime, certifies the answers."""

import logging
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from passfail import signing
from passfail.codecs import Codecs
from passfail.errors import CertificateError, IntegrityError, RequestError
from passfail.links import LINKS
from passfail.manifest import Manifest, decode
from passfail.model import Model
from passfail.proof import certificate
from passfail.proof.contradictions import contradictions
from passfail.repository import locate, read_manifest, read_verified, verified
from passfail.runtimes import MODEL_FILES, Runtime, load_runtime
from passfail.signing import PublicKey

LOG = logging.getLogger(__name__)


def load(
    path: str | Path, version: int | None = None, runtime: str = "onnx", signed_by: str | Path | None = None
) -> Model:
    """Open an exported model as the service does: verified, and certified on this machine.

    Parameters
    ----------
    path : a model's folder (models/admissions), a version's (models/admissions/3), or a repository of one model.
    version : default: the pinned version, or the highest.
    runtime : "onnx" or "torchscript".
    signed_by : a PEM file with the Ed25519 public key that must have signed the manifest.

    Raises
    ------
    StartupError : the export must not be used; one line gives the reason.
    """
    key = None if signed_by is None else signing.public_key(signed_by, "signed_by")
    return open_model(locate(Path(path), version), runtime, key)


def open_model(folder: Path, runtime: str = "onnx", signed_by: PublicKey | None = None) -> Model:
    """Open the model in a version's folder: verified, and certified on this machine.

    Parameters
    ----------
    folder : models/<name>/<version>.
    runtime : "onnx" or "torchscript".
    signed_by : the Ed25519 public key that must have signed the manifest; None: no signature is required.

    Raises
    ------
    StartupError : the export must not be used; one line gives the reason.
    """
    return open_models(folder, [runtime], signed_by)[0]


def open_models(folder: Path, runtimes: Sequence[str], signed_by: PublicKey | None = None) -> list[Model]:
    """Open one export on several runtimes; verify its files once. Raises StartupError."""
    manifest = read_manifest(folder, signed_by)
    files = read_verified(folder, manifest)
    return [_start(folder, manifest, files, name) for name in runtimes]


@lru_cache(4)
def received(text: bytes, runtime: str, data: bytes) -> Model:
    """Open a model that another process sent; a process verifies and certifies it once.

    Parameters
    ----------
    text : the bytes of manifest.json.
    data : the bytes of the runtime's model file.

    Raises
    ------
    StartupError : the export must not be used; one line gives the reason.
    """
    manifest = decode(text)
    verified(manifest, MODEL_FILES[runtime], data, manifest.name)
    return _start(Path(manifest.name, str(manifest.version)), manifest, {MODEL_FILES[runtime]: data}, runtime)


def _start(folder: Path, manifest: Manifest, files: Mapping[str, bytes], name: str) -> Model:
    """Start a runtime; check examples, figures and certificate."""
    try:
        source = name, files[MODEL_FILES[name]]
        runtime = load_runtime(*source)
    except IntegrityError as error:  # the bytes are verified: this engine is too old or too new for them
        remedy = "install the versions that its manifest names, or export again"
        raise IntegrityError(f"{folder}: {error}: {remedy}") from error
    began = time.perf_counter()
    try:
        replay(manifest, runtime)
        if wrong := next(contradictions(manifest), None):
            raise CertificateError(wrong)
        model = Model(manifest, runtime, source)
        certificate.certify(name, runtime, model.verdict, manifest, model.stable)
    except CertificateError as error:
        raise CertificateError(f"{folder}: {error}: export again") from error
    took = 1000 * (time.perf_counter() - began)
    LOG.info("%s answers on %s as it was certified; the check took %.0f ms", folder, name, took)
    return model


def replay(manifest: Manifest, runtime: Runtime) -> None:
    """Answer the recorded examples from JSON, which also warms up the runtime.

    Raises CertificateError if an answer differs.
    """
    if not manifest.examples:
        raise CertificateError("there is no recorded example")
    decoders = Codecs(manifest, len(manifest.examples))
    try:
        x = decoders.json.read_objects(msgspec.json.encode([example.instance for example in manifest.examples]))
    except RequestError as error:
        raise CertificateError(f"the recorded examples can't be read: {error.text}") from error
    logit, probability = runtime(x)
    for example, z, p in zip(manifest.examples, logit.tolist(), probability.tolist(), strict=True):
        label = manifest.target.labels[z > manifest.logit_threshold]
        if example.label != label:
            raise CertificateError(f"a recorded example is labelled {label} here, {example.label} when it was fitted")
        if z != example.logit or certificate.ulp(p, example.probability) > LINKS[manifest.link].ulp:
            recorded = f"{example.logit!r} ({example.probability!r})"
            raise CertificateError(f"a recorded example answers {z!r} ({p!r}) here, {recorded} when it was fitted")
