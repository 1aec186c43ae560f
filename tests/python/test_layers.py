"""Folders of src/ include only what stands above them in docs/architecture.md, and backends do not know each other."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
SUFFIXES = {".h", ".cc", ".cu", ".cuh", ".inc"}


def folders_in_order():
    """Names of the folders of src/, lowest first, as the table in docs/architecture.md has them."""
    rows = re.findall(r"^\| (`[^|]*) \|", (ROOT / "docs" / "architecture.md").read_text(), flags=re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`src/(\w+)/", row)]


def includes():
    """(file, the folders that it stands in, those of what it includes) for each include of a file of the project."""
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix not in SUFFIXES:
            continue
        for name in re.findall(r'^#include "([\w./]+)"', path.read_text(), flags=re.MULTILINE):
            if (ROOT / "src" / name).is_file():
                yield path.relative_to(ROOT), path.relative_to(ROOT / "src").parts[:-1], pathlib.Path(name).parts[:-1]


def test_the_table_has_all_folders():
    assert sorted(folders_in_order()) == sorted(path.name for path in (ROOT / "src").iterdir() if path.is_dir())


def test_includes_point_one_way():
    order = folders_in_order()
    wrong = [f"{path} includes a file of {to[0]}/" for path, at, to in includes()
             if at and order.index(to[0]) > order.index(at[0])]
    assert not wrong, "\n".join(wrong)


def test_fast_backends_know_the_reference_alone():
    wrong = [f"{path} includes a file of {'/'.join(to)}/" for path, at, to in includes()
             if to[:1] == ("backends",) and len(to) > 1 and at[:1] == ("backends",)
             and at[1:2] != to[1:2] and to[1] != "reference"]
    assert not wrong, "\n".join(wrong)
