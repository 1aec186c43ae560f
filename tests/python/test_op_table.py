"""Compares the importer's op table with TensorFlow's own op registry: argument names, types and defaults."""

import pathlib
import re

import pytest

pytest.importorskip("tensorflow")
from tensorflow.python.framework import dtypes, op_def_registry  # noqa: E402

OPS_INC = pathlib.Path(__file__).parents[2] / "src" / "frontends" / "tensorflow" / "ops.inc"
LINE = re.compile(r'^BLADE_TF_(?:OP|LIST_OP|FOREIGN)\((\w+), "([^"]*)"', re.MULTILINE)
# A Const's and a Placeholder's registration is asked for like any other; Blade's own ops live in its op library.
OPS = [(name, signature) for name, signature in LINE.findall(OPS_INC.read_text()) if not name.startswith("Blade")]


def describe(arg, attrs):
    if arg.type_list_attr:
        return f"{arg.name}:[{arg.type_list_attr}]"
    kind = dtypes.as_dtype(arg.type).name if arg.type else arg.type_attr
    if arg.type_attr and attrs[arg.type_attr].HasField("default_value"):
        kind += "=" + dtypes.as_dtype(attrs[arg.type_attr].default_value.type).name
    return f"{arg.name}:{arg.number_attr}*{kind}" if arg.number_attr else f"{arg.name}:{kind}"


def test_table_is_read():
    assert len(OPS) > 250
    assert len({name for name, _ in OPS}) == len(OPS)


@pytest.mark.parametrize("name,signature", OPS, ids=[name for name, _ in OPS])
def test_signature_is_tensorflows(name, signature):
    op = op_def_registry.get(name)
    if op is None:
        pytest.skip(f"this TensorFlow has no {name}")
    attrs = {attr.name: attr for attr in op.attr}
    found = ",".join(describe(a, attrs) for a in op.input_arg) + "->" + ",".join(describe(a, attrs) for a in op.output_arg)
    assert signature == found
