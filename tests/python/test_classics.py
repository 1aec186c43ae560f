"""Whole models of the kinds that users have, from examples/classics: answers, and what stays behind in TensorFlow."""
import dataclasses
import functools
import pathlib
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tiny_models

import blade
import blade.runtime.tensorflow as runtime

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples" / "classics"))
import make_model  # noqa: E402

from graph_kit import initialize_tables  # noqa: E402

TOLERANCE = 1e-4  # relative to each output's largest value


@dataclasses.dataclass
class Expected:
    """stays: the only ops that may stay in TensorFlow; none: the model runs whole, in one region and without TensorFlow."""

    stays: tuple = ()
    in_tensorflow: bool = True  # False: TensorFlow cannot run the original on a CPU, so neither a graph that holds it

    @property
    def whole(self):
        return not self.stays


EXPECTED = {name: Expected() for name in make_model.MODELS}
EXPECTED["nchw_cnn"] = Expected(in_tensorflow=False)
EXPECTED["jpeg_classifier"] = Expected(stays=("DecodeJpeg",))
EXPECTED["speech_commands"] = Expected(stays=("DecodeWav",))
EXPECTED["string_classifier"] = Expected(stays=("GatherV2", "Const"))
EXPECTED["wide_and_deep"] = Expected(stays=("HashTableV2", "LookupTableFindV2", "StringToHashBucketFast", "StringJoin"))


@functools.lru_cache(maxsize=None)
def classic(name):
    return make_model.MODELS[name](small=True)


@functools.lru_cache(maxsize=None)
def answers(name, case):
    return classic(name).answers(case)


def quick():
    """No check of speed: what these small models gain is not the question. In float32, where answers are exact."""
    config = blade.Config()
    config.tuning.disable_perf_check = True
    config.cpu_config.precision = "fp32"
    return config


# A value on the border of two quantization steps may fall to either side: a step is 1/255 of a range.
TOLERANCES = {"quantization_aware": 4e-3}


def check(got, want, what):
    assert got.shape == want.shape, what
    assert got.dtype == want.dtype, what
    if np.issubdtype(want.dtype, np.floating):
        scale = np.abs(want).max() if want.size else 1
        tolerance = TOLERANCES.get(what.split(",")[0], TOLERANCE)
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale + 1e-7, err_msg=what)
    else:
        assert np.array_equal(got, want), what


@functools.lru_cache(maxsize=None)
def optimized(name):
    model = classic(name)
    return blade.optimize(model.graph_def, "o1", "cpu", quick(), outputs=model.outputs, test_data=model.cases)


@pytest.mark.parametrize("name", [n for n, e in EXPECTED.items() if e.in_tensorflow])
def test_optimized_in_tensorflow(name):
    model = classic(name)
    graph_def, spec, report = optimized(name)
    assert report.accuracy["holds"]
    assert report.optimizations[0]["status"] == "effective", report.optimizations[0].get("message")
    before = runtime.counters()
    with tf.Graph().as_default(), tf.Session() as session, spec:
        tf.import_graph_def(graph_def, name="")
        initialize_tables(session)
        for case, feed in enumerate(model.cases):
            for got, want, output in zip(session.run(model.outputs, feed), answers(name, case), model.outputs):
                check(got, want, f"{name}, case {case}, {output}")
    assert runtime.counters()["fallback_runs"] == before["fallback_runs"], "every shape of the test data runs in engines"


@pytest.mark.parametrize("name", make_model.MODELS)
def test_coverage(name):
    _, _, report = optimized(name)
    coverage, expected = report.coverage, EXPECTED[name]
    left = coverage["left_behind"]
    assert all(entry["reason"] for entry in left)
    assert {entry["op"] for entry in left} <= set(expected.stays), left
    assert coverage["regions"] == 1 if expected.whole else coverage["regions"] >= 1


def tensorflow_runs(model):
    try:
        with tf.Graph().as_default(), tf.Session() as session:
            tf.import_graph_def(model.graph_def, name="")
            session.run(model.outputs, model.cases[0])
        return True
    except tf.errors.OpError:
        return False


def test_a_model_that_tensorflow_cannot_run_here():
    if tensorflow_runs(classic("nchw_cnn")):
        pytest.skip("TensorFlow runs NCHW convolutions on this processor")
    _, _, report = optimized("nchw_cnn")
    assert report.accuracy["holds"] and report.accuracy["reference"].startswith("Blade's reference kernels")
    assert "TensorFlow cannot run this model on this machine" in report.diagnosis["message"]
    assert report.overall["baseline"] == "na"


@pytest.mark.parametrize("name", [n for n, e in EXPECTED.items() if e.whole])
def test_without_tensorflow(name, tmp_path):
    model = classic(name)
    engine = blade.Engine(tiny_models.write(model.graph_def, tmp_path / f"{name}.pb"), outputs=model.outputs)
    for case, feed in enumerate(model.cases):
        results = engine.run(feed)
        for want, output in zip(answers(name, case), model.outputs):
            check(results[output], want, f"{name}, case {case}, {output}")


def test_a_graph_of_2015(tmp_path):
    """Inception's: an op that only graphs of that time may have."""
    rng = np.random.default_rng(5)
    graph_def = tf.GraphDef()
    graph_def.versions.producer = 8

    def add(op, name, inputs=(), **attrs):
        node = graph_def.node.add(op=op, name=name, input=inputs)
        for key, value in attrs.items():
            node.attr[key].CopyFrom(value)
        return name

    def constant(name, values):
        value = tf.AttrValue(tensor=tf.make_tensor_proto(np.asarray(values, np.float32)))
        return add("Const", name, dtype=floats, value=value)

    floats = tf.AttrValue(type=tf.float32.as_datatype_enum)
    shape = tf.AttrValue(shape=tf.TensorShape([None, 9, 9, 3]).as_proto())
    value, channels = add("Placeholder", "x", dtype=floats, shape=shape), 3
    for name, scale in (("scaled", True), ("plain", False)):
        kernel = constant(f"{name}/kernel", rng.normal(0, 0.3, (3, 3, channels, 8)))
        channels = 8
        strides = tf.AttrValue(list=tf.AttrValue.ListValue(i=[1, 1, 1, 1]))
        value = add("Conv2D", f"{name}/conv", [value, kernel], T=floats, strides=strides, padding=tf.AttrValue(s=b"SAME"))
        operands = [constant(f"{name}/{key}", rng.uniform(0.5, 2, 8)) for key in ("mean", "variance", "beta", "gamma")]
        value = add("BatchNormWithGlobalNormalization", f"{name}/norm", [value, *operands], T=floats,
                    variance_epsilon=tf.AttrValue(f=1e-3), scale_after_normalization=tf.AttrValue(b=scale))  # fmt: skip
        value = add("Relu", f"{name}/relu", [value], T=floats)
    output = f"{value}:0"
    feed = {"x:0": rng.normal(0, 1, (2, 9, 9, 3)).astype(np.float32)}
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        want = session.run(output, feed)
    engine = blade.Engine(tiny_models.write(graph_def, tmp_path / "old.pb"), outputs=[output])
    check(engine.run(feed)[output], want, "engine")
    graph, spec, _ = blade.optimize(graph_def, "o1", "cpu", quick(), outputs=[output], test_data=[feed])
    with tf.Graph().as_default(), tf.Session() as session, spec:
        tf.import_graph_def(graph, name="")
        check(session.run(output, feed), want, "optimized")
