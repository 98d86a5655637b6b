"""The trainer's command line: commands, options, defaults and help texts."""

import argparse
import csv
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from passfail import signing
from passfail.codecs.csv_rows import csv_line
from passfail.commandline import Parser, separator
from passfail.links import LINKS
from passfail.manifest import NAME
from passfail.proof.activations import ACTIVATIONS
from passfail.signing import Sign
from passfail.spelling import DATE_PARTS, ORDERS, date_number
from train.errors import FitError
from train.solvers.options import LOSSES, RATES, SOLVERS, Options
from train.table.reading import Reading

LECTURE_DATA = Path("data/hours.csv")
LECTURE = Options(solver="sgd", standardize=False, lr=0.01, epochs=1000)
PYTHON = ".venv/bin/python -m train"
EXAMPLES = (
    "--data my.csv --target admit",
    "--data export.csv --drop id,name --date since=year,month --missing age=median",
    "--data my.csv --categorical rank --reference rank=4 --l2 auto",
)
AUTO = "auto"  # the value of --l1 or --l2 that lets cross-validation choose
PARTS = ", ".join([*DATE_PARTS, "days-since-2020-01-01"])
MISSING = ("mean", "median", "most-frequent", "indicator", "drop", "error")

Parse = Callable[[str], Any]  # an option's text -> its value


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    """Parse the command line; if it is wrong, exit with status 2. `command` has the command."""
    examples = [f"{PYTHON} {one}" for one in ("fit --data my.csv --target admit", "export --data my.csv", "fit --help")]
    parser = Parser("python -m train", description="Fit a logistic model to a table and export it.", examples=examples)
    names = "fit | export | publish | parity | reproduce | conform | report | lesson | compare"
    commands = parser.add_subparsers(dest="command", required=True, metavar=names)

    def command(name: str, about: str, *parents: Parser, examples: Sequence[str] = ("--data my.csv",)) -> Parser:
        shown = [f"{PYTHON} {name} {one}" for one in examples]
        usage = "%(prog)s [options]"  # argparse's own has all of them, on thirty lines
        return commands.add_parser(name, usage=usage, parents=parents, help=about, examples=shown)

    model, columns = _model(), _columns()
    models = _parent("--models", type=Path, default=Path("models"), help="folder of versions (default: %(default)s)")
    version = _parent("--version", type=_at_least(int, 1), help="number of the version (default: the highest)")
    fitting = _fitting()
    command("fit", "fit a model and write its checkpoint", model, columns, fitting, examples=EXAMPLES)
    command("export", "prove the checkpoint and publish it as a new version", model, models)
    about = "fit, then export, in one process: seconds faster than the two commands"
    command("publish", about, model, models, columns, fitting, examples=EXAMPLES)
    command("parity", "prove a published version again and print the certificate", model, models, version)
    command("reproduce", "fit the table again and compare with a published version", model, models, version)
    command("conform", "replay a version's examples in other engines", model, models, version)
    command("report", "print the newest version's report file, and open it", model, models)
    lesson = command("lesson", "walk through the lecture and draw its model", examples=["--picture lesson.png"])
    lesson.add_argument("--picture", type=Path, default=Path("lesson.png"), help="picture file (default: %(default)s)")
    examples = ["--data my.csv --losses log,hinge --optimizers adam,lbfgs"]
    compare = command("compare", "cross-validate losses, optimizers, activations and links", columns, examples=examples)
    _add_comparison(compare)
    return parser.parse_args(arguments)


def model_name(args: Namespace) -> str:
    """The model's name: --name, else the data file's without its endings. Raises FitError."""
    path = args.data or LECTURE_DATA
    name: str = args.name or path.name.removesuffix(".gz").removesuffix(".csv").removesuffix(".parquet")
    if not NAME.fullmatch(name):
        raise FitError(f"'{name}' can't name a model: use letters, digits, . _ - with --name (make: NAME=...)")
    return name


def reading_of(args: Namespace) -> Reading:
    """The Reading of the table that the options describe."""
    given = {name: getattr(args, name) for name in vars(Reading()) if hasattr(args, name)}
    given |= {name: tuple(given[name]) for name in ("categorical", "drop", "na", "by") if name in given}
    return Reading(**given | {name: dict(given[name]) for name in ("missing", "reference", "order", "dates")})


def options_of(args: Namespace) -> Options:
    """The solver's Options: those given, else the lecture's for its data, else the defaults."""
    given = {name: getattr(args, name) for name in vars(Options()) if getattr(args, name) is not None}
    given |= dict.fromkeys(chosen_by_folds(args), 1.0)  # until they are chosen
    if args.data is None and args.solver in (None, "sgd"):
        return replace(LECTURE, **given)
    solver = given.setdefault("solver", "newton" if Options(**given).linear else "lbfgs")
    if solver in RATES:
        given.setdefault("lr", RATES[solver])
    return Options(**given)


def fit_arguments(recorded: Mapping[str, Any]) -> Namespace:
    """The arguments of a fit, from those that its manifest records."""
    args = parse(["fit"])
    vars(args).update({name: _tuples(value) for name, value in recorded.items() if name != "lecture"})
    args.data = None if recorded.get("lecture") else Path()
    return args


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def chosen_by_folds(args: Namespace) -> list[str]:
    """The penalties that cross-validation chooses."""
    return [name for name in ("l1", "l2") if getattr(args, name, None) == AUTO]


def signer_of(args: Namespace) -> Sign | None:
    """The function that signs with the key in SIGN_WITH, or None. Raises ConfigError."""
    path = args.environ.get("SIGN_WITH")
    return signing.private_key(path, "SIGN_WITH").sign if path else None


def _model() -> Parser:
    """The options of each command on one model."""
    parser = Parser(add_help=False)
    add = parser.add_argument
    add("--data", type=Path, help="CSV, Parquet or Excel file, or a folder of parts (default: the lecture's)")
    add("--name", help="name of the model (default: the data file's name without .csv)")
    add("--checkpoints", type=Path, default=Path("checkpoints"), help="folder of checkpoints (default: %(default)s)")
    return parser


def _parent(option: str, **settings: Any) -> Parser:
    """A parser of one option, for the commands that share it."""
    parser = Parser(add_help=False)
    parser.add_argument(option, **settings)
    return parser


def _columns() -> Parser:
    """The options on a table's columns and files."""
    parser = Parser(add_help=False)
    add = parser.add_argument_group("columns").add_argument
    add("--target", help="column to predict, with two values (default: the last)")
    add("--positive", help="value of the target that counts as yes")
    add("--blank", metavar="VALUE", help="value of the target where its cell is blank (default: the row is left out)")
    _repeated(add, "--categorical", "COLUMN", "column whose numbers are categories")
    _repeated(add, "--drop", "COLUMN", "column to leave out, or several: a,b")
    _column_option(add, "--reference", "COLUMN=LEVEL", "reference level (default: the first)", "group=a", str)
    about = "levels of a column in order (default: by number, else alphabetical)"
    _column_option(add, "--order", "COLUMN=A,B,...", about, "size=low,medium,high", _levels)
    about = "pool the levels of fewer rows in the level other; the service reads unseen levels as other"
    add("--rare", type=_at_least(int, 1), default=0, metavar="ROWS", help=about)
    add("--fold-case", action="store_true", help="write levels in lower case: North becomes north")
    about = f"features to make from dates: {PARTS}; add {ORDERS[0]} or {ORDERS[1]} if the order is unclear"
    _column_option(add, "--date", "COLUMN=PART,...", about, PARTS, _date_parts, dest="dates")
    add("--strict", action="store_true", help="stop with an error where a column would be left out")
    add("--weights", metavar="COLUMN", help="column with the number of rows for which each row counts")
    about = f"what a missing cell becomes: {', '.join(MISSING)}; drop leaves its row out; for one column or for all "
    about += "(default: mean for numbers, most-frequent for groups)"
    _repeated(add, "--missing", "[COLUMN=]WAY", about, type=_missing)
    about = "the layout of CSV is detected; these options override it"
    add = parser.add_argument_group("files", about).add_argument
    add("--separator", type=separator, help="separator of cells; tab for a tab (default: detected)")
    add("--decimal", choices=(".", ","), help="decimal mark (default: detected)")
    add("--encoding", help="encoding of the text (default: UTF-8, else detected)")
    add("--no-header", dest="header", action="store_false", help="the file has no header: its first line is a row")
    _repeated(add, "--na", "TEXT", "text of a missing cell, besides the usual texts")
    add("--sheet", help="sheet of an Excel file (default: the first)")
    about = "rows of CSV with too few or too many cells: drop leaves them out; pad fills short ones with missing cells"
    add("--ragged", choices=("drop", "pad"), help=about)
    return parser


def _repeated(add: Callable[..., object], option: str, metavar: str, about: str, **settings: Any) -> None:
    """Add an option that may be given several times."""
    add(option, action="append", default=[], metavar=metavar, help=about, **settings)


def _column_option(
    add: Callable[..., object], option: str, metavar: str, about: str, example: str, parse: Parse, **settings: Any
) -> None:
    """Add an option that may be repeated and takes COLUMN=VALUE, as (column, parse(value)).

    example : the end of the error if there is no column, or if `parse` gives nothing or raises ValueError.
    """

    def pair(text: str) -> tuple[str, Any]:
        if parse is _levels and text.startswith('"'):  # the quotes hold the name and the first level
            both, *others = next(csv.reader([text]))
            name, _, first = both.partition("=")
            text = f"{name}={csv_line([first, *others])}"
        name, _, value = text.partition("=") if parse in (str, _levels) else text.rpartition("=")
        with suppress(ValueError):
            if name and (found := parse(value)):
                return name, found
        raise ArgumentTypeError(f"takes {metavar}: {example}")

    _repeated(add, option, metavar, about, type=pair, **settings)


def _levels(text: str) -> tuple[str, ...]:
    return tuple(map(str.strip, next(csv.reader([text], skipinitialspace=True)))) if "," in text else ()


def _date_parts(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    for part in set(parts) - set(ORDERS) or {""}:
        date_number("2024-05-31", part)
    return parts


def _fitting() -> Parser:
    """The options of a fit that are not on the table's columns and files."""
    parser = Parser(add_help=False)
    add = parser.add_argument
    add("--labels", type=_labels, metavar="NO,YES", help="names of the two outcomes in answers")
    _column_option(add, "--unit", "COLUMN=UNIT", "unit of a numeric column", "age=years", str.strip)
    add("--owner", metavar="TEXT", help="person responsible for the model, for its report")
    add("--intended-use", metavar="TEXT", help="what the model is for, for its report")
    add("--out-of-scope", metavar="TEXT", help="what the model is not for, for its report")
    add = parser.add_argument_group("fitting").add_argument
    add("--solver", choices=SOLVERS, help="solver (default: newton where it applies, else lbfgs; the lecture's is sgd)")
    add("--loss", choices=LOSSES, help="loss (default: log, the cross entropy)")
    add("--hidden", type=_at_least(int, 0), metavar="UNITS", help="number of units in a hidden layer (default: 0)")
    add("--activation", choices=ACTIVATIONS, help="activation of the hidden layer (default: ReLU)")
    add("--link", choices=LINKS, help="link function, for newton (default: logit)")
    add("--firth", action="store_true", default=None, help="add Firth's penalty, which is finite under separation")
    add("--no-intercept", dest="intercept", action="store_false", default=None, help="fit without an intercept")
    add("--class-weight", type=_class_weight, metavar="balanced|NO,YES", help="weight of each outcome's rows")
    add("--intervals", choices=("wald", "profile"), help="intervals and tests (default: wald, with --firth profile)")
    add("--robust", action="store_true", default=None, help="robust standard errors, by the sandwich estimator")
    add("--cluster", metavar="COLUMN", help="column of groups of dependent rows, for standard errors")
    add("--l1", type=_penalty, help="L1 penalty on the scaled weights, which leaves columns out, or auto (default: 0)")
    add("--l2", type=_penalty, help="L2 penalty on the scaled weights, or auto: by cross-validation (default: 0)")
    about = "scale the numeric columns first; with newton, let penalties act on scaled columns (default: yes)"
    add("--standardize", action=argparse.BooleanOptionalAction, default=None, help=about)
    add("--lr", type=POSITIVE, help="learning rate (default: the solver's own)")
    add("--epochs", type=_at_least(int, 1), help="maximum number of steps (default: 1000)")
    add("--seed", type=_at_least(int, 0), help="random seed (default: 0)")
    add = parser.add_argument_group("evaluation").add_argument
    share = _at_least(float, 0, strictly=True, most=1)
    add("--folds", type=_at_least(int, 2), default=5, help="number of cross-validation folds (default: 5)")
    add("--group", metavar="COLUMN", help="column whose groups of rows stay together in every split")
    add("--time", metavar="COLUMN", help="column of times; a fit to earlier rows scores the held-out rows")
    about = "column of groups, or several: a,b; print the figures of each group of held-out rows"
    _repeated(add, "--by", "COLUMN", about)
    add("--test", type=Path, metavar="FILE", help="table to measure on, in place of held-out rows")
    add("--cost-fp", type=POSITIVE, metavar="COST", help="cost of a false positive (default: 1)")
    add("--cost-fn", type=POSITIVE, metavar="COST", help="cost of a false negative (default: 1)")
    add("--precision", type=share, help="precision that the threshold must reach on held-out rows")
    add("--recall", type=share, help="recall that the threshold must reach on held-out rows")
    return parser


def _add_comparison(parser: Parser) -> None:
    add = parser.add_argument
    add("--data", type=Path, default=Path("data/study_hours.csv"), help="table (default: %(default)s)")
    kinds: dict[str, Iterable[str]] = {
        "losses": LOSSES, "optimizers": RATES, "activations": ACTIVATIONS, "links": LINKS
    }  # fmt: skip
    for name, known in kinds.items():
        default = {"losses": "log", "optimizers": "all"}.get(name)
        about = f"{name}, separated by commas, or all (default: {default or 'none'})"
        add(f"--{name}", type=_some(known), default=default or [], help=about)
    add("--hidden", type=_at_least(int, 1), default=8, help="units of the hidden layer (default: 8)")
    add("--lr", type=POSITIVE, help="learning rate (default: the optimizer's own)")
    add("--epochs", type=_at_least(int, 1), help="maximum number of steps (default: 1000)")
    add("--seed", type=_at_least(int, 0), help="random seed (default: 0)")
    add("--folds", type=_at_least(int, 2), default=5, help="number of folds (default: %(default)s)")
    add("--results", type=Path, default=Path("compare.jsonl"), help="file that keeps results (default: %(default)s)")
    add("--picture", type=Path, default=Path("compare.png"), help="picture file (default: %(default)s)")


def _penalty(text: str) -> float | str:
    try:
        return AUTO if text == AUTO else _at_least(float, 0)(text)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{error}, or {AUTO}") from None


def _labels(text: str) -> tuple[str, ...]:
    labels = tuple(label.strip() for label in text.split(","))
    if len(labels) != 2 or "" in labels or labels[0] == labels[1]:
        raise ArgumentTypeError("takes two different words, the negative first: fail,pass")
    return labels


def _missing(text: str) -> tuple[str, str]:
    """Parse [COLUMN=]WAY as (column, way); the column is "" for all columns."""
    name, _, way = text.rpartition("=")
    if way not in MISSING:
        raise ArgumentTypeError(f"takes {', '.join(MISSING)}, after COLUMN= for one column only")
    return name, way


def _some(known: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = list(known) if text == "all" else text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise ArgumentTypeError(f"unknown name '{unknown[0]}': takes all, or some of {', '.join(known)}")
        return names

    return parse


def _class_weight(text: str) -> str:
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = []
    if text != "balanced" and not (len(weights) == 2 and all(0 < weight < float("inf") for weight in weights)):
        raise ArgumentTypeError("takes balanced, or two numbers above 0, the negative's first: 1,5")
    return text


def _at_least(
    kind: type[int] | type[float], least: int, strictly: bool = False, most: float = sys.float_info.max
) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise ArgumentTypeError(f"must be a {'whole ' * (kind is int)}number") from None
        if not least <= value <= most or (strictly and value == least):
            highest = f", at most {most:g}" if most < sys.float_info.max else ""
            raise ArgumentTypeError(f"must be {'above' if strictly else 'at least'} {least}{highest}")
        return value

    return parse


POSITIVE = _at_least(float, 0, strictly=True)
