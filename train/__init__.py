"""The trainer: a table becomes a published export, by command line or in Python.

>>> from train import fit
>>> fit("data/admissions.csv", target="admit", categorical=["rank"]).export("models").version
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.fitted import Fitted


def fit(table: Any, target: str | None = None, name: str | None = None, **options: Any) -> "Fitted":
    """Fit a model to a table, as the command `fit` does.

    Parameters
    ----------
    table : a DataFrame of pandas or polars, an Arrow table, a dict of columns, or a path.
    target : the yes/no column; by default the last.
    name : the model's name; by default the file's, or "model".
    options : the command's options, with underscores: l2=1.0, categorical=["rank"], reference={"rank": "1"},
        missing="mean".

    Raises
    ------
    TrainError : the table can't be used, or the options contradict one another; the message names the place and the
        remedy.
    """
    from train.arguments import parse
    from train.commands.fit import fitted_model

    args = parse(["fit"])
    if unknown := [option for option in options if option not in vars(args)]:
        raise TypeError(f"fit() takes no option {', '.join(unknown)}; python -m train fit --help lists them")
    pairs = {option: list(value.items()) if isinstance(value, dict) else value for option, value in options.items()}
    if isinstance(pairs.get("missing"), str):
        pairs["missing"] = [("", pairs["missing"])]
    vars(args).update({**pairs, "target": target, "name": name, "environ": {}, "rank": 0})
    with TemporaryDirectory() as folder:
        args.data = Path(table) if isinstance(table, str | Path) else _written(table, Path(folder), name or "model")
        return fitted_model(args, lambda *words: None)


def _written(table: Any, folder: Path, name: str) -> Path:
    """Write the table as a Parquet file, and return its path."""
    import pyarrow as pa
    import pyarrow.parquet

    if not isinstance(table, pa.Table):
        if hasattr(table, "to_arrow"):
            table = table.to_arrow()
        else:
            table = pa.table(table) if isinstance(table, dict) else pa.Table.from_pandas(table, preserve_index=False)
    pa.parquet.write_table(table, folder / f"{name}.parquet")
    return folder / f"{name}.parquet"
