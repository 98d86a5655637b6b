"""The command line of the library: passfail pin | verify | score | sql."""

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from passfail import signing
from passfail.commandline import Parser, encoding, separator
from passfail.errors import CertificateError, ConfigError, RequestError, StartupError
from passfail.loading import open_model
from passfail.repository import choices, find, model_name, pin, read_manifest, read_verified
from passfail.runtimes import MODEL_FILES
from passfail.signing import PublicKey
from passfail.spelling import whole

Run = Callable[[argparse.Namespace, PublicKey | None], str]  # a command: its options to the text to print

FOLLOW_SECONDS = 5  # for a running service to serve the pinned version


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0, or 2 with one line on standard error."""
    options = _parser(os.environ).parse_args(arguments)
    # The command score may write its rows to standard output.
    log = sys.stderr if options.command == "score" else sys.stdout
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print(options.run(options, _signed_by(os.environ)), file=log)
    except (StartupError, RequestError) as error:
        reason = error.text if isinstance(error, RequestError) else error
        print(f"passfail {options.command}: error: {reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def run_pin(options: argparse.Namespace, signed_by: PublicKey | None) -> str:
    """Open a version, then pin the model to it: a version that can't be served is not pinned."""
    name = model_name(options.models, options.model)
    if options.version is not None:
        open_model(find(options.models, name, options.version), options.runtime, signed_by)
    pin(options.models / name, options.version)
    pinned = f"{name}: {'the highest version' if options.version is None else f'version {options.version}'}"
    if fault := _why_not_served(options, name, signed_by):
        raise ConfigError(f"{pinned} is pinned, but the service at {options.service} {fault}")
    return pinned


def _why_not_served(options: argparse.Namespace, name: str, signed_by: PublicKey | None) -> str | None:
    """Wait until a running service, if any, serves the pinned version.

    Returns
    -------
    None, or after FOLLOW_SECONDS the reason why it does not.
    """
    ready = _ready(options.service)
    if ready.get("model") != name:
        return None
    version = options.version or _highest(options, name, signed_by)
    deadline = time.monotonic() + FOLLOW_SECONDS
    while time.monotonic() < deadline:
        ready = _ready(options.service)
        if ready.get("version") == version and "workers" not in ready:
            return None
        time.sleep(0.1)
    refused = ready.get("refused", {})
    reason = refused.get(str(version)) or refused.get("pinned")
    return f"refuses it: {reason}" if reason else f"still serves version {ready.get('version')} after 5 seconds"


def _highest(options: argparse.Namespace, name: str, signed_by: PublicKey | None) -> int:
    """The highest version that opens."""
    for folder in choices(options.models, name):
        with contextlib.suppress(StartupError):
            return open_model(folder, options.runtime, signed_by).manifest.version
    raise ConfigError(f"{options.models / name} holds no version that can be served: export again")


def _ready(service: str) -> dict[str, Any]:
    """The body of GET /health/ready; {} if no service answers."""
    import http.client
    import urllib.request  # only here: the import takes as long as the rest of a small command

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the service is local: use no proxy
    try:
        with opener.open(f"{service}/health/ready", timeout=2) as answer:
            found = json.load(answer)
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    return found if isinstance(found, dict) else {}


def run_verify(options: argparse.Namespace, signed_by: PublicKey | None) -> str:
    """Open a version as the service does, and prove it in every engine that is installed here."""
    from passfail.proof.engines import prove, table, wrong

    folder = find(options.models, options.model, options.version)
    manifest = open_model(folder, options.runtime, signed_by).manifest
    proofs = prove(manifest, read_verified(folder, manifest))
    if differ := wrong(proofs, manifest.link):
        fault = f"{', '.join(differ)} do not answer as the parameters say: export again"
        raise CertificateError(f"{folder}: {fault}\n{table(proofs)}")
    found = f"{folder}: {len(manifest.files)} files verified; answers on {options.runtime} as it was certified"
    return f"{found}\n{table(proofs)}"


def run_score(options: argparse.Namespace, signed_by: PublicKey | None) -> str:
    """Score a file, the parts of a folder, or standard input."""
    try:
        from passfail.batches import Scorer
        from passfail.csv_blocks import CsvOptions
        from passfail.score import Files
    except ModuleNotFoundError as error:
        raise ConfigError(f"the command score needs the package {error.name}: pip install 'passfail[score]'") from error
    stream = str(options.input) == "-"
    if stream != (str(options.output) == "-"):
        raise ConfigError("standard input is scored to standard output: give - for both, or two files")
    if not stream and not options.input.exists():
        raise ConfigError(f"{options.input}: no such file")
    model = open_model(find(options.models, options.model, options.version), options.runtime, signed_by)
    progress = _progress if sys.stderr.isatty() else lambda rows, took: None
    layout = CsvOptions(options.separator, options.decimal, options.encoding)
    files = Files(Scorer(model, options.strict, options.explain), progress, layout)
    try:
        if stream:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end in silence if the reader has enough
            receipts = [files.stream(sys.stdin.buffer, sys.stdout.buffer)]
        elif options.input.is_dir():
            receipts = files.folder(options.input, options.output)
        else:
            receipts = [files.score(options.input, options.output)]
    finally:
        if sys.stderr.isatty():
            print(end="\r\x1b[K", file=sys.stderr)  # remove the line of the progress
    rows, refused = (sum(receipt[count] for receipt in receipts) for count in ("rows", "refused"))
    why = "; the column error says why" if refused else ""
    lines = [f"{rows} rows, {rows - refused} answered, {refused} refused{why}"]
    for receipt in receipts:
        if figures := receipt.get("figures"):
            area = "" if figures["auc"] is None else f", AUC {figures['auc']:.4f}"
            lines.append(f"{figures['rows']} rows with the target: log loss {figures['log_loss']:.4f}, "
                         f"accuracy {figures['accuracy']:.4f}{area}")  # fmt: skip
    return "\n".join([*lines, *([] if stream else [f"wrote {options.output}"])])


def _progress(rows: int, seconds: float) -> None:
    print(f"\r{rows:,} rows, {rows / max(seconds, 1e-9):,.0f} rows/s ", end="", file=sys.stderr, flush=True)


def run_sql(options: argparse.Namespace, signed_by: PublicKey | None) -> str:
    """Write the export as a SELECT, or a view, that answers every row of a table."""
    try:
        from passfail.sql import select
    except ModuleNotFoundError as error:
        raise ConfigError(f"the command sql needs the package {error.name}: pip install 'passfail[sql]'") from error
    folder = find(options.models, options.model, options.version)
    return select(read_manifest(folder, signed_by), options.dialect, options.table, options.view)


def _shared(environ: Mapping[str, str]) -> tuple[Parser, Parser]:
    """The options of every command, and of every command on one version."""
    every, one = Parser(add_help=False), Parser(add_help=False)
    every.add_argument("--model", default=environ.get("MODEL_NAME") or None, help="name of the model (MODEL_NAME)")
    every.add_argument(
        "--models", type=Path, default=Path(environ.get("MODELS_DIR") or "models"),
        help="folder of versions (default: MODELS_DIR, or models)",
    )  # fmt: skip
    runtime = environ.get("RUNTIME") or "onnx"
    every.add_argument(
        "--runtime",
        choices=sorted(MODEL_FILES),
        default=runtime,
        help="runtime (default: RUNTIME, or onnx)",
    )
    one.add_argument("--version", type=_version, help="number of the version (default: the one to serve)")
    return every, one


def _parser(environ: Mapping[str, str]) -> Parser:
    every, one = _shared(environ)
    examples = ["passfail verify --model admissions", "passfail score new.csv -o scored.csv --model admissions"]
    parser = Parser("passfail", description="Work with exported models.", examples=examples)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(run: Run, about: str, *examples: str, parents: Sequence[Parser] = (every, one)) -> Parser:
        name = run.__name__.removeprefix("run_")
        shown = [f"passfail {name} {example}" for example in examples]
        made: Parser = commands.add_parser(name, parents=parents, help=about, examples=shown)
        made.set_defaults(run=run)
        return made

    about = "pin the version to serve, and wait until a running service serves it"
    add = command(run_pin, about, "3 --model admissions", "highest", parents=[every]).add_argument
    port = environ.get("PORT") or environ.get("AIP_HTTP_PORT") or "8000"
    add(
        "--service", default=f"http://127.0.0.1:{port}",
        help="address of the running service to wait for (default: this machine, at PORT)",
    )  # fmt: skip
    add("version", type=_version, help="number of the version, or highest to remove the pin")
    about = "verify an export, and certify its answers on this machine"
    command(run_verify, about, "--model admissions", "--models /srv/models --version 3")
    add = command(
        run_score, "answer every row of a file, or of a folder of parts",
        "new.csv -o scored.parquet", "- -o - < new.csv > scored.csv",
        "export.csv -o scored.csv --separator ';' --decimal , --encoding windows-1252",
    ).add_argument  # fmt: skip
    add("input", type=Path, help="CSV (also .gz, .zst) or Parquet, a folder of them, or - for standard input")
    to = "CSV or Parquet, a folder for a folder, or - for standard output"
    add("-o", "--output", type=Path, required=True, help=to)
    add("--strict", action="store_true", help="write nothing if a row is invalid; the output has no column error")
    add("--explain", action="store_true", help="add each feature's contribution to the logit")
    mark = "separator of CSV; tab for a tab (default: a comma, or the training file's)"
    add("--separator", type=separator, help=mark)
    add("--decimal", choices=(".", ","), help="decimal mark of CSV (default: the training file's)")
    add("--encoding", type=encoding, help="encoding of CSV (default: UTF-8, or the training file's)")
    about = "write an export as one SELECT over a table"
    add = command(run_sql, about, "--dialect postgres --table applicants").add_argument
    add("--dialect", required=True, help="SQL dialect: bigquery, duckdb, postgres, snowflake, spark or sqlite")
    add("--table", required=True, help="name of the table: applicants, or public.applicants")
    add("--view", help="name of a view: write CREATE VIEW, not the SELECT alone")
    return parser


def _signed_by(environ: Mapping[str, str]) -> PublicKey | None:
    path = environ.get("SIGNED_BY")
    return signing.public_key(path, "SIGNED_BY") if path else None


def _version(text: str) -> int | None:
    if text == "highest":
        return None
    if not (version := whole(text)):
        raise argparse.ArgumentTypeError("takes a version's number, or highest")
    return version


if __name__ == "__main__":
    sys.exit(main())
