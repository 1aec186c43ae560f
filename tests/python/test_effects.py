"""What only control edges ask for inside the loops and branches of TensorFlow 1."""
import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from optimizing import optimize, run_optimized, unmeasured_config

RNG = np.random.default_rng(5)
WEIGHTS = RNG.normal(0, 0.2, (64, 64)).astype(np.float32)
FEED = {"x:0": RNG.standard_normal((4, 64)).astype(np.float32)}


@pytest.fixture(autouse=True)
def frames_and_switches():
    tf.disable_control_flow_v2()
    yield
    tf.enable_control_flow_v2()


def network(body):
    """A graph whose output 'y' stands behind body(x, flag)."""
    with tf.Graph().as_default() as graph:
        x, flag = tf.placeholder(tf.float32, [None, 64], name="x"), tf.placeholder(tf.bool, [], name="flag")
        tf.nn.relu(tf.matmul(body(tf.nn.relu(tf.matmul(x, WEIGHTS)), flag), WEIGHTS), name="y")
    return graph.as_graph_def()


def in_loop(x, _, effect):
    def body(i, y):
        with tf.control_dependencies([effect(y)]):
            return i + 1, tf.tanh(tf.identity(y)) + 0.5
    return tf.while_loop(lambda i, _: i < 2, body, (0, x))[1]


def in_branch(x, flag, effect):
    def taken():
        with tf.control_dependencies([effect(x)]):
            return tf.tanh(tf.identity(x))
    return tf.cond(flag, taken, lambda: x * 0.5)


def in_loop_in_branch(x, flag, effect):
    return tf.cond(flag, lambda: in_loop(tf.identity(x), flag, effect), lambda: x * 0.5)


AROUND = [in_loop, in_branch, in_loop_in_branch]


def feed_of(graph, flag=True):
    needs_flag = any(node.op == "Switch" and node.input[1].startswith("cond") for node in graph.node)
    return {**FEED, "flag:0": np.bool_(flag)} if needs_flag else FEED


def check(graph, optimized, spec, feed):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph, name="")
        want = session.run("y:0", feed)
    np.testing.assert_allclose(run_optimized(optimized, spec, feed, "y:0"), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("behind", ["write", "group", "assertion"])
def test_a_file_is_still_written(around, behind, tmp_path):
    path = tmp_path / "written"

    def effect(y):
        write = tf.io.write_file(str(path), tf.strings.as_string(tf.reduce_sum(y)), name="write")
        if behind == "group":
            return tf.group(write, tf.no_op())
        if behind == "assertion":
            with tf.control_dependencies([write]):
                return tf.Assert(tf.reduce_all(y > -1e9), [y])
        return write

    graph = network(lambda x, flag: around(x, flag, effect))
    feeds = [feed_of(graph), feed_of(graph, False)]
    optimized, spec, report = optimize(graph, unmeasured_config(), outputs=["y"], test_data=feeds)
    reasons = {entry["reason"] for entry in report.coverage["left_behind"]}
    assert any("(WriteFile) inside it, which only control edges ask for, stays in TensorFlow" in reason for reason in reasons), reasons
    path.unlink(missing_ok=True)
    check(graph, optimized, spec, feeds[0])
    assert path.exists()
    path.unlink()
    run_optimized(optimized, spec, feeds[0], "y:0")
    assert path.exists()


@pytest.mark.parametrize("around", AROUND)
def test_prints_are_left_out_and_named(around):
    graph = network(lambda x, flag: around(x, flag, lambda y: tf2.print("sum", tf.reduce_sum(y))))
    optimized, spec, report = optimize(graph, unmeasured_config(), outputs=["y"], test_data=[feed_of(graph), feed_of(graph, False)])
    assert report.coverage["left_behind"] == []
    assert "(PrintV2) prints no more: '" in str(report)
    check(graph, optimized, spec, feed_of(graph))


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("kind", ["assert", "guarded", "numerics", "random", "nothing"])
def test_what_only_checks_keeps_nothing_out_of_the_engine(around, kind):
    effect = {
        "assert": lambda y: tf.Assert(tf.reduce_all(y > -1e9), [y]),
        "guarded": lambda y: tf.debugging.assert_greater(y, -1e9),
        "numerics": lambda y: tf.check_numerics(y, "not finite"),
        "random": lambda y: tf.random_uniform([2]),
        "nothing": lambda y: tf.group(tf.no_op(), y),
    }[kind]
    graph = network(lambda x, flag: around(x, flag, effect))
    optimized, spec, report = optimize(graph, unmeasured_config(), outputs=["y"], test_data=[feed_of(graph), feed_of(graph, False)])
    assert report.coverage["left_behind"] == [] and "prints no more" not in str(report)
    check(graph, optimized, spec, feed_of(graph))


@pytest.mark.parametrize("switch", ["constant", "default", "fed"])
def test_what_training_alone_does_costs_no_speed(switch, tmp_path):
    """As the updates of moving averages in a branch that inference does not take."""
    path = tmp_path / "written"

    def body(x, flag):
        given = {"constant": tf.constant(False), "default": tf.placeholder_with_default(False, [], name="training"), "fed": flag}
        return in_branch(x, given[switch], lambda y: tf.io.write_file(str(path), "updated"))

    graph = network(body)
    feed = {**FEED, "flag:0": np.bool_(False)} if switch == "fed" else FEED
    optimized, spec, report = optimize(graph, unmeasured_config(), outputs=["y"], test_data=[feed])
    assert report.coverage["regions"] == 1 and report.coverage["left_behind"] == []
    check(graph, optimized, spec, feed)
    assert not path.exists()
    if switch != "constant":
        training = {**FEED, ("flag:0" if switch == "fed" else "training:0"): np.bool_(True)}
        check(graph, optimized, spec, training)
        assert path.exists()
