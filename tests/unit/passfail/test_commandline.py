"""The command lines suggest what was meant, and their help has examples."""

import pytest

from passfail.__main__ import main as library
from serve.replay import main as replay
from train.arguments import parse

MISTYPED = {
    "an option of fit": (parse, ["fit", "--datta", "my.csv"], "unknown option '--datta'; did you mean '--data'?"),
    "an option with its value": (parse, ["fit", "--seperator=;"], "'--seperator'; did you mean '--separator'?"),
    "a command": (parse, ["exprot"], "did you mean 'export'?"),
    "a value": (parse, ["fit", "--link", "probti"], "did you mean 'probit'?"),
    "an option of score": (library, ["score", "a.csv", "-o", "b.csv", "--strickt"], "did you mean '--strict'?"),
    "an option of replay": (replay, ["r.json", "--anwser", "a.json"], "did you mean '--answer'?"),
    "an option that is like no other": (parse, ["export", "--qqq"], "unknown option '--qqq'\n"),
}  # fmt: skip
HELPED = [
    *(
        (parse, [*name, "--help"])
        for name in ([], ["fit"], ["export"], ["parity"], ["reproduce"], ["conform"], ["report"])
    ),
    *((parse, [name, "--help"]) for name in ("lesson", "compare")),
    *((library, [*name, "--help"]) for name in ([], ["pin"], ["verify"], ["score"], ["sql"])),
    (replay, ["--help"]),
]


@pytest.mark.parametrize("case", MISTYPED)
def test_a_mistyped_word_is_answered_with_the_one_that_was_meant(case, capsys):
    run, words, said = MISTYPED[case]
    with pytest.raises(SystemExit) as ended:
        run(words)

    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 2  # without the thirty lines of every option


@pytest.mark.parametrize(("run", "words"), HELPED, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_every_help_has_examples(run, words, capsys):
    with pytest.raises(SystemExit):
        run(words)

    assert "\nexamples:\n  " in capsys.readouterr().out
