"""The Hugging Face hub's own parser reads MODEL_CARD.md: its task, its tags and its figures."""

import json
import subprocess
from pathlib import Path

import pytest

from passfail.loading import load
from tests.support import ROOT

pytestmark = pytest.mark.engines
PYTHON = ROOT / ".venv-mlflow" / "bin" / "python"
PROGRAM = """
import json, sys
from huggingface_hub import ModelCard
data = ModelCard.load(sys.argv[1]).data
figures = {one.metric_type: one.metric_value for one in data.eval_results}
print(json.dumps([data.pipeline_tag, data.tags, data.model_name, figures]))
"""


@pytest.mark.skipif(not PYTHON.exists(), reason="make test-engines installs huggingface_hub: the card is NOT parsed")
def test_the_card_s_front_matter_is_the_hub_s(models: Path) -> None:
    command = [str(PYTHON), "-c", PROGRAM, str(models / "admissions" / "1" / "MODEL_CARD.md")]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    task, tags, name, figures = json.loads(done.stdout)
    held_out = load(models / "admissions").manifest.training.held_out
    assert (task, name) == ("tabular-classification", "admissions")
    assert "logistic-regression" in tags
    assert figures == {"roc_auc": held_out.auc, "accuracy": held_out.accuracy, "brier_score": held_out.brier}
