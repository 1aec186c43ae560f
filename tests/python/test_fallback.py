"""Runs outside the profile: who answers, and what is said and counted."""
import threading

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
import tiny_models
from optimizing import engine_ops, run_optimized

import blade
import blade.runtime.tensorflow as runtime


def test_fallbacks_are_said_once_an_engine(dynamic, capfd):
    graph_def, spec, _ = dynamic
    if not engine_ops(graph_def):
        pytest.skip("the engine was rolled back on this machine: nothing to hand back")
    with tf.Graph().as_default(), tf.Session() as session, spec:
        tf.import_graph_def(graph_def, name="first")
        tf.import_graph_def(graph_def, name="second")
        for model in ("first", "second"):
            for batch in (5, 6):
                session.run(f"{model}/probabilities:0", {f"{model}/x:0": tiny_models.image(batch)["x:0"]})
    said = [line for line in capfd.readouterr().err.splitlines() if "the original graph runs" in line]
    assert len(said) == 2, said
    assert "the input 'x' has the shape [5,32,32,3], outside the engine's profile of [1,32,32,3] to [4,32,32,3]" in said[0]
    assert "'first/" in said[0] and "'second/" in said[1]


@pytest.mark.parametrize("inter_op_threads", [0, 1, -1])
def test_original_runs_with_constant_weights(dynamic, capfd, inter_op_threads):
    """In a session of its own, whose threads are not those that wait for it."""
    graph_def, spec, _ = dynamic
    if not engine_ops(graph_def):
        pytest.skip("the engine was rolled back on this machine: nothing to hand back")
    config = tf.ConfigProto(inter_op_parallelism_threads=inter_op_threads)
    feed = tiny_models.image(6)
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        tf.import_graph_def(tiny_models.conv_net(), name="")
        want = session.run("probabilities:0", feed)
    got = []
    with tf.Graph().as_default(), tf.Session(config=config) as session, spec:
        tf.import_graph_def(graph_def, name="")
        threads = [threading.Thread(target=lambda: got.append(session.run("probabilities:0", feed)), daemon=True)
                   for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    assert len(got) == 6, "a run waits for itself"
    for answer in got:
        np.testing.assert_array_equal(answer, want)  # what TensorFlow's rewriting makes of constants, to the bit
    weights = sum(len(node.attr["value"].tensor.tensor_content) for node in tiny_models.conv_net().node)
    said = capfd.readouterr().err
    assert f"The original graph runs in a session of its own, which holds its weights ({weights / 1e6:.1f} MB) about twice" in said


def test_original_runs_in_sessions_that_have_a_name(dynamic, capfd):
    graph_def, spec, _ = dynamic
    if not engine_ops(graph_def):
        pytest.skip("the engine was rolled back on this machine: nothing to hand back")
    config = tf.ConfigProto()
    config.experimental.session_metadata.name = "served"
    config.experimental.session_metadata.version = 1
    with tf.Graph().as_default(), tf.Session(config=config) as session, spec:
        tf.import_graph_def(graph_def, name="")
        session.run("probabilities:0", tiny_models.image(5))
    assert "in a session of its own" in capfd.readouterr().err


def test_fallbacks_of_graphs_from_older_blades_are_counted_and_said(dynamic, capfd, tmp_path):
    """They call the original nodes in place."""
    graph_def, spec, _ = dynamic
    if not engine_ops(graph_def):
        pytest.skip("the engine was rolled back on this machine: nothing to hand back")
    older = tf.GraphDef()
    older.CopyFrom(graph_def)
    in_place = next(f.signature.name for f in older.library.function if f.signature.name.startswith("blade_graph_"))
    for node in older.node:
        node.attr.pop("fallback_counts", None)
        if node.name.startswith("blade/region_"):
            node.attr["else_branch"].func.name = in_place
    before = runtime.counters()["fallback_runs"]
    with tf.Graph().as_default(), tf.Session() as session, spec:
        tf.import_graph_def(older, name="")
        for batch in (5, 6):
            got = session.run("probabilities:0", tiny_models.image(batch))
    want = tiny_models.run(tiny_models.conv_net(), tiny_models.image(6), "probabilities:0")
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    assert runtime.counters()["fallback_runs"] == before + 2
    said = [line for line in capfd.readouterr().err.splitlines() if "the original graph runs" in line]
    assert len(said) == 1 and "optimize the model again" in said[0], said
    with pytest.raises(blade.BladeError, match="optimize the original model again"):
        blade.Engine(tiny_models.write(older, tmp_path / "older.pb"))


def test_original_runs_inside_functions(dynamic, capfd):
    graph_def, spec, _ = dynamic
    if not engine_ops(graph_def):
        pytest.skip("the engine was rolled back on this machine: nothing to hand back")
    feed = tiny_models.image(5)

    def imported(x):
        return tf.import_graph_def(graph_def, {"x:0": x}, ["probabilities:0"], name="")

    with spec:
        call = tf.wrap_function(imported, [tf2.TensorSpec([None, 32, 32, 3], tf.float32)])
        got = call(tf2.constant(feed["x:0"]))[0].numpy()
    want = tiny_models.run(tiny_models.conv_net(), feed, "probabilities:0")
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    assert "in a session of its own" in capfd.readouterr().err


@pytest.mark.parametrize("batch,in_engine", [(1, True), (3, True), (4, True), (5, False)])
def test_profile_decides_who_runs(dynamic, batch, in_engine):
    graph_def, spec, _ = dynamic
    if not engine_ops(graph_def):
        pytest.skip("the engine was rolled back on this machine: nothing to dispatch")
    feed = tiny_models.image(batch)
    before = runtime.counters()
    got = run_optimized(graph_def, spec, feed, "probabilities:0")
    after = runtime.counters()
    np.testing.assert_allclose(got, tiny_models.run(tiny_models.conv_net(), feed, "probabilities:0"), rtol=1e-4, atol=1e-6)
    assert after["engine_runs"] - before["engine_runs"] == (1 if in_engine else 0)
    assert after["fallback_runs"] - before["fallback_runs"] == (0 if in_engine else 1)
