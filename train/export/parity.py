"""The proof before publishing: every engine against exact arithmetic, on every kind of row.

passfail/proof/certificate.py defines the figures and their limits. The service runs a short form of the proof on its
own machine. Logits must equal the closed form's bit for bit, because the graph adds in a fixed order and IEEE 754 then
defines each bit.
"""

import importlib.util
import platform
from collections.abc import Mapping
from copy import copy
from importlib.metadata import version
from pathlib import Path

import numpy as np
from torch.nn import Module

from passfail.arrays import Floats
from passfail.errors import CertificateError, PassfailError
from passfail.manifest import Manifest
from passfail.measurements import Certificate, Figures
from passfail.model import Model
from passfail.proof import certificate as proofs
from passfail.proof import samples
from passfail.proof.engines import onnx_reference
from passfail.proof.reference import Subject
from passfail.repository import find, read_manifest, read_verified
from passfail.runtimes import MODEL_FILES, Runtime, load_runtime
from passfail.runtimes.torchscript import in_torch
from train.errors import ExportError

SEED = 0
ROWS = 5_000  # of each random kind
ACROSS = 50_000  # rows across the probabilities: they find each fault in an interval of 1e-3 of the log-odds
FEW = (0, 1, 2, 7, 1000)
EXACT = 4_000
BATCH_LEAST = 65_537  # of the largest batch, in rows
BATCH_ROWS, BATCH_VALUES = 100_000, 2**26  # of the largest batch: MAX_ROWS, if the memory allows it

PACKAGES = ("torch", "onnx", "onnxruntime", "numpy", "mpmath")

Engines = Mapping[str, Runtime]  # {name: runtime}
Files = Mapping[str, bytes]  # of an export, by name


def certificate(manifest: Manifest, files: Files, training_rows: Floats, eager: Module | None = None) -> Certificate:
    """Prove an export and return its Certificate.

    Parameters
    ----------
    manifest : the export's, with its parameters.
    files : the model files.
    training_rows : float64 (n, d).
    eager : the model in PyTorch, if it is available.

    Raises
    ------
    ExportError : an engine misses a limit; the message names each engine and each limit.
    """
    drawn, kinds = samples.rows(manifest, ROWS, SEED, ACROSS)
    x = np.concatenate([training_rows, drawn])
    sizes = proofs.batch_sizes(max(BATCH_LEAST, min(BATCH_ROWS, BATCH_VALUES // len(manifest.features))))
    truth = proofs.Truth(manifest, x, EXACT, steps=400, sizes=sizes, alone=200)
    every = engines(files, eager)
    served = {name: every.pop(name) for name in (*MODEL_FILES, "torch.export")}
    figures, missed = prove(served, manifest, truth)
    # The other engines are not published, so few sizes of batches suffice.
    few = copy(truth)
    few.sizes, few.alone = FEW, truth.alone[::10]
    beside, more = prove(every, manifest, few)
    figures, missed = figures | beside, missed + more
    further = uncertified(files)
    if missed:
        raise ExportError("the export does not answer as its parameters say: " + "; ".join(missed))
    rows = {"training": len(training_rows), **kinds}
    others = {name: tuple(prove({name: run}, manifest, truth)[1]) for name, run in further.items()}
    versions = {"python": platform.python_version(), **{name: version(name) for name in (*PACKAGES, *further)}}
    return Certificate(SEED, rows, len(truth.sample), sizes, figures, others, versions, cpu())


def prove_briefly(engines: Engines, subject: Subject, rows: int, seed: int = SEED) -> list[str]:
    """Prove engines on that many rows of each kind; return the missed limits."""
    x, _ = samples.rows(subject, rows, seed)
    truth = proofs.Truth(subject, x, rows, steps=100, sizes=proofs.batch_sizes(1025), alone=20)
    return prove(engines, subject, truth)[1]


def prove(engines: Engines, manifest: Subject, truth: proofs.Truth) -> tuple[dict[str, Figures], list[str]]:
    """Measure engines; return ({engine: Figures}, the missed limits in words)."""
    figures: dict[str, Figures] = {}
    missed: list[str] = []
    for name, run in engines.items():
        try:
            model = Model(manifest, run)  # type: ignore[arg-type]  # no Manifest is needed
            figures[name] = proofs.measure(run, model.verdict, truth, model.stable)
            missed += [f"{name}: {fault}" for fault in proofs.faults(figures[name], manifest.link)]
        except CertificateError as error:
            missed.append(f"{name}: {error}")
    return figures, missed


def engines(files: Files, eager: Module | None = None) -> dict[str, Runtime]:
    """The engines that must give the same answers."""
    try:
        every = {name: load_runtime(name, files[file]) for name, file in MODEL_FILES.items()}
        every["torch.export"] = load_runtime("torchexport", files["model.pt2"])
    except PassfailError as error:
        raise ExportError(f"the export can't be proven: {error}") from error
    every["onnx reference"] = onnx_reference(files["model.onnx"])
    if eager is not None:
        every["eager"] = in_torch(eager)
    return every


def uncertified(files: Files) -> dict[str, Runtime]:
    """Further installed engines; they compute in float32, so are not certified."""
    if importlib.util.find_spec("openvino") is None:
        return {}
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(files["model.onnx"]), "CPU", {"INFERENCE_NUM_THREADS": 1})
    return {"openvino": lambda x: tuple(compiled(x).values())}


def published(models: Path, name: str, number: int | None = None) -> tuple[Path, Manifest, Files]:
    """A published version, by default the newest: (folder, Manifest, verified files).

    Raises StartupError if there is no version, or if it was altered.
    """
    folder = find(models, name, number)
    manifest = read_manifest(folder)
    return folder, manifest, read_verified(folder, manifest)


def prove_again(models: Path, name: str, number: int | None = None) -> tuple[Certificate, Manifest]:
    """Prove a published version on this machine, without its training rows."""
    _, manifest, files = published(models, name, number)
    return certificate(manifest, files, np.empty((0, len(manifest.features)))), manifest


def worst(certificate: Certificate) -> str:
    """The largest errors of a certificate's engines, in words."""
    engines = certificate.engines.values()
    logit = f"the largest error of a logit is {max(one.logit_error for one in engines):.2f} of its bound"
    return f"{logit}, that of a probability is {max(one.probability_ulp for one in engines)} units in the last place"


def table(certificate: Certificate, link: str) -> str:
    """A certificate as a table in plain text; `link` is the model's."""
    lines = [
        f"{sum(certificate.rows.values())} rows (seed {certificate.seed}): "
        + ", ".join(f"{count} {kind}" for kind, count in certificate.rows.items()),
        f"{certificate.exact} of them against exact arithmetic; {len(certificate.batches)} sizes of batches from "
        f"{min(certificate.batches)} to {max(certificate.batches)} rows",
        ", ".join(f"{name} {number}" for name, number in certificate.versions.items()),
        f"CPU: {' '.join(certificate.cpu)}",
        "",
    ]
    width, limits = max(map(len, Figures.__struct_fields__)), proofs.limits(link)
    columns = {name: max(len(name), 8) for name in certificate.engines}
    lines.append("  ".join(["".ljust(width), *(name.rjust(w) for name, w in columns.items()), "at most".rjust(8)]))
    for figure in Figures.__struct_fields__:
        values = [f"{getattr(certificate.engines[name], figure):.3g}".rjust(w) for name, w in columns.items()]
        limit = f"{limits[figure]:g}" if figure in limits else "-"
        lines.append("  ".join([figure.ljust(width), *values, limit.rjust(8)]))
    for name, missed in certificate.others.items():
        lines.append(f"{name}, not certified: {'; '.join(missed) or 'meets every limit'}")
    return "\n".join(lines)


def cpu(info: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """The CPU's name and its vector instructions, on which a library's code path depends."""
    try:
        facts = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return (platform.processor() or platform.machine(),)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    vector = ("sse", "ssse", "avx", "fma", "f16c", "amx", "asimd", "sve", "neon")
    return (facts.get("model name", platform.machine()), *(flag for flag in flags if flag.startswith(vector)))
