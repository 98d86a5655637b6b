"""The certificate of parity: every engine against exact arithmetic, over every kind of row, before publishing.

What is measured and what is allowed: passfail/proof/certificate.py, which the service runs again, in
short, on its own machine.
Logits must be the closed form's to the bit: the graph adds in a fixed order, and IEEE 754 leaves nothing to choose.
"""

import importlib.util
import io
import platform
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator

from passfail.errors import CertificateError, PassfailError
from passfail.manifest import Certificate, Feature, Figures, Parameters
from passfail.model import Model
from passfail.proof import certificate as proofs
from passfail.proof import samples
from passfail.repository import find, read_manifest, read_verified
from passfail.runtimes import MODEL_FILES, load_runtime
from train.errors import ExportError

SEED = 0
ROWS = 5_000  # of each kind that can be drawn at will
EXACT = 4_000
TRAINING_ROWS = 5_000
BATCHES = (0, 1, 2, 7, 1000, 65536)
PACKAGES = ("torch", "onnx", "onnxruntime", "numpy", "mpmath")


def sample(x):
    """At most TRAINING_ROWS of the training rows x (n, d), evenly from first to last."""
    return x[:: -(-len(x) // TRAINING_ROWS)]


def certificate(manifest, files, training_rows, eager=None):
    """The Certificate of an export: its manifest (with its parameters), its files {name: bytes}, rows (n, d) it learnt.

    eager: the model in PyTorch, where it is at hand. Raises ExportError naming each engine and all that it misses.
    """
    drawn, kinds = samples.rows(manifest, ROWS, SEED)
    x = np.concatenate([training_rows, drawn])
    truth = proofs.truth(manifest, x, EXACT, steps=400, sizes=BATCHES, alone=200)
    figures, missed = prove(engines(files, eager), manifest, truth)
    further = others(files)
    if missed:
        raise ExportError("the export doesn't answer as its parameters say: " + "; ".join(missed))
    return Certificate(
        seed=SEED,
        rows={"training": len(training_rows), **kinds},
        exact=len(truth.sample),
        batches=BATCHES,
        engines=figures,
        others={name: tuple(prove({name: run}, manifest, truth)[1]) for name, run in further.items()},
        versions={"python": platform.python_version(), **{name: version(name) for name in (*PACKAGES, *further)}},
        cpu=cpu(),
    )


class Subject(NamedTuple):
    """What a proof needs to know of a model; a Manifest has it all."""

    features: tuple[Feature, ...]
    parameters: Parameters
    logit_threshold: float
    link: str


def short(engines, subject, rows, seed=SEED):
    """What the engines {name: runtime} miss, in words, on so many drawn rows of each kind; empty where all is met."""
    x, _ = samples.rows(subject, rows, seed)
    return prove(engines, subject, proofs.truth(subject, x, rows, steps=100, sizes=(0, 1, 2, 7, 1000), alone=20))[1]


def prove(engines, manifest, truth):
    """({engine: Figures}, [what an engine misses, in words]) of the engines {name: runtime}."""
    figures, missed = {}, []
    for name, run in engines.items():
        try:
            figures[name] = proofs.measure(run, Model(manifest, run).verdict, truth)
            missed += [f"{name}: {fault}" for fault in proofs.faults(figures[name], manifest.link)]
        except CertificateError as error:
            missed.append(f"{name}: {error}")
    return figures, missed


def engines(files, eager=None):
    """The engines that must answer alike: {name: runtime}, as serve/runtimes/__init__.py describes a runtime."""
    try:
        every = {name: load_runtime(name, files[file]) for name, file in MODEL_FILES.items()}
    except PassfailError as error:
        raise ExportError(f"the export can't be proven: {error}") from error
    every["onnx reference"] = reference(files["model.onnx"])
    every["torch.export"] = _torch(torch.export.load(io.BytesIO(files["model.pt2"])).module())
    if eager is not None:
        every["eager"] = _torch(eager)
    return every


def reference(model):
    """ONNX's reference evaluator, written in NumPy to say what each operation means, of the bytes of a model.onnx."""
    evaluator = ReferenceEvaluator(onnx.load_from_string(model))

    def evaluate(x):
        with np.errstate(all="ignore"):
            return evaluator.run(["logit", "probability"], {"x": x})

    return evaluate


def others(files):
    """Further engines, where they are installed; they are measured, and reported, but compute in float32."""
    if importlib.util.find_spec("openvino") is None:
        return {}
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(files["model.onnx"]), "CPU", {"INFERENCE_NUM_THREADS": 1})
    return {"openvino": lambda x: tuple(compiled(x).values())}


def published(models, name, number=None):
    """(folder, Manifest, {file: its bytes, verified}) of a published version, the newest where none is named.

    Raises ExportError where there is none, or it was altered.
    """
    try:
        folder = find(Path(models), name, number)
        manifest = read_manifest(folder)
        return folder, manifest, read_verified(folder, manifest)
    except PassfailError as error:
        raise ExportError(str(error)) from error


def again(models, name, number=None):
    """(Certificate, Manifest) of a published version, proven here and now, without its training rows."""
    _, manifest, files = published(models, name, number)
    return certificate(manifest, files, np.empty((0, len(manifest.features)))), manifest


def table(certificate, link):
    """A certificate as text for people; link: of its model."""
    lines = [
        f"{sum(certificate.rows.values())} rows (seed {certificate.seed}): "
        + ", ".join(f"{count} {kind}" for kind, count in certificate.rows.items()),
        f"{certificate.exact} of them against exact arithmetic; batches of {', '.join(map(str, certificate.batches))}",
        ", ".join(f"{name} {number}" for name, number in certificate.versions.items()),
        f"CPU: {' '.join(certificate.cpu)}",
        "",
    ]
    width = max(map(len, Figures.__struct_fields__))
    columns = {name: max(len(name), 8) for name in certificate.engines}
    lines.append("  ".join(["".ljust(width), *(name.rjust(w) for name, w in columns.items()), "at most".rjust(8)]))
    for figure in Figures.__struct_fields__:
        values = [f"{getattr(certificate.engines[name], figure):.3g}".rjust(w) for name, w in columns.items()]
        limit = f"{proofs.most(figure, link):g}" if figure in proofs.LIMITS else "-"
        lines.append("  ".join([figure.ljust(width), *values, limit.rjust(8)]))
    for name, missed in certificate.others.items():
        lines.append(f"{name}, not certified: {'; '.join(missed) or 'meets every limit'}")
    return "\n".join(lines)


def cpu(info=Path("/proc/cpuinfo")):
    """The CPU's name and its vector instructions, on which the libraries choose their code."""
    try:
        facts = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return (platform.processor() or platform.machine(),)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    vector = ("sse", "ssse", "avx", "fma", "f16c", "amx", "asimd", "sve", "neon")
    return (facts.get("model name", platform.machine()), *(flag for flag in flags if flag.startswith(vector)))


def _torch(module):
    def run(x):
        with torch.inference_mode():
            return tuple(part.numpy() for part in module(torch.from_numpy(x)))

    return run
