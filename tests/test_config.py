"""Settings: read once, every fault in one error."""

from pathlib import Path

import pytest

from serve.config import Config
from serve.errors import ConfigError
from serve.gunicorn_conf import available_cpus


def test_defaults():
    assert Config.from_env({}) == Config.from_env({"PORT": "1", "MODEL_NAME": "", "MAX_ROWS": ""}) == Config()


def test_reads_every_setting():
    environ = {
        "MODELS_DIR": "/m",
        "MODEL_NAME": "hours",
        "MODEL_VERSION": "3",
        "RUNTIME": "torchscript",
        "MAX_ROWS": "5",
        "MAX_BODY_BYTES": "6",
    }

    assert Config.from_env(environ) == Config(Path("/m"), "hours", 3, "torchscript", 5, 6)


def test_reports_every_fault_at_once():
    with pytest.raises(ConfigError) as caught:
        Config.from_env({"RUNTIME": "tensorrt", "MAX_ROWS": "0", "MODEL_VERSION": "two", "MAX_BODY_BYTES": "-1"})

    assert str(caught.value).split("; ") == [
        "RUNTIME must be onnx or torchscript",
        "MODEL_VERSION must be a whole number above 0",
        "MAX_ROWS must be a whole number above 0",
        "MAX_BODY_BYTES must be a whole number above 0",
    ]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "99900000 100000\n"}, None),
        ({}, None),
    ],
)
def test_workers_follow_the_containers_quota(tmp_path, monkeypatch, files, expected):
    """None: no quota below what the scheduler gives."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert available_cpus(tmp_path) == (expected or 4)
