"""The trainer: a table becomes a published export, by command line or in Python.

>>> from train import fit
>>> fit("data/admissions.csv", target="admit", categorical=["rank"]).export("models").version
"""

from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from train.errors import DataError, FitError, TrainError

if TYPE_CHECKING:
    from argparse import Namespace

    from train.fitted import Fitted

ON = ("header", "intercept", "standardize")  # options that the command has as --no-...
KINDS = "a DataFrame of pandas or polars, an Arrow table, a dict of columns, a list of dicts, or a path"


def fit(table: Any, target: str | None = None, name: str | None = None, **options: Any) -> "Fitted":
    """Fit a model to a table, as the command `fit` does.

    Parameters
    ----------
    table : a DataFrame of pandas or polars, an Arrow table, a dict of columns, a list of dicts, or a path.
    target : the yes/no column; by default the last.
    name : the model's name; by default the file's, or "model".
    options : the command's options, with underscores: l2=1.0, categorical=["rank"], reference={"rank": "1"},
        missing="mean", firth=True, intercept=False.

    Raises
    ------
    TrainError : the table can't be used, an option is unknown or wrong, or options contradict one another; the message
        names the place and the remedy.
    """
    from train.commands.fit import fitted_model

    with TemporaryDirectory() as folder:
        words = [f"--data={table}"]
        if not isinstance(table, str | Path):
            words, name = _written(table, Path(folder, "table.parquet")), name or "model"
        args = _parsed([*words, *_arguments({"target": target, "name": name, **options})])
        vars(args).update(environ={}, rank=0)
        try:
            return fitted_model(args, lambda *words: None)
        except TrainError as error:
            raise type(error)(str(error).replace(f"{folder}/", "")) from error


def _arguments(options: Mapping[str, Any]) -> Iterator[str]:
    """The options as words of the command line.

    A list repeats its option if the command takes it repeatedly.
    """
    repeated = {"date", *(name for name, value in vars(_parsed([])).items() if isinstance(value, list))}
    for name, value in options.items():
        option = name.replace("_", "-")
        if value is True or (value is False and name in ON):
            yield f"--{option}" if value else f"--no-{option}"
        elif isinstance(value, Mapping):
            yield from (f"--{option}={key}={_word(some)}" for key, some in value.items())
        elif name in repeated and isinstance(value, list | tuple):
            yield from (f"--{option}={some}" for some in value)
        elif value is not None and value is not False:
            yield f"--{option}={_word(value)}"


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _parsed(words: list[str]) -> "Namespace":
    """Parse the words of the command `fit`. Raises FitError."""
    from train.arguments import parse

    with redirect_stderr(StringIO()) as said:
        try:
            return parse(["fit", *words])
        except SystemExit as end:
            raise FitError(said.getvalue().partition("error: ")[2].strip()) from end


def _written(table: Any, path: Path) -> list[str]:
    """Write a table as a Parquet file; return the options that describe it. Raises DataError."""
    import pyarrow as pa
    import pyarrow.parquet

    kind = type(table).__name__
    try:
        if hasattr(table, "collect"):  # a LazyFrame of polars
            table = table.collect()
        if isinstance(table, list) and isinstance(next(iter(table), None), Mapping):
            table = pa.Table.from_pylist(table)
        elif isinstance(table, Mapping):
            table = pa.table(dict(table))
        elif hasattr(table, "to_arrow"):  # polars
            table = table.to_arrow()
        elif hasattr(table, "columns") and not isinstance(table, pa.Table):
            table = pa.Table.from_pandas(table, preserve_index=False)
        if not isinstance(table, pa.Table):
            raise DataError(f"a table is {KINDS}; this is of the type {kind}")
        pa.parquet.write_table(table, path)
    except (ValueError, TypeError, NotImplementedError) as error:  # Arrow's errors, too
        raise DataError(f"the table can't be read: {'; '.join(map(str, error.args[::-1]))}") from error
    groups = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    return [f"--data={path}", *(f"--categorical={name}" for name in groups)]
