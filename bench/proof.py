"""The time of the proof before an export, and of its short form at each start.

python -m bench.proof                 processor seconds for 1, 4 and 20 columns of each link; half a minute
"""

import time
from types import SimpleNamespace

import numpy as np
import torch

from passfail.links import LINKS, score_at
from passfail.manifest import Feature
from passfail.model import Model
from passfail.proof.certificate import certify
from passfail.runtimes import load_runtime
from train.export import formats, parity
from train.model.logistic import LogisticModel, parameters


def main() -> None:
    """Print the processor seconds of each proof."""
    print(f"{'columns':>7} {'link':8} {'export, cpu s':>13} {'start, cpu s':>12}")
    for columns in (1, 4, 20):
        for link in LINKS:
            manifest, files, x, model = subject(columns, link)
            began = time.process_time()
            parity.certificate(manifest, files, x, eager=model)
            proven = time.process_time()
            runtime = load_runtime("onnx", files["model.onnx"])
            served = Model(manifest, runtime)
            opened = time.process_time()
            certify("onnx", runtime, served.verdict, manifest, served.stable)
            print(f"{columns:7} {link:8} {proven - began:13.2f} {time.process_time() - opened:12.3f}", flush=True)


def subject(columns: int, link: str):
    """(the manifest's part that a proof needs, {name: bytes}, 3,000 rows, the model)."""
    generator = np.random.default_rng(0)
    features = tuple(Feature(f"x{i}", "numeric", (), -4.0, 4.0, None) for i in range(columns))
    model = LogisticModel(features, link=link).eval()
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(generator.normal(size=columns) / columns**0.5))
    files = formats.graphs(model)
    manifest = SimpleNamespace(
        features=features, parameters=parameters(model), link=link, threshold=0.5, logit_threshold=score_at(link, 0.5)
    )
    return manifest, files, generator.normal(size=(3000, columns)), model


if __name__ == "__main__":
    main()
