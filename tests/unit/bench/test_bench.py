"""The benches' judgement of their measurements; make bench measures."""

import ast
import importlib.util
import re

import pytest

from bench.count import compared
from bench.measures import AIMS, BARE, BINARY, FASTAPI, GROWTH, LOGGED, ONE8, ONE_ARRAY, ONE_V2, OURS, P50, START, Aim
from bench.profiling import SHARES, shares, stacks_of, unmatched
from bench.summary import lines, summary
from tests.support import ROOT


def test_a_ratio_is_taken_within_each_round():
    rounds = [{OURS: {ONE8: 3000, "cpu " + ONE8: 50}, FASTAPI: {ONE8: 1000, "cpu " + ONE8: 150}}] * 2
    rounds.append({OURS: {ONE8: 1500, "cpu " + ONE8: 50}, FASTAPI: {ONE8: 500, "cpu " + ONE8: 200}})

    told = summary(rounds)["aims"][AIMS.index(Aim(ONE8, 10, to=FASTAPI))]

    assert (told["median"], told["low"], told["high"], told["cpu"], told["met"]) == (3, 3, 3, 3, False)


def test_an_aim_may_be_of_another_measure_of_another_server():
    ours, bare = {BINARY: 6e6, "cpu " + BINARY: 150}, {ONE8: 24_000, "cpu " + ONE8: 40}

    (told,) = [one for one in summary([{OURS: ours, BARE: bare}])["aims"] if one["aim"].startswith(f"{BINARY} / ")]

    assert told["aim"] == f"{BINARY} / {ONE8}: {BARE}"
    assert told["median"] == 250
    assert told["cpu"] == pytest.approx(1000 * 40 / 150)  # rows of one for each request of the other


def test_an_aim_is_met_on_its_own_side():
    found = {OURS: {ONE8: 100, LOGGED: 94, P50: 100, START: 0.46, GROWTH: -3}, BARE: {P50: 100, START: 0.2}}

    met = {(aim.measure, aim.to): aim.met(value) for aim in AIMS if (value := aim.found(found)) is not None}

    assert met == {
        (LOGGED, None): False,
        (P50, BARE): True,
        (START, BARE): False,
        (GROWTH, None): True,
    }


def test_what_was_not_measured_is_said():
    cost = {f"{what} {measure}": 1.0 for what in ("cpu", "busy") for measure in AIMS_OF_CORE}
    report = summary([{OURS: dict.fromkeys(AIMS_OF_CORE, 5.0) | cost}]) | {"one core": True}

    told = list(lines(report))

    assert f"| {ONE8} / {FASTAPI} | at least 10 | not measured |  |  |  |" in told
    assert any(
        line.startswith("| 1,000 rows, rows/s, V2 binary | at least 8,000,000 | 5 | 5 to 5 | 1,000,000,000 | NOT MET")
        for line in told
    )
    assert "one core" in told[-1]
    assert not any("others the rest" in line for line in told)


AIMS_OF_CORE = [ONE8, ONE_V2, ONE_ARRAY, LOGGED] + [aim.measure for aim in AIMS if "rows/s" in aim.measure]


RAW = """\
predict (predict.py:3);Columns.matrix (passfail/columns.py:4);floats (passfail/columns.py:1) 5
answer_together (serve/server/microbatch.py:3);answer (passfail/runtimes/onnx.py:4);run (x.py:5) 3
main (gunicorn/app/base.py:1);Event.set (asyncio/locks.py:3) 2
JsonRows.write (passfail/codecs/json_rows.py:4);chosen (passfail/codecs/answers.py:9) 1
main (gunicorn/app/base.py:1);Connection.send (serve/server/connection.py:2);_line (serve/server/connection.py:9) 7
elsewhere (x.py:1) 1
"""


def test_a_sample_belongs_to_the_innermost_frame_that_is_known():
    found = shares(stacks_of(RAW))

    assert found == {"decode": 5, "runtime": 3, "server": 2, "encode": 1, "service": 7, "other": 1}


def test_what_matches_no_pattern_is_said():
    """A file that moved would otherwise lose its share silently."""
    assert list(unmatched(stacks_of(RAW))) == [
        "5% of the samples match no pattern, most often elsewhere (x.py:1)",
        "no sample matches the patterns of 'verdict, stable'",
        "no sample matches the patterns of 'receipt'",
        "no sample matches the patterns of 'telemetry'",
    ]


@pytest.mark.parametrize("pattern", [pattern for patterns in SHARES.values() for pattern in patterns])
def test_each_pattern_of_the_profile_matches_code_that_there_is(pattern):
    if package := re.fullmatch(r"\\(?:b|\()(\w+)/", pattern):
        assert importlib.util.find_spec(package[1])
    else:
        assert any(re.search(pattern, frame) for frame in FRAMES)


FRAMES = [
    f"{node.name} ({path.relative_to(ROOT)}:{node.lineno})"
    for room in ("passfail", "serve")
    for path in (ROOT / room).rglob("*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef)
]


def test_a_rise_of_instructions_is_named():
    recorded = {"of": {"python": "3.11"}, "instructions": {"decode": 1000, "predict": 1000, "encode": 1000}}
    found = {"of": {"python": "3.11"}, "instructions": {"decode": 1005, "predict": 1100, "encode": 900}}

    told, rose = compared(found, recorded)

    assert rose
    assert [line.rpartition("recorded: ")[2] for line in told] == [
        "+0.50%",
        "+10.00% ROSE",
        "-10.00% fell: --record it",
    ]
    assert not compared(recorded, recorded)[1]


def test_other_versions_are_not_compared():
    recorded = {"of": {"python": "3.11"}, "instructions": {"decode": 1000}}

    told, rose = compared({"of": {"python": "3.12"}, "instructions": {"decode": 9000}}, recorded)

    assert not rose
    assert "recorded with python 3.11" in told[-1]
