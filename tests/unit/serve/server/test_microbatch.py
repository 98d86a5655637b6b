"""Rows asked in one turn of the event loop: one run of the model, and for each row what it is answered alone."""

import asyncio
import dataclasses

import numpy as np
import pytest

from passfail.errors import InvalidInstance
from passfail.loading import open_model
from passfail.repository import find
from serve.server.microbatch import Turn, at_once
from serve.settings import Config

ROWS = [(700.0, 3.5, 0.0), (300.0, 2.0, 3.0), (1e308, -1e308, 1.0), (520.0, 3.1, 2.0)]


@pytest.fixture
def counted(models):
    """A model, and the sizes of the batches that its runtime is given."""
    config = Config(models=models, model_name="admissions")
    model, sizes = open_model(config, find(config)), []

    def runtime(x):
        sizes.append(len(x))
        return model.runtime(x)

    return dataclasses.replace(model, runtime=runtime), sizes


def ask(turn, *questions):
    """The answers of (model, row) asked in one turn; an exception for one that is refused."""

    async def together():
        return await asyncio.gather(*(turn.answer(*one) for one in questions), return_exceptions=True)

    return asyncio.run(together())


def alone(model, row):
    """What the model says of a row by the functions that answer many."""
    x = np.array([row])
    logit, probability = model.predict(x)
    return model.verdict(logit).item(), logit.item(), probability.item(), model.stable(x, logit).item()


def test_rows_of_one_turn_take_one_run_and_answer_as_alone(counted):
    model, sizes = counted
    good = [ROWS[0], ROWS[1], ROWS[3]]

    answers = ask(Turn(), *((model, row) for row in good))

    assert sizes == [3]
    assert answers == [alone(model, row) for row in good]


def test_a_row_without_an_answer_is_refused_and_the_others_are_answered(counted):
    model, sizes = counted

    answers = ask(Turn(), *((model, row) for row in ROWS))

    assert sizes == [4, 1, 1, 1, 1]
    refused = answers.pop(2)
    assert isinstance(refused, InvalidInstance)
    assert [problem.pointer for problem in refused.problems] == ["$"]
    assert answers == [alone(model, row) for row in (ROWS[0], ROWS[1], ROWS[3])]


def test_each_turn_has_a_batch_of_its_own_and_so_has_each_model(counted):
    model, sizes = counted
    other = dataclasses.replace(model, watch=None)

    ask(Turn(), (model, ROWS[0]), (model, ROWS[1]))
    ask(Turn(), (model, ROWS[0]), (other, ROWS[0]), (other, ROWS[1]))

    assert sizes == [2, 1, 2]


def test_who_waits_without_a_turn_is_a_fault_of_ours(counted):
    model, _ = counted

    with pytest.raises(RuntimeError, match="shares no turn"):
        at_once(Turn().answer(model, ROWS[0]))
