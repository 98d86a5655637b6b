"""Settings: read once, every fault in one error."""

import resource
from pathlib import Path

import pytest

from passfail.errors import ConfigError
from serve.settings import Config, affordable_connections, available_cpus, available_memory


def test_defaults():
    assert Config.from_env({}) == Config.from_env({"PORT": "", "MODEL_NAME": "", "MAX_ROWS": ""}) == Config()


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
        "MODEL_VERSION must be a whole number above 0",
        "RUNTIME must be onnx or torchscript",
        "MAX_ROWS must be a whole number above 0",
        "MAX_BODY_BYTES must be a whole number above 0",
    ]


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({"SHADOW": "openvino"}, "SHADOW must be onnx or torchscript"),
        ({"SHADOW": "onnx"}, "SHADOW must differ from RUNTIME"),
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


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "1073741824\n"}, 2**30),
        ({"memory.max": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": "1073741824\n"}, 2**30),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({}, None),
    ],
)
def test_the_containers_memory_limit_is_read(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert available_memory(tmp_path) == expected


@pytest.mark.parametrize("worker_class", ["asgi", "gthread"])
@pytest.mark.parametrize("mebibytes", [384, 512, 1024, 4096])
@pytest.mark.parametrize("cpus", [1, 2, 64])
def test_workers_and_the_size_of_bodies_follow_the_memory(monkeypatch, worker_class, mebibytes, cpus):
    monkeypatch.setattr("serve.settings.available_memory", lambda: mebibytes << 20)
    monkeypatch.setattr("serve.settings.available_cpus", lambda: cpus)

    found = Config.from_env({"WORKER_CLASS": worker_class})

    assert 1 <= found.workers <= cpus
    assert 2**20 <= found.max_body_bytes <= Config.max_body_bytes
    settings = {"WEB_CONCURRENCY": found.workers, "MAX_BODY_BYTES": found.max_body_bytes, "WORKER_CLASS": worker_class}
    assert Config.from_env({name: str(value) for name, value in settings.items()}) == found
    if found.workers < cpus:
        with pytest.raises(ConfigError, match="of memory"):
            Config.from_env({"WORKER_CLASS": worker_class, "WEB_CONCURRENCY": str(found.workers + 1)})


@pytest.mark.parametrize(
    "environ",
    [{"WEB_CONCURRENCY": "4", "MAX_BODY_BYTES": "16777216"}, {"MAX_BODY_BYTES": "99999999"}, {"WEB_CONCURRENCY": "9"}],
    ids=str,
)
def test_settings_beyond_the_memory_are_refused_with_what_they_need(monkeypatch, environ):
    monkeypatch.setattr("serve.settings.available_memory", lambda: 1 << 30)

    with pytest.raises(
        ConfigError, match=r"worker\(s\) .* need \d+ MiB of memory, and the limit is 1024 MiB: raise the limit"
    ):
        Config.from_env(environ)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"AIP_HTTP_PORT": "8080"}, {"port": 8080}),
        ({"AIP_HTTP_PORT": "8080", "PORT": "9000"}, {"port": 9000}),
        ({"HOST": "127.0.0.1"}, {"host": "127.0.0.1"}),
        ({"HOST": "[::1]"}, {"host": "::1"}),
        ({"HOST": "unix:/run/passfail.sock"}, {"host": "unix:/run/passfail.sock"}),
        ({"ROOT_PATH": "/models/a-1"}, {"root_path": "/models/a-1"}),
        ({"KEEPALIVE": "620", "MAX_CONNECTIONS": "50"}, {"keepalive": 620, "max_connections": 50}),
        ({"WEB_CONCURRENCY": "3", "WORKER_CLASS": "gthread"}, {"workers": 3, "worker_class": "gthread"}),
        ({"DRAIN_SECONDS": "0"}, {"drain_seconds": 0}),
        ({"OTEL_SERVICE_NAME": "a"}, {"otel": {"OTEL_SERVICE_NAME": "a"}}),
    ],
    ids=lambda value: "-".join(value),
)
def test_reads_the_servers_settings(environ, expected):
    assert Config.from_env(environ) == Config(**expected)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("HOST", "not an address"),
        ("HOST", "unix:"),
        ("ROOT_PATH", "/a/"),
        ("ROOT_PATH", "a"),
        ("ROOT_PATH", "/a?b"),
        ("KEEPALIVE", "0"),
        ("MAX_CONNECTIONS", "-1"),
        ("WEB_CONCURRENCY", "257"),
        ("WORKER_CLASS", "sync"),
        ("DRAIN_SECONDS", "21"),
        ("METRICS_PORT", "8000"),
        ("METRICS_PORT", "http"),
    ],
)
def test_refuses_a_wrong_server_setting_by_its_name(name, text):
    with pytest.raises(ConfigError, match=f"^{name} must "):
        Config.from_env({name: text})


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("WEB_CONCURENCY", "WEB_CONCURRENCY"),
        ("KEEP_ALIVE", "KEEPALIVE"),
        ("MODEL_DIR", "MODELS_DIR"),
        ("API_KEYS_FILE", "API_KEY_FILE"),
        ("API_KEY", "API_KEY_FILE"),
        ("max_rows", "MAX_ROWS"),
        ("API_KEYS", "API_KEY_FILE"),
    ],
)
def test_names_a_misspelt_setting(name, like):
    expected = f"{name} is not a setting of this service: did you mean {like}?"

    assert Config.from_env({name: "1"}).warnings == (expected,)


@pytest.mark.parametrize(
    "name", ["HOSTNAME", "HOME", "DB_HOST", "PASSFAIL_SERVICE_PORT", "AIP_STORAGE_URI", "http_proxy", "PROXY_PORT"]
)
def test_says_nothing_of_variables_that_belong_to_others(name):
    assert Config.from_env({name: "1"}).warnings == ()


@pytest.mark.parametrize(
    ("soft", "expected"), [(1024, 896), (100, 1), (1_048_576, 10_000), (resource.RLIM_INFINITY, 10_000)]
)
def test_connections_follow_the_open_files_limit(monkeypatch, soft, expected):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))

    assert affordable_connections() == expected
