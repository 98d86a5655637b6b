"""The hooks of gunicorn's configuration."""

from unittest.mock import Mock

import pytest

from serve.server import gunicorn_conf


@pytest.mark.parametrize(
    ("age", "booted", "pauses"),
    [(2, False, []), (3, False, [gunicorn_conf.RETRY_SECONDS]), (3, True, [])],
    ids=["first", "replacement", "replacement that ran"],
)
def test_a_replacement_that_can_not_open_a_model_pauses_before_the_next_try(monkeypatch, age, booted, pauses):
    slept = []
    monkeypatch.setattr(gunicorn_conf.time, "sleep", slept.append)

    gunicorn_conf.worker_exit(Mock(num_workers=2), Mock(age=age, booted=booted))

    assert slept == pauses
