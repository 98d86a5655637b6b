"""The exit status of make soak and make overload."""

from collections import Counter

import pytest

from bench import overload, soak
from bench.overload import Loaded

RIGHT = {"right": 900, "wrong": 0, "refused": 0, "lost": 0}


def test_a_soak_of_right_answers_without_growth_passes():
    assert soak.faults(Counter(RIGHT), [70.0, 71.0, 70.5]) == []


@pytest.mark.parametrize("outcome", ["wrong", "refused", "lost", "unexplained"])
def test_one_answer_that_is_not_right_fails_the_soak(outcome):
    assert soak.faults(Counter({**RIGHT, outcome: 1}), [70.0, 70.0]) == [f"1 answers were {outcome}"]


def test_memory_that_grows_fails_the_soak():
    assert soak.faults(Counter(RIGHT), [70.0, 72.0, 79.0]) == ["the memory grew by 9.0 MiB, more than 5"]


def loaded(offered=1000.0, p99=25.0, limit=2, **counts):
    """Ten seconds of a load on a worker that answers 100 requests a second."""
    found = {"right": 900, "wrong": 0, "refused": 9100 if offered > 100 else 0, "lost": 0} | counts
    return Loaded(limit, 100.0, offered, found, p99, 10.0, 1.0, 10.0)


@pytest.mark.parametrize("one", [loaded(), loaded(offered=20.0), loaded(limit=128, p99=31.0)])
def test_an_overload_that_is_refused_in_time_passes(one):
    assert overload.faults(one) == []


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (loaded(wrong=1), "1 answers were wrong"),
        (loaded(lost=2), "2 answers were lost"),
        (loaded(right=400), "40 a second were answered, less than half of the capacity of 100"),
        (loaded(refused=0), "no request was refused, although more came than can be answered"),
        (loaded(p99=32.0), "p99 was 32 ms, more than 3 times the unloaded one: 31 ms"),
        (loaded(offered=20.0, refused=350), "350 requests were refused at a fifth of the capacity"),
    ],
    ids=["wrong", "lost", "few answered", "none refused", "slow", "refused too early"],
)
def test_an_overload_that_breaks_a_rule_fails(one, told):
    assert [line.partition(": ")[2] for line in overload.faults(one)] == [told]
