"""The documents as text, and what stands in their tables."""

import re
from pathlib import Path

from tests.support import ROOT

# Path -> text of every page; the links in docs/project/ are the pages at the top once more.
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    if not path.is_symlink()
}
REFERENCE = {Path(name).stem: text for name, text in PAGES.items() if name.startswith("docs/reference/")}


def section(page: str, heading: str) -> str:
    """The text below a heading (`## Settings`), up to the next one of its level or above."""
    level = heading.index(" ")
    after = f"\n{page}".split(f"\n{heading}\n")[1]
    return re.split(rf"^#{{1,{level}}} ", after, flags=re.M)[0]


def table(text: str) -> list[list[str]]:
    """The rows of all tables in a text without their heads, each a list of cells."""
    tables = re.findall(r"(?:^\|.*\n?)+", text, re.M)
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for lines in tables for line in lines.splitlines()[2:]
    ]


def names(rows: list[list[str]]) -> list[str]:
    """The words in code in the first cells."""
    return [name for row in rows for name in re.findall(r"`([^`]*)`", row[0])]


def sentences(page: str) -> list[str]:
    """The sentences of a page, table cells and list items, without code and brackets."""
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)
    prose = re.sub(r"`[^`\n]*`", "code", re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", prose))
    prose = re.sub(r"\([^()]*\)", "", re.sub(r"^(#.*|\|[-|]*\|?)$", "", prose, flags=re.M))
    parts = re.split(r"\n\s*\n|\n\s*(?:- |\d+\. )|\n?\||(?<=[.;:?!])\s", prose)
    return [" ".join(part.split()) for part in parts if part.strip()]
