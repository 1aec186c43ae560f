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
