"""Triton serves an unchanged export folder; a stand-in shows the error if it refuses."""

import sys

import pytest

from tests.support import triton

STUB = "python_backend_stubs/{}.{}".format(*sys.version_info)


@pytest.mark.skipif(not triton.installed(), reason="make conform installs Triton")
def test_triton_answers_the_examples_from_the_same_bytes(models, capsys):
    assert triton.main(["--name", "admissions", "--models", str(models)]) == 0
    assert capsys.readouterr().out == "triton: largest error of a probability 0\n"


def test_a_triton_that_does_not_take_the_folder_is_one_line(models, tmp_path, capsys, monkeypatch):
    """The server of the stand-in for the wheel refuses the folder."""
    wheel = tmp_path / "pytriton"
    server = wheel / "tritonserver" / "bin" / "tritonserver"
    for folder in (server.parent, *(wheel / "tritonserver" / name for name in ("backends/python", STUB))):
        folder.mkdir(parents=True)
    (wheel / "__init__.py").touch()
    server.write_text("#!/bin/sh\ntest -f $2/hours/config.pbtxt -a -f $2/hours/1/model.onnx && echo failed to load x\n")
    server.chmod(0o755)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert triton.main(["--name", "hours", "--models", str(models)]) == 2
    assert capsys.readouterr().err == "error: triton doesn't start: failed to load x\n"
