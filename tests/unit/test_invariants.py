"""The imports between packages (ARCHITECTURE.md), and the form of sentences."""

import ast
import functools
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.pages import PAGES

ROOMS = ("passfail", "serve", "train")


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def modules() -> dict[str, ast.Module]:
    """{path: tree} of the product's modules."""
    paths = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): parsed(path) for path in paths}


def imports(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(module, the names taken from it) of each import of a file, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name, ()) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, tuple(name.name for name in node.names)


def importers(package: str) -> set[str]:
    """The files that import a package, or a module of it."""
    return {
        path
        for path, tree in modules().items()
        if any(found == package or found.startswith(f"{package}.") for found, _ in imports(tree))
    }


def outside(paths: set[str], *allowed: str) -> set[str]:
    return {path for path in paths if not path.startswith(allowed)}


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("train", ("train/",)),
        ("serve", ("serve/",)),
        ("tests", ()),
        ("gunicorn", ("serve/server/", "serve/__main__.py")),
        ("uvloop", ("serve/server/",)),
        ("flask", ("serve/server/flask_app.py", "serve/web/")),
        ("werkzeug", ("serve/server/flask_app.py", "serve/web/")),
        ("torch", ("train/", "passfail/runtimes/torch")),
        ("onnxruntime", ("passfail/runtimes/onnx.py",)),
    ],
)
def test_a_package_is_imported_only_where_it_belongs(package: str, allowed: tuple[str, ...]) -> None:
    assert outside(importers(package), *allowed) == set()


def test_the_environment_is_read_by_the_settings_and_the_command_lines() -> None:
    """ONNX Runtime takes a variable only from the environment, set before its import."""
    names = {"environ", "environb", "getenv", "getenvb"}
    readers = {
        path
        for path, tree in modules().items()
        if any(
            isinstance(node, ast.Attribute) and ast.unparse(node) in {f"os.{name}" for name in names}
            for node in ast.walk(tree)
        )
        or any(module == "os" and names & set(taken) for module, taken in imports(tree))
    }
    command_lines = ("passfail/__main__.py", "train/__main__.py", "serve/__main__.py", "serve/settings.py")

    assert outside(readers, *command_lines, *WRITERS) == set()


WRITERS = ("passfail/runtimes/onnx.py",)


# NamedTuple's methods, which begin so in order not to be fields; and os._exit, which Python documents.
DOCUMENTED = {"_asdict", "_fields", "_replace", "_exit"}


def test_no_private_name_of_another_module_is_used() -> None:
    """A name of a dependency that begins with an underscore may change or go without notice."""
    imported = {
        (path, name)
        for path, tree in modules().items()
        for module, names in imports(tree)
        for name in (*module.split("."), *names)
        if name.startswith("_") and not name.startswith("__")
    }
    read = {
        (path, node.attr)
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if ast.unparse(node.value) not in ("self", "cls", "super()")
    }

    assert imported == set()
    assert {(path, name) for path, name in read if name not in DOCUMENTED} == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_module_does_nothing_on_import(room: str) -> None:
    """Only a configuration file of gunicorn does, which gunicorn reads once."""
    definitions = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    acting = {
        f"{path}:{node.lineno}: {ast.unparse(node).splitlines()[0]}"
        for path, tree in modules().items()
        if path.startswith(f"{room}/") and path not in (*WRITERS, "serve/server/gunicorn_conf.py")
        for node in tree.body
        if not isinstance(node, definitions)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not (isinstance(node, ast.Assign | ast.AnnAssign) and all(map(is_name, targets(node))))
        and not (isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'"))
    }

    assert acting == set()


def targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def is_name(node: ast.expr) -> bool:
    return all(map(is_name, node.elts)) if isinstance(node, ast.Tuple) else isinstance(node, ast.Name)


def test_no_test_module_imports_another() -> None:
    """Helpers are in tests/support/."""
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in (ROOT / "tests").rglob("*.py")
        for module, names in imports(parsed(path))
        for name in (module, *(f"{module}.{name}" for name in names))
        if name.startswith("tests.") and name.rpartition(".")[2].startswith(("test_", "conftest"))
    }

    assert found == set()


WORDED = (*ROOMS, "bench", "deploy", "tests")
# Openings that are neither a noun nor a verb: the sentence lacks its subject, or needs the one before.
INDIRECT = re.compile("(Of|Where|What|Who|Whom|Whose|Why|How|Which|Nor|But|Also|And|When|Even|Because|Than|As)\\b")


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """(line, first line) of each docstring of a module."""
    for node in ast.walk(parsed(path)):
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield node.body[0].lineno, text.partition("\n")[0]


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of each comment of a module."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


@pytest.mark.parametrize("room", WORDED)
def test_a_docstring_begins_with_a_short_line(room: str) -> None:
    long = [
        f"{path.relative_to(ROOT)}:{line} has {len(text)} characters, at most 90: {text}"
        for path in (ROOT / room).rglob("*.py")
        for line, text in docstrings(path)
        if len(text) > 90
    ]

    assert long == []


@pytest.mark.parametrize("room", WORDED)
def test_a_sentence_opens_with_a_noun_or_a_verb(room: str) -> None:
    indirect = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in (ROOT / room).rglob("*.py")
        for line, text in (*docstrings(path), *comments(path))
        if INDIRECT.match(text)
    ]

    assert indirect == []


def headings(path: str) -> list[str]:
    """The headings of a page in Markdown or HTML."""
    if path in PAGES:
        return re.findall(r"^#+ (.*)", re.sub(r"^```.*?^```$", "", PAGES[path], flags=re.M | re.S), re.M)
    return re.findall(r"<h\d[^>]*>(.*?)</h\d>", (ROOT / path).read_text())


TEMPLATES = [path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.html*")]


@pytest.mark.parametrize("page", [*PAGES, *TEMPLATES])
def test_a_heading_is_a_noun_phrase_or_an_imperative(page: str) -> None:
    assert [heading for heading in headings(page) if INDIRECT.match(heading)] == []
