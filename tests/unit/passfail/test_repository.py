"""Versions on disk: what is there, and what can't be read."""

import errno
import os

import pytest

from passfail.errors import ConfigError
from passfail.repository import choices, versions
from train.errors import ExportError
from train.export.publish import newest


def test_a_folder_that_is_not_there_or_none_has_no_versions(tmp_path):
    (tmp_path / "file").touch()

    assert versions(tmp_path / "absent") == versions(tmp_path / "file") == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ENOTCONN, errno.ESTALE], ids=os.strerror)
def test_a_folder_that_can_not_be_listed_is_named_with_the_reason(tmp_path, monkeypatch, code):
    """The server of a network file system may be gone."""

    def gone(path):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "listdir", gone)

    with pytest.raises(ConfigError, match=f"hours: can't be read: {os.strerror(code)}"):
        choices(tmp_path, "hours")
    with pytest.raises(ExportError, match="hours: can't be read"):
        newest(tmp_path / "hours")
