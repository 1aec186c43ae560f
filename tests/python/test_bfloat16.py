"""Inputs and outputs of bfloat16, which NumPy has not of its own, with and without ml_dtypes."""
import json
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tiny_models
from command import run
from optimizing import fast_config, optimize

import blade

VALUES = np.array([[1, -2.5, 3.14159, 1e-30], [np.inf, -0.0, 65280.5, 1e38]], np.float32)
ROUNDED = VALUES.astype(ml_dtypes.bfloat16)


def graph_def():
    """y = x, in bfloat16, for x of any number of rows of 4, and z = 2 x, in float32."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.bfloat16, [None, 4], name="x")
        tf.identity(x, name="y")
        tf.multiply(tf.cast(x, tf.float32), 2, name="z")
        return graph.as_graph_def()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.write(graph_def(), tmp_path_factory.mktemp("bfloat16") / "model.pb")


@pytest.fixture(scope="module")
def engine(model):
    return blade.Engine(model, outputs=["y", "z"])


@pytest.mark.parametrize("given", [
    ROUNDED, VALUES, VALUES.astype(np.float64), ROUNDED.view(np.uint16), ROUNDED.view("V2"), VALUES.tolist(), np.asfortranarray(ROUNDED),
    ROUNDED.view(np.uint16).astype(">u2"),
], ids=["bfloat16", "float32", "float64", "uint16", "void", "list", "columns", "other bytes"])
def test_what_an_input_takes(engine, given):
    got = engine.run({"x": given})
    assert got["y"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(got["y"].view(np.uint16), ROUNDED.view(np.uint16))
    np.testing.assert_array_equal(got["z"], ROUNDED.astype(np.float32) * 2)
    assert engine.profile({"x": given}, 1) and engine.explain({"x": given})["plan"]


def test_floats_are_rounded_to_the_nearest(engine):
    bits = np.random.default_rng(1).integers(0, 1 << 32, 4000, dtype=np.uint32)
    floats = bits.view(np.float32).reshape(-1, 4)
    floats = np.where(np.abs(floats) < 1e-37, 0, floats)  # runs take denormals for zeros
    with np.errstate(invalid="ignore", over="ignore"):
        want = floats.astype(ml_dtypes.bfloat16).astype(np.float32) * 2
    np.testing.assert_array_equal(engine.run({"x": floats})["z"], want)  # NaN stays NaN


def test_no_elements(engine):
    assert engine.run({"x": np.zeros((0, 4), np.float32)})["y"].shape == (0, 4)


@pytest.mark.parametrize("given", [np.ones((2, 4), np.int32), VALUES > 0, np.zeros((2, 4), "V4"), ROUNDED.astype(np.complex64)],
                         ids=["int32", "bool", "V4", "complex64"])
def test_what_an_input_refuses(engine, given):
    with pytest.raises(blade.BladeError, match=r"Input 'x' was given .* data, expected bfloat16 \(floats are rounded, uint16 are its bits\): convert it"):
        engine.run({"x": given})


def test_without_ml_dtypes(model):
    code = f"""
import sys
sys.modules["ml_dtypes"] = None  # importing it fails
import numpy, blade
engine = blade.Engine({str(model)!r}, outputs=["y"])
floats = numpy.array([[1, -2.5, 3.14159, 0]], numpy.float32)
got = engine.run({{"x": floats}})["y"]
assert got.dtype == numpy.float32
print(got.tolist(), (engine.run({{"x": got}})["y"] == got).all())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[[1.0, -2.5, 3.140625, 0.0]] True\n", done.stderr


@pytest.mark.parametrize("given", [ROUNDED, VALUES, ROUNDED.view(np.uint16)], ids=["bfloat16", "float32", "uint16"])
def test_test_data_of_optimize(given):
    _, _, report = optimize(graph_def(), fast_config(), outputs=["z"], test_data=[{"x:0": given}])
    assert report.diagnosis["test_data_info"] == "x:0 shape: (2, 4) data type: bfloat16"


@pytest.mark.parametrize("given", [ROUNDED, VALUES, ROUNDED.view(np.uint16)], ids=["bfloat16", "float32", "uint16"])
def test_files_of_the_command(model, tmp_path, given):
    np.save(tmp_path / "x.npy", given)
    told = run("run", model, "--outputs", "y", "--input", f"x={tmp_path / 'x.npy'}", "--save", tmp_path / "out", "--json").stdout
    assert json.loads(told)[0]["dtype"] == "bfloat16"
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "y.npy"), ROUNDED.astype(np.float32))
