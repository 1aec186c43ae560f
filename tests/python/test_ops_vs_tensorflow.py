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


@pytest.mark.parametrize("padding", ["SAME", "VALID", "EXPLICIT"])
def test_max_pool_gradient_with_channels_first(padding, tmp_path):
    """TensorFlow's CPU kernel has channels last only: its answer is turned."""
    rng = np.random.default_rng(3)
    x = np.maximum(rng.normal(0, 1, (2, 7, 6, 3)), 0).astype(np.float32)

    def arguments(first):
        def order(values):
            each = len(values) // 4
            return values[:each] + values[-each:] + values[each:-each] if first else values
        pads = {"explicit_paddings": order([0, 0, 1, 0, 0, 2, 0, 0])} if padding == "EXPLICIT" else {}
        return dict(ksize=order([1, 2, 3, 1]), strides=order([1, 2, 1, 1]), padding=padding, **pads)

    with tf.Graph().as_default() as graph:
        image = tf.placeholder(tf.float32, x.shape, name="x")
        pooled = tf.raw_ops.MaxPool(input=image, **arguments(False))
        dy = tf.constant(rng.normal(0, 1, pooled.shape).astype(np.float32))
        tf.raw_ops.MaxPoolGrad(orig_input=image, orig_output=pooled, grad=dy, name="last", **arguments(False))
        turned = [tf.transpose(v, (0, 3, 1, 2)) for v in (image, pooled, dy)]
        dx = tf.raw_ops.MaxPoolGrad(orig_input=turned[0], orig_output=turned[1], grad=turned[2], data_format="NCHW", **arguments(True))
        tf.transpose(dx, (0, 2, 3, 1), name="first")
    want = tiny_models.run(graph.as_graph_def(), {"x:0": x}, ["last:0"])[0]
    path = tiny_models.write(graph.as_graph_def(), tmp_path / "m.pb")
    np.testing.assert_allclose(blade.Engine(path, outputs=["first"]).run({"x": x})["first"], want, rtol=1e-6)
