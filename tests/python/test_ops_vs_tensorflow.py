"""Every TensorFlow op that Blade lowers, over attributes, types and shapes (sizes 0 and 1, odd, broadcasting), against
TensorFlow itself. Cases of one family share a graph; a failure lists each case that differs."""

import pathlib
import re

import numpy as np
import op_cases_compute  # noqa: F401: registers its families
import op_cases_data  # noqa: F401
import pytest
import tensorflow.compat.v1 as tf
import tiny_models
from differential import FAMILIES, Cases
from op_fuzz.specs import SPECS

import blade

OPS_INC = pathlib.Path(__file__).parents[2] / "src" / "frontends" / "tensorflow" / "ops.inc"
# Lowered ops without a case, and why.
NO_CASE = {
    "BatchNormWithGlobalNormalization": "TensorFlow refuses it in graphs of today's version (test_classics has one)",
    "TopK": "TensorFlow refuses it in graphs of today's version",
    "_FusedBatchNormEx": "TensorFlow has no CPU kernel of it without oneDNN's rewrite",
    "_FusedDepthwiseConv2dNative": "TensorFlow has no CPU kernel of it without oneDNN's rewrite",
    "_FusedConv3D": "made by TensorFlow's own rewrites only",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_as_tensorflow(name, tmp_path):
    cases = Cases(seed=sum(name.encode()))
    FAMILIES[name](cases)
    different = cases.differences(tmp_path)
    assert not different, f"{len(different)} of {len(cases.cases)} cases:\n" + "\n".join(different)


def test_every_lowered_op_has_a_case():
    lowered = set(re.findall(r"^BLADE_TF_OP\((\w+),", OPS_INC.read_text(), re.MULTILINE))
    met = set(SPECS)  # of the drawn cases
    for build in FAMILIES.values():
        cases = Cases()
        build(cases)
        met |= cases.ops
    assert sorted(lowered - met - set(NO_CASE)) == []
    assert sorted(set(NO_CASE) - lowered) == []


def test_functions_keep_their_bounds(tmp_path):
    """Sines beyond 1 would make NaN of the roots behind them; log1p of little is as good as its argument."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None], name="x")
        tf.sin(x, name="sin")
        tf.cos(x, name="cos")
        tf.math.log1p(x, name="log1p")
    path = tiny_models.write(graph.as_graph_def(), tmp_path / "m.pb")
    engine = blade.Engine(path, outputs=["sin", "cos", "log1p"])
    turns = np.arange(-200, 200)[:, None] * (np.pi / 2)
    got = engine.run({"x": (turns + np.linspace(-1e-3, 1e-3, 2001)).ravel().astype(np.float32)})
    assert max(np.abs(got["sin"]).max(), np.abs(got["cos"]).max()) <= 1
    little = np.logspace(-30, -3, 5001, dtype=np.float32)
    little = np.concatenate([little, -little])
    np.testing.assert_allclose(engine.run({"x": little})["log1p"], np.log1p(little.astype(np.float64)), rtol=1e-6)
