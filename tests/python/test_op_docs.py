"""docs/ops.md and the README say what the library says about ops; holes against TensorFlow's CPU kernels are listed."""

import json
import os
import pathlib
import re

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")
from command import run  # noqa: E402
from op_fuzz.draw import kernel_types  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]

# Types that TensorFlow's CPU kernels take and Blade leaves to TensorFlow, with the reason.
HOLES = {
    "BatchMatMulV3": ({"bool"}, "products of matrices of bools: no model asks for them"),
    "EuclideanNorm": ({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}, "norms of integers overflow"),
    "ArgMax": ({"bool"}, "the largest of bools: no model asks for it"),
    "ArgMin": ({"bool"}, "the smallest of bools: no model asks for it"),
    "_FusedConv2D": ({"int8"}, "quantized convolutions are not there yet"),
    "ScatterNdNonAliasingAdd": ({"bool"}, "bools are not added up"),
}


def inspect(*options):
    return run("inspect", "--ops", *options).stdout


def test_page_is_current():
    assert inspect() == (ROOT / "docs" / "ops.md").read_text(), "run: blade inspect --ops > docs/ops.md"


def test_readme_counts_ops():
    covered = sum(op["covered"] for op in json.loads(inspect("--json"))["ops"])
    said = re.search(r"(\d+) TensorFlow ops", (ROOT / "README.md").read_text())
    assert said and int(said.group(1)) == covered, f"the README should say {covered} TensorFlow ops"


def test_types_are_those_of_tensorflows_cpu_kernels():
    missing = []
    for op in json.loads(inspect("--json"))["ops"]:
        if not op["covered"] or not op["types"]:
            continue
        accepted = HOLES.get(op["op"], (set(), ""))[0]
        hole = set(kernel_types(op["op"])) - set(op["types"])
        if hole != accepted:
            missing.append(f"{op['op']}: TensorFlow also takes {sorted(hole - accepted)}; listed but there: {sorted(accepted - hole)}")
    assert not missing, "\n".join(missing)
