"""Rows of requests in one iteration of the event loop share a run of the model.

Each has the answer of a row alone.
"""

import dataclasses

import numpy as np
import pytest

from passfail.errors import NonFiniteLogit
from serve.http.messages import Pending, completed
from serve.registry import Served
from serve.server.microbatch import answer_together
from tests.support.models import opened

ROWS = [(700.0, 3.5, 0.0), (300.0, 2.0, 3.0), (1e308, -1e308, 1.0), (520.0, 3.1, 2.0)]


@pytest.fixture
def counted(models):
    """A model in service, and the sizes of its runtime's batches."""
    model, sizes = opened(models, "admissions"), []

    def runtime(x):
        sizes.append(len(x))
        return model.runtime(x)

    return Served(dataclasses.replace(model, runtime=runtime), None), sizes


def ask(*questions):
    """The answers to (served, row) in one run; an exception for a refused row."""
    answers, _ = answer_together([Pending(served, row, None) for served, row in questions])
    return answers


def alone(served, row):
    """The answer to one row, by the functions for many rows."""
    model = served.model
    x = np.array([row])
    logit, probability = model.score(x)
    outside = (model.outside(x) or [()])[0]
    return model.verdict(logit).item(), logit.item(), probability.item(), model.stable(x, logit).item(), outside


def test_rows_of_one_iteration_share_a_run_and_are_answered_as_alone(counted):
    model, sizes = counted
    good = [ROWS[0], ROWS[1], ROWS[3]]

    answers = ask(*((model, row) for row in good))

    assert sizes == [3]
    assert answers == [alone(model, row) for row in good]


def test_a_row_without_an_answer_is_refused_and_the_others_are_answered(counted):
    model, sizes = counted

    answers = ask(*((model, row) for row in ROWS))

    assert sizes == [4, 3]
    refused = answers.pop(2)
    assert isinstance(refused, NonFiniteLogit)
    assert refused.rows == [0]
    assert answers == [alone(model, row) for row in (ROWS[0], ROWS[1], ROWS[3])]


def test_each_iteration_and_each_model_has_its_own_batch(counted):
    model, sizes = counted
    other = dataclasses.replace(model)

    ask((model, ROWS[0]), (model, ROWS[1]))
    ask((model, ROWS[0]), (other, ROWS[0]), (other, ROWS[1]))

    assert sizes == [2, 1, 2]


def test_a_single_row_is_answered_alike(counted):
    model, sizes = counted

    assert completed(Pending(model, ROWS[0], lambda found: found)) == alone(model, ROWS[0])
    assert sizes == [1, 1]


def test_a_failing_runtime_affects_only_its_own_rows(counted):
    model, _ = counted
    broken = Served(dataclasses.replace(model.model, runtime=lambda x: 1 / 0), None)

    first, second, third = ask((broken, ROWS[0]), (model, ROWS[1]), (broken, ROWS[1]))

    assert isinstance(first, ZeroDivisionError)
    assert second == alone(model, ROWS[1])
    assert isinstance(third, ZeroDivisionError)
