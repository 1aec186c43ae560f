"""Placeholders that say whether a model is being trained, and the dropout behind them: random ops stay in TensorFlow."""
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tiny_models

import blade
import blade.runtime.tensorflow as runtime

X = np.random.default_rng(4).uniform(0, 1, (2, 16)).astype(np.float32)


@pytest.fixture(params=["switch and merge", "functional"])
def conditionals(request):
    (tf.disable_control_flow_v2 if request.param == "switch and merge" else tf.enable_control_flow_v2)()
    yield
    tf.enable_control_flow_v2()


def dropout_net(switch):
    """'x' [?, 16] -> 'y', with dropout where the tensor is true that `switch` makes."""
    with tf.Graph().as_default() as graph:
        y = tf.placeholder(tf.float32, [None, 16], name="x")
        training = switch()
        tf.placeholder(tf.int64, [None], name="labels")
        for width in (64, 64, 16):
            weight = np.random.default_rng(width).normal(0, 0.2, (y.shape[1], width)).astype(np.float32)
            y = tf.nn.relu(tf.matmul(y, tf.constant(weight)))
            y = tf.cond(training, lambda value=y: tf.nn.dropout(value, rate=0.5), lambda value=y: tf.identity(value))
        tf.identity(y, name="y")
        return graph.as_graph_def()


def flipped_dropout_net():
    """'x' [?, 16] -> 'y': 'training' needs TensorFlow, and Blade has both parts of 'flip'."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        training = plain()
        flip = tf.placeholder(tf.bool, [], name="flip")
        y = tf.cond(flip, lambda: tf.reverse(x, [1]), lambda: tf.identity(x))
        for width in (256, 256, 16):
            weight = np.random.default_rng(width).normal(0, 0.2, (y.shape[1], width)).astype(np.float32)
            y = tf.nn.relu(tf.matmul(y, tf.constant(weight)))
        y = tf.cond(training, lambda: tf.nn.dropout(y, rate=0.5), lambda: tf.identity(y))
        tf.identity(y, name="y")
        return graph.as_graph_def()


def plain():
    return tf.placeholder(tf.bool, [], name="training")


def of_unknown_rank():
    return tf.placeholder(tf.bool, name="training")


def default(value):
    return lambda: tf.placeholder_with_default(value, [], name="training")


def optimize(model, feeds, **arguments):
    config = blade.Config()
    config.tuning.time_limit_s = 1
    config.tuning.disable_perf_check = True
    return blade.optimize(model, "o1", "cpu", config=config, outputs=["y"], test_data=feeds, **arguments)


def run(model, *feeds):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(model, name="")
        return [session.run("y:0", feed) for feed in feeds]


@pytest.mark.parametrize("switch", [plain, default(True), default(False)])
def test_the_engine_is_built_for_the_value_of_all_test_data(conditionals, switch, tmp_path):
    model = dropout_net(switch)
    feed = {"x:0": X, "training:0": np.bool_(False)}
    optimized, _, report = optimize(model, [feed])
    assert report.coverage["regions"] == 1 and not report.coverage["left_behind"]
    assert "'training' is False in all test data" in report.diagnosis["message"]
    want = tiny_models.run(model, feed, "y:0")
    before = runtime.counters()
    got, first, second = run(optimized, feed, {**feed, "training:0": True}, {**feed, "training:0": True})
    after = runtime.counters()
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert not np.array_equal(first, second), "dropout is random"
    assert after["engine_runs"] == before["engine_runs"] + 1 and after["fallback_runs"] == before["fallback_runs"] + 2
    engine = blade.Engine(tiny_models.write(optimized, tmp_path / "optimized.pb"), outputs=["y"])
    assert [info.name for info in engine.inputs] == report.interface["inputs"] == ["x"]
    for one in ({"x": X}, feed, {"x": X, "training": False}):
        np.testing.assert_allclose(engine.run(one)["y"], want, rtol=1e-5)
    with pytest.raises(ValueError, match="'training' another value than its default, which is built in; expected False"):
        engine.run({**feed, "training:0": True})


def test_a_switch_of_unknown_rank_may_be_either(conditionals):
    model = dropout_net(of_unknown_rank)
    feed = {"x:0": X, "training:0": np.bool_(False)}
    optimized, _, _ = optimize(model, [feed])
    got, first, second = run(optimized, feed, {**feed, "training:0": True}, {**feed, "training:0": True})
    np.testing.assert_allclose(got, tiny_models.run(model, feed, "y:0"), rtol=1e-5)
    assert not np.array_equal(first, second), "dropout is random"


def test_a_switch_goes_by_its_key_in_a_signature(tmp_path):
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(dropout_net(plain), name="")
        keys = {"image": graph.get_tensor_by_name("x:0"), "is_training": graph.get_tensor_by_name("training:0")}
        tf.saved_model.simple_save(session, str(tmp_path / "model"), keys, {"y": graph.get_tensor_by_name("y:0")})
    feed = {"image": X, "is_training": np.bool_(False)}
    config = blade.Config()
    config.tuning.time_limit_s = 1
    config.tuning.disable_perf_check = True
    path, _, report = blade.optimize(str(tmp_path / "model"), "o1", "cpu", config=config, test_data=[feed])
    assert report.interface["inputs"] == ["x"]
    engine = blade.Engine(path)
    assert [info.name for info in engine.inputs] == ["x"]
    want = tiny_models.run(dropout_net(plain), {"x:0": X, "training:0": False}, "y:0")
    for one in (feed, {"image": X}, {"x": X, "training:0": False}):
        np.testing.assert_allclose(list(engine.run(one).values())[0], want, rtol=1e-5)
    with pytest.raises(ValueError, match="another value than its default"):
        engine.run({**feed, "is_training": True})


def test_where_the_original_is_given_back_a_switch_is_an_input():
    config = blade.Config()
    config.tuning.time_limit_s = 1
    config.accuracy.rtol = config.accuracy.atol = 0
    feed = {"x:0": X, "training:0": np.bool_(False)}
    _, _, report = blade.optimize(dropout_net(plain), "o1", "cpu", config=config, outputs=["y"], test_data=[feed])
    assert "the original graph is given back" in report.diagnosis["message"]
    assert report.interface["inputs"] == ["x", "training"]


def dropout_mask(y, keep):
    return tf.nn.dropout(y, keep_prob=keep)


def dropout_cast_mask(y, keep):
    """As TensorFlow 1.13 to 2.4 wrote it."""
    mask = tf.cast(tf.random.uniform(tf.shape(y)) >= 1.0 - keep, tf.float32)
    return y * (1.0 / keep) * mask


def dropout_floor_mask(y, keep):
    """As TensorFlow up to 1.12 wrote it."""
    random = tf.random.uniform(tf.shape(y)) * tf.subtract(1.0, 0.0) + 0.0
    return tf.div(y, keep) * tf.floor(keep + random)


def keep_net(dropout, keep):
    """'x' [?, 16] -> 'y' with dropouts that no conditional switches off; `keep` makes what each of their numbers is kept with."""
    with tf.Graph().as_default() as graph:
        y = tf.placeholder(tf.float32, [None, 16], name="x")
        kept = keep()
        for width in (64, 64, 16):
            weight = np.random.default_rng(width).normal(0, 0.2, (y.shape[1], width)).astype(np.float32)
            y = dropout(tf.nn.relu(tf.matmul(y, tf.constant(weight))), kept)
        tf.identity(y, name="y")
        return graph.as_graph_def()


KEEPS = {
    "fed": lambda: tf.placeholder(tf.float32, [], name="keep"),
    "default": lambda: tf.placeholder_with_default(1.0, [], name="keep"),
    "constant": lambda: tf.identity(tf.constant(1.0), name="keep"),
}


@pytest.mark.parametrize("dropout", [dropout_mask, dropout_cast_mask, dropout_floor_mask])
@pytest.mark.parametrize("keep", KEEPS)
def test_a_dropout_that_keeps_all_needs_no_random_numbers(dropout, keep, tmp_path):
    model = keep_net(dropout, KEEPS[keep])
    feed = {"x:0": X, **({"keep:0": np.float32(1)} if keep == "fed" else {})}
    optimized, _, report = optimize(model, [feed])
    assert report.coverage["regions"] == 1 and not report.coverage["left_behind"]
    assert ("'keep' is 1 in all test data" in report.diagnosis["message"]) == (keep == "fed")
    beside = {node.op for node in optimized.node if not node.name.startswith("blade/")}
    assert beside <= {"Placeholder", "PlaceholderWithDefault", "Const", "Identity"}, "what only the original needs"
    want = tiny_models.run(model, feed, "y:0")
    first, second = ({**feed, "keep:0": np.float32(0.5)} for _ in range(2))
    before = runtime.counters()
    got, first, second = run(optimized, feed, first, second) if keep != "constant" else (*run(optimized, feed), 0, 1)
    after = runtime.counters()
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert not np.array_equal(first, second), "dropout is random"
    assert after["engine_runs"] == before["engine_runs"] + 1
    engine = blade.Engine(tiny_models.write(optimized, tmp_path / "optimized.pb"), outputs=["y"])
    assert [info.name for info in engine.inputs] == ["x"]
    np.testing.assert_allclose(engine.run(feed)["y"], want, rtol=1e-5)


@pytest.mark.parametrize("keep", KEEPS)
def test_a_dropout_that_keeps_all_in_a_loop(conditionals, keep, tmp_path):
    """As tf.nn.rnn_cell.DropoutWrapper does."""
    rng = np.random.default_rng(6)
    weight = rng.normal(0, 0.2, (16, 16)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        kept = KEEPS[keep]()
        step = lambda t, y: (t + 1, tf.nn.dropout(tf.tanh(tf.matmul(y, tf.constant(weight)) + x), keep_prob=kept))
        tf.identity(tf.while_loop(lambda t, y: t < 5, step, (0, x), shape_invariants=(tf.TensorShape([]), x.shape))[1], name="y")
        model = graph.as_graph_def()
    feed = {"x:0": X, **({"keep:0": np.float32(1)} if keep == "fed" else {})}
    optimized, _, report = optimize(model, [feed])
    assert report.coverage["regions"] == 1 and not report.coverage["left_behind"]
    want = tiny_models.run(model, feed, "y:0")
    before = runtime.counters()
    np.testing.assert_allclose(run(optimized, feed)[0], want, rtol=1e-5)
    assert runtime.counters()["engine_runs"] == before["engine_runs"] + 1
    if keep != "constant":
        first, second = run(optimized, *[{**feed, "keep:0": np.float32(0.5)}] * 2)
        assert not np.array_equal(first, second), "dropout is random"
    engine = blade.Engine(tiny_models.write(optimized, tmp_path / "optimized.pb"), outputs=["y"])
    np.testing.assert_allclose(engine.run(feed)["y"], want, rtol=1e-5)


def test_numbers_that_nothing_hangs_on_are_inputs():
    names = [f"scale{i}" for i in range(5)]
    with tf.Graph().as_default() as graph:
        y = x = tf.placeholder(tf.float32, [None, 16], name="x")
        for i, name in enumerate(names):
            if i in (0, 3):
                y = dropout_mask(y, tf.placeholder(tf.float32, [], name=f"keep{i}"))
            weight = np.random.default_rng(i).normal(0, 0.2, (y.shape[1], 256 if i < 4 else 16)).astype(np.float32)
            y = tf.nn.relu(tf.matmul(y, tf.constant(weight))) * tf.placeholder(tf.float32, [], name=name)
        tf.identity(y, name="y")
        model = graph.as_graph_def()
    feed = {"x:0": X, "keep0:0": np.float32(1), "keep3:0": np.float32(1), **{f"{name}:0": np.float32(1) for name in names}}
    optimized, _, report = optimize(model, [feed])
    assert sorted(report.interface["inputs"]) == [*names, "x"] and report.coverage["regions"] == 1
    assert all(f"'keep{i}' is 1 in all test data" in report.diagnosis["message"] for i in (0, 3))
    scaled = {**feed, **{f"{name}:0": np.float32(i + 1) for i, name in enumerate(names)}}
    before = runtime.counters()["engine_runs"]
    np.testing.assert_allclose(run(optimized, scaled)[0], tiny_models.run(model, scaled, "y:0"), rtol=1e-4, atol=1e-3)
    assert runtime.counters()["engine_runs"] == before + 1


def test_random_numbers_that_two_regions_need_are_drawn_once():
    def layers(y):
        for width in (256, 256, 16):
            weight = np.random.default_rng(width).normal(0, 0.2, (y.shape[1], width)).astype(np.float32)
            y = tf.nn.relu(tf.matmul(y, tf.constant(weight)))
        return y + 1

    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        keep = tf.placeholder_with_default(1.0, [], name="keep")
        mask = tf.floor(keep + tf.random.uniform([1, 16]))
        first = tf.multiply(layers(x), mask, name="first")
        second = layers(tf.random_shuffle(first))  # shuffling stays in TensorFlow
        tf.identity(tf.concat([first, second * mask], 0), name="y")
        model = graph.as_graph_def()
    optimized, _, report = optimize(model, [{"x:0": X}])
    assert report.coverage["regions"] == 2
    for got in run(optimized, *[{"x:0": X, "keep:0": 0.5}] * 8):
        np.testing.assert_array_equal(got[:2].any(axis=0), got[2:].any(axis=0))
        assert not got[:2].any(axis=0).all()
    assert run(optimized, {"x:0": X})[0].all()


def test_random_numbers_that_others_need_beside_a_region_are_drawn_once():
    with tf.Graph().as_default() as graph:
        y = x = tf.placeholder(tf.float32, [None, 16], name="x")
        keep = tf.placeholder_with_default(1.0, [], name="keep")
        mask = tf.floor(keep + tf.random.uniform([1, 16]))
        for width in (256, 256, 16):
            weight = np.random.default_rng(width).normal(0, 0.2, (y.shape[1], width)).astype(np.float32)
            y = tf.nn.relu(tf.matmul(y, tf.constant(weight)))
        tf.concat([(y + 1) * mask, tf.random_shuffle(mask)], 0, name="y")  # shuffling stays in TensorFlow
        model = graph.as_graph_def()
    optimized, _, report = optimize(model, [{"x:0": X}])
    assert report.coverage["regions"] == 1
    for got in run(optimized, *[{"x:0": X, "keep:0": 0.5}] * 8):
        np.testing.assert_array_equal(got[0] != 0, got[2] != 0)
        assert not got[0].all()
    assert run(optimized, {"x:0": X})[0].all()


@pytest.mark.parametrize("waits", ["numbers", "shape"])
def test_a_region_waits_for_what_its_random_numbers_wait_for(waits):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        keep = tf.placeholder_with_default(1.0, [], name="keep")
        before = [tf.random_shuffle(x, name="before")]  # stays in TensorFlow
        with tf.control_dependencies(before if waits == "shape" else None):
            shape = tf.constant([1, 16], name="shape")
        with tf.control_dependencies(before if waits == "numbers" else None):
            random = tf.random.uniform(shape, name="random")
        y = tf.nn.relu(tf.matmul(x, tf.constant(np.random.default_rng(1).normal(0, 0.2, (16, 512)).astype(np.float32))))
        y = tf.matmul(y, tf.constant(np.random.default_rng(2).normal(0, 0.2, (512, 16)).astype(np.float32)))
        tf.multiply(y + 1, tf.floor(keep + random), name="y")
        model = graph.as_graph_def()
    assert any("^before" in node.input for node in model.node)
    optimized, _, report = optimize(model, [{"x:0": X}])
    assert report.coverage["regions"] == 1
    nodes = {node.name: node for node in optimized.node}
    assert nodes["before"].op == "RandomShuffle" and "^before" in nodes["blade/region_0"].input
    np.testing.assert_allclose(run(optimized, {"x:0": X})[0], tiny_models.run(model, {"x:0": X}, "y:0"), rtol=1e-5)


def test_a_region_does_not_wait_for_what_needs_it():
    """Numbers that are drawn once a random op has run that reads the region's own result."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        keep = tf.placeholder_with_default(1.0, [], name="keep")
        y = tf.nn.relu(tf.matmul(x, tf.constant(np.random.default_rng(1).normal(0, 0.2, (16, 512)).astype(np.float32))))
        y = tf.matmul(y, tf.constant(np.random.default_rng(2).normal(0, 0.2, (512, 16)).astype(np.float32)))
        with tf.control_dependencies([tf.random_shuffle(y, name="after")]):
            random = tf.random.uniform([1, 16])
        tf.multiply(y + 1, tf.floor(keep + random), name="y")
        model = graph.as_graph_def()
    optimized, _, report = optimize(model, [{"x:0": X}])
    assert report.coverage["regions"] == 1 and "given back" not in report.diagnosis["message"]
    assert "blade/region_0" in {node.name for node in optimized.node}
    assert not {"MatMul", "RandomShuffle"} & {node.op for node in optimized.node}, "they would run beside the engine"
    np.testing.assert_allclose(run(optimized, {"x:0": X})[0], tiny_models.run(model, {"x:0": X}, "y:0"), rtol=1e-5)


@pytest.mark.parametrize("mask", [
    lambda random, rows: tf.cast(random >= np.zeros((rows, 1), np.float32), tf.float32),
    lambda random, rows: tf.floor(np.ones((rows, 1), np.float32) + random),
    lambda random, rows: tf.floor(1.0 + random * np.ones((rows, 1), np.float32)),
    lambda random, rows: tf.floor(1.0 + (random + np.zeros((rows, 1), np.float32))),
])
def test_masks_are_as_large_as_what_is_compared(mask, tmp_path):
    """Only a scalar leaves the random numbers their shape."""
    for rows in (3, 1):
        with tf.Graph().as_default() as graph:
            x = tf.placeholder(tf.float32, [], name="x")
            tf.multiply(x, mask(tf.random.uniform([16]), rows), name="y")
            model = graph.as_graph_def()
        assert tiny_models.run(model, {"x:0": 2.0}, "y:0").shape == (rows, 16)
        path = tiny_models.write(model, tmp_path / f"{rows}.pb")
        try:
            got = blade.Engine(path, outputs=["y"]).run({"x": np.float32(2)})["y"]
        except blade.BladeError as error:
            assert "RandomUniform" in str(error)
        else:
            np.testing.assert_array_equal(got, np.full((rows, 16), 2, np.float32))


def test_a_dropout_that_keeps_all_in_a_saved_model(tmp_path):
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(keep_net(dropout_mask, KEEPS["fed"]), name="")
        keys = {"image": graph.get_tensor_by_name("x:0"), "rate": graph.get_tensor_by_name("keep:0")}
        tf.saved_model.simple_save(session, str(tmp_path / "model"), keys, {"y": graph.get_tensor_by_name("y:0")})
    feed = {"image": X, "rate": np.float32(1)}
    config = blade.Config()
    config.tuning.time_limit_s = 1
    config.tuning.disable_perf_check = True
    path, _, report = blade.optimize(str(tmp_path / "model"), "o1", "cpu", config=config, test_data=[feed])
    assert report.coverage["regions"] == 1 and not report.coverage["left_behind"]
    want = tiny_models.run(keep_net(dropout_mask, KEEPS["fed"]), {"x:0": X, "keep:0": 1.0}, "y:0")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.saved_model.load(session, ["serve"], path)
        np.testing.assert_allclose(session.run("y:0", {"x:0": X, "keep:0": 1.0}), want, rtol=1e-5)
        first, second = (session.run("y:0", {"x:0": X, "keep:0": 0.5}) for _ in range(2))
        assert not np.array_equal(first, second), "dropout is random"
    for one in (feed, {"image": X}):
        np.testing.assert_allclose(list(blade.Engine(path).run(one).values())[0], want, rtol=1e-5)


@pytest.mark.parametrize("dropout", [dropout_mask, dropout_cast_mask, dropout_floor_mask])
def test_a_dropout_that_drops_stays(dropout):
    model = keep_net(dropout, lambda: tf.constant(0.5))
    optimized, _, report = optimize(model, [{"x:0": X}])
    assert [one["op"] for one in report.coverage["left_behind"]].count("RandomUniform") == 3
    first, second = run(optimized, {"x:0": X}, {"x:0": X})
    assert not np.array_equal(first, second)


def test_a_switch_that_test_data_turns_is_an_input(conditionals):
    feeds = [{"x:0": X, "training:0": np.bool_(value)} for value in (False, True)]
    _, _, report = optimize(dropout_net(plain), feeds)
    assert report.interface["inputs"] == ["x", "training"]


def test_a_switch_of_parts_that_blade_has_is_an_input():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        y = tf.matmul(x, tf.constant(np.full((16, 64), 0.1, np.float32)))
        tf.cond(plain(), lambda: tf.nn.relu(y), lambda: tf.nn.tanh(y), name="y")
        model = graph.as_graph_def()
    output = next(node.name for node in reversed(model.node) if node.name.startswith("y"))
    _, _, report = blade.optimize(model, "o1", "cpu", outputs=[output], test_data=[{"x:0": X, "training:0": np.bool_(False)}])
    assert report.interface["inputs"] == ["x", "training"]


def test_only_a_switch_that_needs_tensorflow_is_built_in(conditionals):
    model = flipped_dropout_net()
    feed = {"x:0": X, "training:0": np.bool_(False), "flip:0": np.bool_(False)}
    optimized, _, report = optimize(model, [feed])
    assert report.interface["inputs"] == ["x", "flip"]
    assert "'training' is False in all test data" in report.diagnosis["message"]
    assert "'flip' is" not in report.diagnosis["message"]
    flipped = {**feed, "flip:0": np.bool_(True)}
    before = runtime.counters()
    got = run(optimized, feed, flipped)
    after = runtime.counters()
    for one, answer in zip((feed, flipped), got):
        np.testing.assert_allclose(answer, tiny_models.run(model, one, "y:0"), rtol=1e-5, atol=1e-6)
    assert after["engine_runs"] - before["engine_runs"] == 2 and after["fallback_runs"] == before["fallback_runs"]


def test_a_switch_that_the_user_lists_is_an_input(conditionals):
    feed = {"x:0": X, "training:0": np.bool_(False), "flip:0": np.bool_(False)}
    _, _, report = optimize(flipped_dropout_net(), [feed], inputs=["x", "training", "flip"])
    assert report.interface["inputs"] == ["x", "training", "flip"]
    assert "in all test data" not in report.diagnosis["message"]


@pytest.mark.parametrize("switch", [plain, default(True)])
def test_an_engine_refuses_random_numbers_when_a_run_needs_them(conditionals, switch, tmp_path):
    model = dropout_net(switch)
    engine = blade.Engine(tiny_models.write(model, tmp_path / "model.pb"), outputs=["y"])
    feed = {"x": X, "training": np.bool_(False)}
    np.testing.assert_allclose(engine.run(feed)["y"], tiny_models.run(model, {"x:0": X, "training:0": False}, "y:0"), rtol=1e-5)
    with pytest.raises(blade.BladeError, match="RandomUniform.* random numbers; run the graph in a TensorFlow session"):
        engine.run({**feed, "training": np.bool_(True)})
    np.testing.assert_allclose(engine.run(feed)["y"], tiny_models.run(model, {"x:0": X, "training:0": False}, "y:0"), rtol=1e-5)


def test_random_numbers_that_every_run_needs_are_refused_at_once(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        tf.add(x, tf.random.uniform([16]), name="y")
        model = graph.as_graph_def()
    with pytest.raises(blade.BladeError, match="1 node needs TensorFlow.*RandomUniform.* random numbers"):
        blade.Engine(tiny_models.write(model, tmp_path / "model.pb"), outputs=["y"])


def test_an_engine_takes_what_a_session_could_be_fed(conditionals, tmp_path):
    model = dropout_net(default(False))
    engine = blade.Engine(tiny_models.write(model, tmp_path / "model.pb"), outputs=["y"])
    assert [info.name for info in engine.inputs] == ["x"]
    want = engine.run({"x": X})["y"]
    for feed in ({"labels": np.zeros(2, np.int64)}, {"labels:0": "whatever"}, {"training:0": False}):
        for _ in range(2):
            np.testing.assert_array_equal(engine.run({"x": X, **feed})["y"], want)
    with pytest.raises(ValueError, match=r"'training' another value than its default, which is built in; expected False"):
        engine.run({"x": X, "training": True})
    with pytest.raises(ValueError, match="'label' is no input of the model; its inputs are 'x'"):
        engine.run({"x": X, "label": np.zeros(2, np.int64)})


def test_a_default_that_only_tensorflow_computes_is_an_input(tmp_path):
    with tf.Graph().as_default() as graph:
        handle = tf.placeholder(tf.string, [], name="handle")
        iterator = tf.data.Iterator.from_string_handle(handle, tf.float32, tf.TensorShape([None, 16]))
        x = tf.placeholder_with_default(iterator.get_next(), [None, 16], name="x")
        tf.matmul(x, tf.constant(np.full((16, 4), 0.1, np.float32)), name="y")
        model = graph.as_graph_def()
    engine = blade.Engine(tiny_models.write(model, tmp_path / "model.pb"), outputs=["y"])
    assert [info.name for info in engine.inputs] == ["x"]
    np.testing.assert_allclose(engine.run({"x": X})["y"], X @ np.full((16, 4), 0.1, np.float32), rtol=1e-5)


def test_a_default_behind_an_assertion_is_none(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        with tf.control_dependencies([tf.debugging.assert_all_finite(x, "x"), tf.debugging.Assert(tf.size(x) > 0, [x])]):
            checked = tf.identity(x)
        tf.placeholder_with_default(tf.nn.relu(checked), [None, 16], name="y")
        model = graph.as_graph_def()
    engine = blade.Engine(tiny_models.write(model, tmp_path / "model.pb"), outputs=["y"])
    assert [info.name for info in engine.inputs] == ["x"]
    np.testing.assert_array_equal(engine.run({"x": X})["y"], np.maximum(X, 0))


def test_only_the_default_that_needs_tensorflow_is_an_input(conditionals, tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        doubled = tf.placeholder_with_default(True, [], name="doubled")
        training = tf.placeholder_with_default(True, [], name="training")
        checked = tf.placeholder_with_default(False, [], name="checked")
        scale = tf.placeholder_with_default(tf.reduce_sum(x) + 1.0, [], name="scale")
        y = tf.cond(doubled, lambda: x * 2.0, lambda: tf.identity(x))
        y = tf.cond(checked, lambda: tf.ensure_shape(tf.py_func(np.sort, [y], tf.float32), [None, 16]), lambda: tf.identity(y))
        y = tf.cond(training, lambda: tf.nn.dropout(y, rate=0.5), lambda: tf.identity(y))
        tf.multiply(y, scale, name="y")
        model = graph.as_graph_def()
    engine = blade.Engine(tiny_models.write(model, tmp_path / "model.pb"), outputs=["y"])
    assert [info.name for info in engine.inputs] == ["x", "training"]
    want = X * 2 * (X.sum() + 1)
    np.testing.assert_allclose(engine.run({"x": X, "training": np.bool_(False), "doubled": True})["y"], want, rtol=1e-5)


@pytest.mark.parametrize("foreign", [[2], [0, 4], list(range(5))])
def test_of_many_defaults_those_that_need_tensorflow_are_inputs(foreign, tmp_path):
    """Each reads the one before it, so that those behind one that is fed need not be."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        y, last = x, tf.constant(1.0)
        for i in range(5):
            default = tf.reduce_mean(x) + last
            if i in foreign:
                default = tf.ensure_shape(tf.py_func(np.copy, [default], tf.float32), [])
            last = tf.placeholder_with_default(default, [], name=f"d{i}")
            y = y * last
        tf.identity(y, name="y")
        model = graph.as_graph_def()
    engine = blade.Engine(tiny_models.write(model, tmp_path / "model.pb"), outputs=["y"])
    assert [info.name for info in engine.inputs] == ["x", *(f"d{i}" for i in foreign)]
    want, last = X, 1
    for i in range(5):
        last = 2 + i if i in foreign else X.mean() + last
        want = want * last
    np.testing.assert_allclose(engine.run({"x": X, **{f"d{i}": np.float32(2 + i) for i in foreign}})["y"], want, rtol=1e-4)


def test_a_default_that_constants_make_may_be_fed(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        three = tf.placeholder_with_default(tf.constant(1.0) + tf.constant(2.0), [], name="three")
        total = tf.placeholder_with_default(tf.reduce_sum(x), [], name="total")
        tf.add(x * three, total, name="y")
        model = graph.as_graph_def()
    engine = blade.Engine(tiny_models.write(model, tmp_path / "model.pb"), outputs=["y"])
    assert [info.name for info in engine.inputs] == ["x"]
    for feed in ({"x": X}, {"x": X, "three": np.float32(3)}):
        np.testing.assert_allclose(engine.run(feed)["y"], X * 3 + X.sum(), rtol=1e-5)
    with pytest.raises(ValueError, match=r"'three' another value than its default, which is built in; expected 3 "):
        engine.run({"x": X, "three": np.float32(2)})
    with pytest.raises(ValueError, match="'total' is no input of the model; its inputs are 'x'"):
        engine.run({"x": X, "total": np.float32(0)})


def adder(dtype, default):
    """'x' [2] + a placeholder 'd' with a default -> 'y' float32."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [2], name="x")
        d = tf.placeholder_with_default(tf.constant(default, dtype), np.shape(default), name="d")
        tf.add(x, tf.reduce_sum(tf.cast(d, tf.float32)), name="y")
        return graph.as_graph_def()


NAN = float("nan")


@pytest.mark.parametrize("dtype,default,same,others,said", [
    (tf.int32, 3, [3, 3.0, np.int64(3)], [4, 3.5, [3], NAN], r"3 \(int32 \[\]\)"),
    (tf.float32, [NAN, 1], [[NAN, 1], np.array([-NAN, 1.0])], [[NAN, NAN], [NAN, 2]], r"\[nan, 1\] \(float32 \[2\]\)"),
    (tf.float64, 0.1, [0.1], [0.2], r"0\.1 \(float64 \[\]\)"),
    (tf.float16, [0.0, 2], [[0, 2], [-0.0, 2]], [[0, 1]], r"\[0, 2\] \(float16 \[2\]\)"),
    (tf.float32, np.arange(3000.0).reshape(1000, 3), [np.arange(3000).reshape(1000, 3)], [1],
     r"\[0, 1, 2, 3, 4, 5, 6, 7, \.\.\.\] \(float32 \[1000, 3\]\)"),
])
def test_a_built_in_default_may_be_fed_and_no_other_value(dtype, default, same, others, said, tmp_path):
    engine = blade.Engine(tiny_models.write(adder(dtype, default), tmp_path / "model.pb"), outputs=["y"])
    x = np.zeros(2, np.float32)
    for value in same:
        engine.run({"x": x, "d": value})
    for value in others:
        with pytest.raises(ValueError, match=f"the placeholder 'd' .*its default, which is built in; expected {said}, or no value") as error:
            engine.run({"x": x, "d": np.asarray(value)})
        assert len(str(error.value)) < 400


def test_a_bfloat16_default_without_ml_dtypes(tmp_path):
    path = tiny_models.write(adder(tf.bfloat16, 3), tmp_path / "model.pb")
    code = f"""
import sys, numpy, blade
engine = blade.Engine({str(path)!r}, outputs=["y"])
print(engine.run({{"x": numpy.ones(2, numpy.float32)}})["y"])
engine.run({{"x": numpy.ones(2, numpy.float32), "d": numpy.float32(3)}})
try:
    engine.run({{"x": numpy.ones(2, numpy.float32), "d": numpy.float32(4)}})
except ValueError as error:
    print(error)
assert "ml_dtypes" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[4. 4.]") and "expected 3 (bfloat16 [])" in done.stdout
    engine = blade.Engine(path, outputs=["y"])  # TensorFlow has brought ml_dtypes here
    engine.run({"x": np.ones(2, np.float32), "d": np.asarray(3, tf.bfloat16.as_numpy_dtype)})
