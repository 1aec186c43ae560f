"""How an engine and its weights stand in an optimized graph, and damage to them."""
import threading

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tiny_models
from optimizing import engine_ops, optimize, run_optimized

import blade
import blade.runtime.tensorflow as runtime


def test_weights_are_stored_once(dynamic):
    original = len(tiny_models.conv_net().SerializeToString())
    weights = sum(len(node.attr["value"].tensor.tensor_content) for node in tiny_models.conv_net().node)
    assert len(dynamic[0].SerializeToString()) < original + weights  # no second copy


@pytest.fixture(scope="module")
def large():
    """Layers with weights of over 4 MB; optimized for two rows. The original, and what optimize() gave."""
    weights = np.random.default_rng(3).standard_normal((3, 1100, 1100)).astype(np.float32) / 33
    with tf.Graph().as_default() as graph:
        x = y = tf.placeholder(tf.float32, [None, 1100], name="x")
        for weight in weights:
            y = tf.nn.relu(tf.matmul(y, tf.constant(weight)))
        tf.identity(y, name="y")
        tf.identity(2 * y, name="z")
    feed = {"x:0": np.random.default_rng(4).standard_normal((2, 1100)).astype(np.float32)}
    graph_def, spec, _ = optimize(graph.as_graph_def(), outputs=["y", "z"], test_data=[feed])
    if not engine_ops(graph_def):
        pytest.skip("the engine was rolled back on this machine: nothing stands in pieces")
    return graph.as_graph_def(), graph_def, spec


def test_a_large_engine_stands_in_pieces(large, tmp_path):
    """One constant of all would be mapped and cleared anew whenever TensorFlow copies it."""
    original, optimized, spec = large
    graph_def = tf.GraphDef()
    graph_def.CopyFrom(optimized)
    sizes = [len(node.attr["value"].tensor.tensor_content) for node in graph_def.node if "/piece_" in node.name]
    assert len(sizes) > 1 and max(sizes) < 2 * 1100 * 1100 * 4
    for rows, counter in ((2, "engine_runs"), (3, "fallback_runs")):
        feed = {"x:0": np.random.default_rng(5).standard_normal((rows, 1100)).astype(np.float32)}
        want = tiny_models.run(original, feed, "y:0")
        before = runtime.counters()
        np.testing.assert_allclose(run_optimized(graph_def, spec, feed, "y:0"), want, rtol=1e-3, atol=1e-4)
        assert runtime.counters()[counter] == before[counter] + 1
        engine = blade.Engine(tiny_models.write(graph_def, tmp_path / "optimized.pb"))
        np.testing.assert_allclose(engine.run(feed)["y"], want, rtol=1e-3, atol=1e-4)
    for node in graph_def.node:
        if node.name.endswith("/piece_1"):
            content = bytearray(node.attr["value"].tensor.tensor_content)
            content[100] ^= 1
            node.attr["value"].tensor.tensor_content = bytes(content)
    with pytest.raises(tf.errors.DataLossError, match="the optimized model is damaged, optimize it again"):
        run_optimized(graph_def, spec, feed, "y:0")
    with pytest.raises(blade.BladeError, match="damaged"):
        blade.Engine(tiny_models.write(graph_def, tmp_path / "damaged.pb"))


def test_a_handle_keeps_its_engine(large):
    """Constants have another place in each of a session's executors, which share what makes the handle."""
    _, optimized, spec = large
    graph_def = tf.GraphDef()
    graph_def.CopyFrom(optimized)
    for node in graph_def.node:
        if node.op == "BladeEnginePiece":
            node.op = "Const"
            node.attr["dtype"].type = tf.uint8.as_datatype_enum
    feed = np.ones((2, 1100), np.float32)
    before = runtime.counters()["fallback_runs"]
    errors = []

    def run(call):
        try:
            for _ in range(2000):
                call(feed)
        except tf.errors.OpError as error:
            errors.append(error)

    with tf.Graph().as_default(), tf.Session() as session, spec:
        tf.import_graph_def(graph_def, name="")
        threads = [threading.Thread(target=run, args=[session.make_callable([fetch], feed_list=["x:0"])])
                   for fetch in ("y:0", "z:0")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors and runtime.counters()["fallback_runs"] == before, errors


def test_a_stored_handle_is_no_engine(large, capfd):
    _, graph_def, spec = large
    feed = {"x:0": np.ones((2, 1100), np.float32)}
    handle = run_optimized(graph_def, spec, feed, "blade/engine_0:0")
    with pytest.raises(tf.errors.FailedPreconditionError, match="a handle of no engine in this process"):
        run_optimized(graph_def, spec, {**feed, "blade/engine_0:0": handle}, "y:0")
    assert "a handle of no engine in this process" in capfd.readouterr().err


def damaged(graph_def, place):
    """The graph with one bit flipped in each engine, at `place` of its bytes."""
    if not engine_ops(graph_def):
        pytest.skip("the engine was rolled back on this machine: nothing to damage")
    damaged = tf.GraphDef()
    damaged.CopyFrom(graph_def)
    for node in damaged.node:
        if node.name.startswith("blade/engine_"):
            content = bytearray(node.attr["value"].tensor.tensor_content)
            content[place(content)] ^= 1
            node.attr["value"].tensor.tensor_content = bytes(content)
    return damaged


def test_damaged_engine_is_not_run(dynamic):
    def in_model(content):
        return int.from_bytes(content[48:56], "little") + 20  # docs/engine-format.md: where the model begins

    before = runtime.counters()
    run_optimized(damaged(dynamic[0], in_model), dynamic[1], tiny_models.image(), "probabilities:0")
    assert runtime.counters()["fallback_runs"] == before["fallback_runs"] + 1


def test_damaged_weights_are_refused_by_both_branches(dynamic, tmp_path):
    graph_def = damaged(dynamic[0], lambda content: -2000)  # inside the weights, which the original nodes read, too
    with pytest.raises(tf.errors.DataLossError, match="the optimized model is damaged, optimize it again"):
        run_optimized(graph_def, dynamic[1], tiny_models.image(), "probabilities:0")
    with pytest.raises(blade.BladeError, match="damaged"):
        blade.Engine(tiny_models.write(graph_def, tmp_path / "damaged.pb"))
