"""Links in the README and docs/ lead to files and headings that are there; a page has each heading once. The engine
format's page names all decisions."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def prose(page):
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def anchors(page):
    """The names that a heading's link goes by: lower case, without punctuation, blanks as hyphens."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), f"{page.name} links to {target}, which is not there"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_headings_differ(page):
    names = anchors(page)
    assert len(names) == len(set(names)), f"{page.name}: {sorted({name for name in names if names.count(name) > 1})}"


def test_engine_format_names_every_decision():
    source = (ROOT / "src/engine/decisions.cc").read_text()
    written = source[source.index("std::string Decisions::to_json()"):source.index("Result<Decisions> Decisions::from_json")]
    keys = re.findall(r'(?:json\[|\{)"(\w+)"[\],]', written)
    page = (ROOT / "docs/engine-format.md").read_text()
    section = page[page.index("## Decisions"):page.index("## Model")]
    assert len(keys) > 10
    assert [key for key in keys if f"`{key}`" not in section] == []
