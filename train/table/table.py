"""Reads a table, one file or a folder of parts, into numbers, or names each fault's place."""

import difflib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from msgspec import structs

from passfail.arrays import Floats
from passfail.commandline import option
from passfail.manifest import PLAIN, Dialect, Target
from train import distributed
from train.errors import DataError
from train.table import schema
from train.table.csv_files import NOTE
from train.table.data import Data, impute
from train.table.readers import open_parts
from train.table.reading import Reading
from train.table.share import Groups, Known, Log, Schema, Share
from train.table.summary import Fault, LeftOut, Summary

Rows = tuple[Floats, Floats, Floats, Mapping[str, Groups]]  # x, y, weight and by, as in a Table


@dataclass(kw_only=True)
class Table(Schema):
    """A table ready to train on.

    The arrays are in a temporary file (out_of_core.py).

    Attributes
    ----------
    source : the name of the file or folder.
    sha256 : the file's; for a folder, that of the output of `sha256sum *` for its parts.
    x : float64 (n, d), raw values; the level's index for a category, NaN for missing.
    y : float64 (n,), 1 for the target's positive value, else 0.
    weight : float64 (n,), >= 0, the number of rows for which each row counts; 1 without --weights.
    rows, positives : the numbers in the whole table; x, y and weight are this process's share.
    missing : {feature: the number of its missing cells}.
    units : {feature: the unit in its cells}.
    cluster : float64 (n,), the number of each row's group; None without --cluster.
    dialect : the first part's.
    group, time : float64 (n,), see Reading.
    by : {column: the groups of its rows}.
    parts : (number, rows) of each part in this share.
    notes : the unusual properties of the files.
    """

    source: str
    sha256: str
    x: Floats
    y: Floats
    weight: Floats
    rows: int
    positives: int
    missing: Mapping[str, int] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    cluster: Floats | None = None
    dialect: Dialect = PLAIN
    group: Floats | None = None
    time: Floats | None = None
    by: Mapping[str, Groups] = field(default_factory=dict)
    parts: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def data(self) -> Data:
        """The rows to fit a model to."""
        return Data(self.features, self.x, self.y, self.weight)


def read_table(path: Path, reading: Reading | None = None, log: Log = lambda line: None) -> Table:
    """Read a table: CSV (gzip or not), Parquet or Excel, a file or a folder of parts.

    log takes a line of progress now and then. Raises DataError: each fault has the file, the line and the column.
    """
    path = Path(path)
    parts = open_parts(path, reading or Reading())
    header = parts[0].header()
    reading, faults, instead = _resolved(reading or Reading(), header, f"{path}: line 1")
    reading = replace(reading, decimal=parts[0].dialect.decimal)
    share = Share(parts, header, _feature_names(reading, header, path), reading, log)
    share.faults, share.instead = faults, instead
    columns, sha256 = share.read()
    left = [sentence for part in parts for sentence in part.warnings]
    share.faults += [(sentence, "") for sentence in left] if reading.strict else []
    found = _infer(reading, share, columns)
    if not found.features:
        none_left = f"{path}: no column is left to predict '{reading.target}' from; use one of these"
        raise DataError("\n".join([none_left, *found.warnings]))
    x, y, weight = share.arrays(found)
    y_of, dialect = found.codes[share.target], parts[0].dialect
    notes = dialect.notes or any(NOTE in part.note or part.blank for part in parts)
    thousands = set().union(*(columns[found.column_of(f.name)].thousands for f in found.features))
    found.warnings, found.features = (*left, *found.warnings), impute(found.features, x, weight)
    return Table(
        **vars(found),
        source=path.name,
        sha256=sha256,
        x=x,
        y=y,
        weight=weight,
        rows=columns[share.target].count,
        positives=sum(level.rows for text, level in columns[share.target].levels.items() if y_of[text]),
        cluster=share.other(reading.cluster),
        missing={f.name: columns[found.column_of(f.name)].missing for f in found.features},
        units={f.name: unit for f in found.features for unit in columns[found.column_of(f.name)].units if unit},
        dialect=structs.replace(dialect, thousands="".join(sorted(thousands)), notes=notes),
        group=share.other(reading.group),
        time=share.other(reading.time),
        by=share.groups(found, x),
        parts=tuple(share.lengths),
        notes=_notes(path, share),
    )


def _notes(path: Path, share: Share) -> tuple[str, ...]:
    """The unusual properties of the files, and the number of rows left out, of all processes."""
    dropped = [f"{path}: rows left out for {share.why_dropped}: {share.dropped}"] if share.dropped else []
    notes = distributed.gathered([part.note for part in share.parts])
    said = [notes[index % len(notes)][index] for index in range(len(share.parts))]  # by the process that reads the part
    return (*(f"{part.path}: {note}" for part, note in zip(share.parts, said, strict=True) if note), *dropped)


def read_rows(path: Path, table: Table, reading: Reading, log: Log = lambda line: None) -> Rows:
    """Read another table's rows, with the features and levels of `table`.

    Raises DataError for a column or a level that is not one of the table's.
    """
    names = list(dict.fromkeys(table.column_of(feature.name) for feature in table.features))
    parts = open_parts(path, reading)
    header = parts[0].header()
    wanted = [*names, table.target.name, *([reading.weights] if reading.weights else []), *table.by]
    if lacking := [name for name in wanted if name not in header]:
        raise DataError(f"{path}: line 1: there is no column '{lacking[0]}', to which the model was fitted; add it")
    categorical = tuple(feature.name for feature in table.features if feature.kind == "categorical")
    reading = replace(reading, target=table.target.name, categorical=categorical, order={}, by=tuple(table.by))
    dates = {name: found.parts for name, found in table.dates.items()}  # by the table's own spelling
    reading = replace(reading, dates=dates, cluster=None, group=None, time=None)
    share = Share(parts, header, names, reading, log)
    columns, _ = share.read()
    found = _match(table, share, columns)
    x, y, weight = share.arrays(found)
    for note in _notes(path, share):
        log(note)
    if len(set(y.tolist())) < 2:
        raise DataError(f"{path}: every row has the same {table.target.name}; add rows of the other outcome")
    return x, y, weight, share.groups(found, x)


def _resolved(reading: Reading, header: Sequence[str], where: str) -> tuple[Reading, list[Known], dict[str, str]]:
    """The options with the header's spelling of each name.

    Returns
    -------
    the Reading without unknown names; the faults of these; {misspelt name: the one meant, which is used}.

    Raises
    ------
    DataError : the target is unknown.
    """
    wrong, instead = list[Known](), dict[str, str]()

    def one(name: str) -> str | None:
        if name in header:
            return name
        if len(alike := [other for other in header if other.casefold() == name.casefold()]) == 1:
            return alike[0]
        near = difflib.get_close_matches(name, header, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"the columns are: {', '.join(header)}"
        wrong.append((f"{where}: there is no column '{name}'; {hint}", None if near else ""))
        return instead.setdefault(name, near[0]) if near else None

    def some(names: Iterable[str], dated: Set[str] = frozenset()) -> tuple[str, ...]:
        split = (part for name in names for part in ([name] if name in header else name.split(",")))
        return tuple(filter(None, (name if name in dated else one(name) for name in map(str.strip, split))))

    def known(pairs: Iterable[tuple[str | None, Any]]) -> dict[str, Any]:
        return {name: value for name, value in pairs if name is not None}

    def halves(name: str, first: str) -> tuple[str | None, str]:
        """A name and a level, from the two sides of the first `=`: the name may hold others."""
        parts = first.split("=")
        longer = ["=".join([name, *parts[:at]]) for at in range(len(parts))]
        at = next((at for at, text in enumerate(longer) if text in header), 0)
        return one(longer[at]), "=".join(parts[at:])

    found: dict[str, Any] = {"target": header[-1] if reading.target is None else one(reading.target)}
    if found["target"] is None:
        raise DataError(wrong[0][0])
    dates = known((one(name), parts) for name, parts in reading.dates.items())
    dated = {f"{name}.{part}" for name, parts in dates.items() for part in parts} - {*header}
    drop = some(reading.drop, dated)
    found |= {"categorical": some(reading.categorical), "by": some(reading.by)}
    found["drop"], left = tuple(name for name in drop if name not in dated), dated.intersection(drop)
    found["dates"] = {name: tuple(p for p in parts if f"{name}.{p}" not in left) for name, parts in dates.items()}
    for given in ("weights", "cluster", "group", "time"):
        found[given] = getattr(reading, given) and one(getattr(reading, given))
    found["missing"] = known((name and one(name), way) for name, way in reading.missing.items())  # "": all columns
    found["reference"] = known(halves(name, level) for name, level in reading.reference.items())
    orders = ((halves(name, first), others) for name, (first, *others) in reading.order.items())
    found["order"] = known((name, (first, *others)) for (name, first), others in orders)
    return replace(reading, **found), wrong, instead


def _feature_names(reading: Reading, header: Sequence[str], path: Path) -> list[str]:
    """The columns to predict from. Raises DataError if the options contradict one another."""
    target, drop = reading.target, reading.drop
    _check_roles(reading, path)
    if reading.group and reading.time:
        raise DataError(f"{path}: --group and --time can't be combined; leave one of them out")
    names = [
        name
        for name in header
        if name not in {target, reading.weights, reading.cluster, reading.group, reading.time, *drop}
    ]
    given = {"missing": reading.missing, "reference": reading.reference, "order": reading.order, "date": reading.dates}
    for way, some in given.items():
        if strange := [name for name in some if name and name not in names]:
            raise DataError(f"{path}: column '{strange[0]}' is not one to predict from; take it out of --{way}")
    made = [f"{name}.{part}" for name, parts in reading.dates.items() for part in parts]
    if twice := [name for name in made if name in {*header} - {*drop} | {reading.cluster, *reading.by}]:
        remedy = f"rename the column, or use {option('--drop', twice[0])}"
        raise DataError(f"{path}: --date makes the feature '{twice[0]}', but a column has this name; {remedy}")
    if not names:
        raise DataError(f"{path}: no column is left to predict '{target}' from; drop fewer")
    return names


def _check_roles(reading: Reading, path: Path) -> None:
    """Raise DataError if two options claim one column."""
    named = {way: (getattr(reading, way),) for way in ("weights", "cluster", "group", "time")}
    named |= {way: getattr(reading, way) for way in ("by", "categorical", "drop")}
    apart = (  # (what a column is, such columns, the options that can't name them)
        ("is the target", (reading.target,), (*named,)),
        ("has the weights", named["weights"], tuple(way for way in named if way != "weights")),
        ("is left out by --drop", reading.drop, ("group", "time")),
        ("is split into features by --date", (*reading.dates,), ("by",)),
    )
    for what, columns, ways in apart:
        for name, way in product(columns, ways):
            if name and name in named[way]:
                remedy = "choose another column for one of them"
                raise DataError(f"{path}: column '{name}' {what}, so --{way} can't name it; {remedy}")


def _infer(reading: Reading, share: Share, columns: Mapping[str, Summary]) -> Schema:
    """Infer the roles of the columns. Raises DataError with all their faults."""
    found = Schema(Target("", ("", ""), ("", "")))
    others = [name for name in share.features if schema.may_be_target(columns[name])]
    if (unnamed := share.parts[0].unnamed) and share.parts[0].reading.target is None:
        way = option("--target", others[0]) if others else ""
        share.faults.insert(0, (f"{unnamed}; name another with {way or '--target'}", way))
    else:
        with share.noted(name := share.target):
            found.target, found.codes[name] = schema.target(reading, name, columns[name], others, share.dropped)
    if reading.weights:
        with share.noted(reading.weights):
            schema.check_weights(columns[reading.weights])
    _infer_groups(share, columns, found)
    for name in share.features:
        with share.noted(name):
            try:
                if name in reading.dates:
                    found.dates[name] = schema.dates(reading.dates[name], name, columns[name])
                    for part, codes in schema.date_features(reading, found.dates[name], name, columns[name]):
                        found.features += (part,)
                        found.codes[part.name] = codes
                    continue
                feature, found.codes[name], pooled = schema.feature(reading, name, columns[name])
                found.features += (feature,)
                found.pooled |= {name: pooled} if pooled else {}
            except LeftOut as why:
                if reading.strict:
                    drop = option("--drop", name)
                    raise Fault(None, str(why), f"leave it out with {drop}", drop) from why
                found.warnings += (f"{name} is left out: {why}",)
    share.check()
    return found


def _match(table: Table, share: Share, columns: Mapping[str, Summary]) -> Schema:
    """Match the columns of another table's rows to `table`. Raises DataError with all faults."""
    found = Schema(table.target, table.features, dates=table.dates)
    with share.noted(share.target):
        found.codes[share.target] = schema.known_target(table.target, columns[share.target])
    for feature in table.features:
        source = found.column_of(name := feature.name)
        with share.noted(name):
            if name != source:
                part, order = name.removeprefix(f"{source}."), table.dates[source].order
                found.codes[name] = schema.date_numbers(columns[source], part, order)
            else:
                fold_case, other = share.reading.fold_case, table.pooled.get(name)
                found.codes[name] = schema.known_feature(feature, columns[source], fold_case, other)
    _infer_groups(share, columns, found)
    share.check()
    return found


def _infer_groups(share: Share, columns: Mapping[str, Summary], found: Schema) -> None:
    """Number the texts of the columns of groups and times; --by may also name a feature."""
    reading = share.reading
    by = ((name, "--by") for name in reading.by if name not in share.features)
    for name, way in ((reading.cluster, "--cluster"), (reading.group, "--group"), (reading.time, "--time"), *by):
        if name and (way == "--time" or name not in found.codes):  # times also tell clusters apart
            with share.noted(name):
                found.codes[name] = schema.groups(columns[name], way)
