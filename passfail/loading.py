"""From the repository folder to a model that has shown that it answers right: found, verified, loaded, certified."""

import hashlib
import logging
import math
import time
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from passfail import manifest as contract
from passfail import signing
from passfail.errors import CertificateError, IntegrityError, InvalidInstance, ManifestError, Problem
from passfail.manifest import Manifest
from passfail.proof import certificate
from passfail.proof.rounding import Stability
from passfail.repository import find
from passfail.runtimes import MODEL_FILES, load_runtime
from serve.telemetry.shadow import Shadow

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A model in service: what it is and the runtime that answers for it.

    watch: told of every answer (`serve.telemetry.recorder.Watch.predicted`), if there is one.
    """

    manifest: Manifest
    runtime: callable
    shadow: Shadow | None = None
    watch: callable = None

    def predict(self, x, place="$[{}]".format, request_digest=None, watched=True):
        """x float64 (n, d) in the manifest's order of features -> (logit, probability), float64 (n,) each.

        The shadow, if there is one, is offered them; request_digest is what it logs where they differ. watched: whether
        the rows are traffic, or a question that counts for nothing.

        Raises InvalidInstance for rows so far out that float64 can't carry their logit; place(row) names each.
        """
        logit, probability = self.runtime(x)
        if not np.isfinite(logit).all():
            raise _not_finite(map(place, np.flatnonzero(~np.isfinite(logit)).tolist()))
        if self.watch and watched:
            self.watch(self, x, logit, self.verdict(logit), probability)
        if self.shadow:
            self.shadow.offer(x, logit, probability, request_digest)
        return logit, probability

    def answers(self, rows):
        """What `predict`, `verdict` and `stable` say of a few rows: n times (verdict, logit, probability, stable).

        rows: d numbers each, None for missing. Plain values and plain Python: with NumPy, its fixed costs are most of
        a row's time. The shadow is offered none. Raises InvalidInstance, its place "$", where any row has no answer.

        Returns them, and a function without arguments: what tells the watch of them, to be called when there is time.
        """
        x = np.array(rows, dtype=np.float64)
        logits, probabilities = self.runtime(x)
        logits, probabilities = logits.tolist(), probabilities.tolist()
        if not all(map(math.isfinite, logits)):
            raise _not_finite("$")
        verdicts = [logit > self._threshold for logit in logits]
        answers = list(zip(verdicts, logits, probabilities, map(self._stability.one, rows, logits), strict=True))
        return answers, partial(self.watch or _nobody, self, x, logits, verdicts, probabilities)

    def verdict(self, logit):
        """True where the logit is above the threshold's; decided there, where float64 still tells apart."""
        return logit > self._threshold

    @cached_property
    def _threshold(self):
        return self.manifest.logit_threshold

    def stable(self, x, logit):
        """Whether the verdicts on rows x would be the same without any rounding: bool (n,), or None: not known."""
        return self._stability.stable(x, logit)

    @cached_property
    def _stability(self):
        return Stability(self.manifest)


def _nobody(*figures):
    """Who watches a model that isn't watched."""


def _not_finite(places):
    problems = [Problem(place, "its logit is beyond what float64 can carry") for place in places]
    return InvalidInstance("the model has no finite answer", problems)


def open_model(config, folder=None):
    """The model in a version's folder, by default the one that the settings name, verified and certified.

    Raises a StartupError saying what is wrong.
    """
    folder = folder or find(config)
    manifest = read_manifest(folder, config.signed_by)
    files = read_verified(folder, manifest)
    runtime = _open_runtime(folder, manifest, files, config.runtime)
    if config.shadow is None:
        return Model(manifest, runtime)
    second = _open_runtime(folder, manifest, files, config.shadow)
    shadow = Shadow(second, config.shadow, manifest, config.shadow_rate, config.shadow_flips)
    return Model(manifest, runtime, shadow)


def _open_runtime(folder, manifest, files, name):
    """The runtime of that name, having answered the recorded examples and the short certificate."""
    try:
        runtime = load_runtime(name, files[MODEL_FILES[name]])
    except IntegrityError as error:  # its bytes are verified: this engine is too old, or too new, for them
        raise IntegrityError(f"{folder}: {error}") from error
    began = time.perf_counter()
    try:
        replay(manifest, runtime)
        certificate.certify(name, runtime, Model(manifest, runtime).verdict, manifest)
    except CertificateError as error:
        raise CertificateError(f"{folder}: {error}") from error
    took = 1000 * (time.perf_counter() - began)
    LOG.info("%s answers on %s as it was certified, shown in %.0f ms", folder, name, took)
    return runtime


def read_manifest(folder, signed_by=None):
    """The folder's manifest. Raises ManifestError where it is not exactly as exported, or not this folder's.

    signed_by: the public key that must have signed it (IntegrityError where it did not), if there is one.
    """
    path = folder / contract.FILENAME
    try:
        text = path.read_bytes()
        manifest = contract.decode(text)
    except OSError as error:
        raise ManifestError(f"{path}: can't be read: {error.strerror}") from error
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from error
    if signed_by is not None:
        signing.verify(signed_by, folder, text)
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise ManifestError(f"{path}: belongs to {manifest.name}/{manifest.version}: export again, don't copy")
    return manifest


def read_verified(folder, manifest):
    """The bytes of every file of the export, {name: bytes}, compared with the manifest before any engine sees them.

    Also of those that nobody is going to open here: an export that was touched anywhere is not the one proven.
    """
    files = {}
    for name, file in manifest.files.items():
        path = folder / name
        if path.parent != folder or name in ("", ".."):
            raise IntegrityError(f"{folder / contract.FILENAME}: names a file outside its folder: export again")
        try:
            files[name] = path.read_bytes()
        except OSError as error:
            raise IntegrityError(f"{path}: can't be read: {error.strerror}") from error
        if hashlib.sha256(files[name]).hexdigest() != file.sha256:
            raise IntegrityError(f"{path}: not the file that was exported (its SHA-256 differs): export again")
    return files


def replay(manifest, runtime):
    """Answer the recorded examples, which also warms the runtime up. Raises CertificateError where one differs."""
    x = np.array([manifest.row(example.instance) for example in manifest.examples])
    logit, probability = runtime(x)
    for example, z, p in zip(manifest.examples, logit.tolist(), probability.tolist(), strict=True):
        if z != example.logit or certificate.ulp(p, example.probability) > certificate.PROBABILITY_ULP[manifest.link]:
            raise CertificateError(
                f"a recorded example answers {z!r} ({p!r}) here, {example.logit!r} "
                f"({example.probability!r}) when it was exported"
            )
