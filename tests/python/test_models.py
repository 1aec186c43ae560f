"""Trained models against TensorFlow's stored answers: TensorFlow-free, and optimized inside TensorFlow."""
import pathlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import blade

MODELS = ["age", "antispoof", "blazeface-front", "emotion", "faceboxes", "facemesh-attention", "iris", "liveness", "mobileface", "selfie"]
# A bound that TensorFlow itself keeps in float64 or without oneDNN, relative to each output's largest value.
TOLERANCE = {"selfie": 1.5e-3}


def load_case(models_dir, name, case):
    """(feed, checks): checks are functions of {tensor name: array} that assert."""
    data = np.load(pathlib.Path(models_dir) / f"{name}.npz")
    prefix = f"in{case}:"
    feed = {key[len(prefix):]: data[key] for key in data.files if key.startswith(prefix)}
    return feed, data


def output_names(data, case):
    names = []
    for key in data.files:
        kind, _, tensor = key.partition(":")
        if kind in (f"out{case}", f"outsample{case}"):
            names.append(tensor)
    return names


def check(results, data, case, tolerance):
    for tensor in output_names(data, case):
        got = results[tensor]
        if f"out{case}:{tensor}" in data.files:
            want = data[f"out{case}:{tensor}"]
            assert got.shape == want.shape
            scale = np.abs(want).max()
        else:
            step, *shape = data[f"outmeta{case}:{tensor}"]
            assert list(got.shape) == list(shape)
            want, got = data[f"outsample{case}:{tensor}"], got.reshape(-1)[:: int(step)]
            _, _, low, high = data[f"outstat{case}:{tensor}"]
            scale = max(abs(low), abs(high))
        if np.issubdtype(want.dtype, np.floating):
            assert np.abs(got.astype(np.float64) - want).max() <= tolerance * scale, tensor
        else:
            assert np.array_equal(got, want), tensor


@pytest.mark.parametrize("name", MODELS)
def test_without_tensorflow(models_dir, name):
    tolerance = TOLERANCE.get(name, 1e-4)
    _, data = load_case(models_dir, name, 0)
    engine = blade.Engine(pathlib.Path(models_dir) / f"{name}.pb", outputs=output_names(data, 0))
    for case in (0, 1):
        feed, _ = load_case(models_dir, name, case)
        check(engine.run(feed), data, case, tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_optimized_in_tensorflow(models_dir, name):
    tolerance = TOLERANCE.get(name, 1e-4)
    feed, data = load_case(models_dir, name, 0)
    graph_def = tf.GraphDef()
    graph_def.ParseFromString((pathlib.Path(models_dir) / f"{name}.pb").read_bytes())
    config = blade.Config()
    config.tuning.time_limit_s = 2
    config.cpu_config.precision = "fp32"
    outputs = output_names(data, 0)
    optimized, spec, report = blade.optimize(graph_def, "o1", "cpu", config=config, outputs=outputs, test_data=[feed])
    assert report.accuracy["holds"]
    assert len(optimized.SerializeToString()) <= 1.1 * len(graph_def.SerializeToString())
    if report.optimizations[0]["status"] != "effective":
        pytest.skip(f"rolled back on this machine: {report.optimizations[0].get('message')}")
    with tf.Graph().as_default(), tf.Session() as session, spec:
        tf.import_graph_def(optimized, name="")
        check(dict(zip(outputs, session.run(outputs, feed))), data, 0, tolerance)
    engine = blade.Engine(_written(optimized, name), outputs=outputs)
    check(engine.run(feed), data, 0, tolerance)


@pytest.mark.skipif("avx512_bf16" not in pathlib.Path("/proc/cpuinfo").read_text(), reason="no bfloat16 arithmetic")
@pytest.mark.parametrize("name", MODELS)
def test_optimized_in_bfloat16(models_dir, name):
    """What the optimizer's own check lets pass, in TensorFlow and without."""
    feed, data = load_case(models_dir, name, 0)
    graph_def = tf.GraphDef()
    graph_def.ParseFromString((pathlib.Path(models_dir) / f"{name}.pb").read_bytes())
    config = blade.Config()
    config.cpu_config.precision = "bf16"
    config.tuning.disable_perf_check = True
    outputs = output_names(data, 0)
    optimized, spec, report = blade.optimize(graph_def, "o1", "cpu", config=config, outputs=outputs, test_data=[feed])
    step = next(step for step in report.optimizations if step["name"] == "TfAutoMixedPrecisionCpu")
    assert step["status"] in ("effective", "rolled back") and report.accuracy["holds"]
    if step["status"] == "effective":
        with tf.Graph().as_default(), tf.Session() as session, spec:
            tf.import_graph_def(optimized, name="")
            check(dict(zip(outputs, session.run(outputs, feed))), data, 0, 2.1e-2)
    engine = blade.Engine(_written(optimized, name), outputs=outputs)
    check(engine.run(feed), data, 0, 2.1e-2)


def _written(graph_def, name):
    import tempfile

    path = pathlib.Path(tempfile.mkdtemp()) / f"{name}.pb"
    path.write_bytes(graph_def.SerializeToString())
    return path
