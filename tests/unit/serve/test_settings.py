"""Settings: read once, every fault in one error."""

from pathlib import Path

import pytest

from passfail.errors import ConfigError
from serve.server.gunicorn_conf import available_cpus
from serve.settings import Config


def test_defaults():
    assert Config.from_env({}) == Config.from_env({"PORT": "1", "MODEL_NAME": "", "MAX_ROWS": ""}) == Config()


def test_reads_every_setting(tmp_path):
    environ = {
        "MODELS_DIR": "/m",
        "MODEL_NAME": "hours",
        "MODEL_VERSION": "3",
        "RUNTIME": "torchscript",
        "MAX_ROWS": "5",
        "MAX_BODY_BYTES": "6",
        "MAX_IN_FLIGHT": "7",
        "SHADOW": "onnx",
        "SHADOW_RATE": ".5",
        "SHADOW_FLIPS": str(tmp_path),
    }

    assert Config.from_env(environ) == Config(Path("/m"), "hours", 3, "torchscript", 5, 6, 7, "onnx", 0.5, tmp_path)


def test_reports_every_fault_at_once():
    with pytest.raises(ConfigError) as caught:
        Config.from_env({"RUNTIME": "tensorrt", "MAX_ROWS": "0", "MODEL_VERSION": "two", "MAX_BODY_BYTES": "9" * 5000})

    assert str(caught.value).split("; ") == [
        "RUNTIME must be onnx or torchscript",
        "MODEL_VERSION must be a whole number above 0",
        "MAX_ROWS must be a whole number above 0",
        "MAX_BODY_BYTES must be a whole number above 0",
    ]


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({"SHADOW": "openvino"}, "SHADOW must be onnx or torchscript"),
        ({"SHADOW": "onnx"}, "SHADOW must be the runtime that RUNTIME is not"),
        ({"SHADOW_RATE": "0"}, "SHADOW_RATE must be a number above 0, at most 1"),
        ({"SHADOW_RATE": "1.5"}, "SHADOW_RATE must be a number above 0, at most 1"),
        ({"SHADOW_RATE": "nan"}, "SHADOW_RATE must be a number above 0, at most 1"),
        ({"SHADOW_FLIPS": "/nowhere"}, "SHADOW_FLIPS must be a folder that can be written to"),
    ],
)
def test_a_shadow_that_can_not_be_is_refused(environ, fault):
    with pytest.raises(ConfigError) as caught:
        Config.from_env(environ)

    assert str(caught.value) == fault


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
