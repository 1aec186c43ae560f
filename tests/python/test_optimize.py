"""blade.optimize on small graphs: what comes out, rollback, the report."""
import copy
import json
import os
import pickle
import re

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
import tiny_models
from optimizing import engine_ops, fast_config, optimize, run_optimized, unmeasured_config

import blade
import blade.runtime.tensorflow as runtime


def test_report_has_the_contracts_fields(dynamic):
    report = dynamic[2].to_dict()
    assert report == json.loads(str(dynamic[2]))
    assert {"software_context", "hardware_context", "user_config", "diagnosis", "optimizations", "overall", "model_info",
            "compatibility_list", "model_sdk"} <= set(report)
    assert report["diagnosis"]["test_data_source"] == "user provided"
    assert report["diagnosis"]["shape_variation"] == "dynamic"
    assert report["diagnosis"]["test_data_info"] == "x:0 shape: (1, 32, 32, 3) data type: float32"
    assert report["software_context"][0] == {"software": "tensorflow", "version": tf.__version__}
    names = [step["name"] for step in report["optimizations"]]
    assert {"BladeCpuEngine", "TfStripUnusedNodes", "TfStripDebugOps", "TfFoldConstants"} <= set(names)
    for step in report["optimizations"]:
        assert step["status"] in ("effective", "passed", "failed", "rolled back")
    assert report["overall"]["baseline"].endswith(" ms")


def test_reports_and_specs_are_copied_and_pickled(dynamic):
    for whole in dynamic[1:]:
        for copied in (copy.copy(whole), copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
            assert str(copied) == str(whole) or repr(copied) == repr(whole)
    assert not hasattr(dynamic[2], "nothing_like_it") and "overall" in dir(dynamic[2])
    dynamic[2].to_dict().clear()
    assert dynamic[2].overall


def test_profile_tells_what_is_in_the_engine(dynamic, tmp_path):
    graph_def, _, report = dynamic
    if not engine_ops(graph_def):
        pytest.skip("the engine was rolled back on this machine: nothing to look into")
    decisions = blade.Engine(tiny_models.write(graph_def, tmp_path / "net.pb")).explain()["decisions"]
    for field in ("blade_version", "tuned_on", "precision", "device"):
        assert report.profile[field] == decisions[field] != ""


def test_settings_without_effect_are_said():
    config = fast_config()
    config.quantization.enable = True
    config.gpu_config.disable_fp16_perf_check = True
    feed = tiny_models.image()
    _, _, report = optimize(tiny_models.conv_net(), config, test_data=[feed], calib_data=[feed], input_shapes=[["1*8*8*3"]])
    for words in ("config.quantization.enable has no effect: int8 is not available yet", "calib_data has no effect",
                  "disable_fp16_perf_check has no effect on device_type 'cpu'", "input_shapes has no effect: test_data is given"):
        assert words in report.diagnosis["message"]


@pytest.mark.parametrize("feed", [{"x:0": np.full((1, 32, 32, 3), np.nan, np.float32)}])
def test_data_that_proves_nothing_is_said(feed):
    _, _, report = optimize(tiny_models.conv_net(), test_data=[feed])
    assert "proves nothing about the answers: output 'probabilities:0' has no finite element" in report.diagnosis["message"]


def test_verbose_logs_the_steps(capfd):
    optimize(tiny_models.conv_net(), test_data=[tiny_models.image()], verbose=True)
    told = capfd.readouterr().err
    assert "TfFoldConstants: " in told and "BladeCpuEngine: " in told
    optimize(tiny_models.conv_net(), test_data=[tiny_models.image()])
    assert "TfFoldConstants: " not in capfd.readouterr().err


def test_rolled_back_steps_say_why():
    config = fast_config()
    config.tuning.time_limit_s = 0.001  # passes are kept unmeasured, which they would say
    config.accuracy.rtol = config.accuracy.atol = 1e-12
    model, _, report = optimize(tiny_models.conv_net(), config, test_data=[tiny_models.image()])
    assert model == tiny_models.conv_net()
    engine, *steps = [step for step in report.to_dict()["optimizations"] if step["status"] == "rolled back"]
    assert engine["name"] == "BladeCpuEngine" and "the answers do not hold" in engine["message"]
    assert steps and {step["message"] for step in steps} == {"the original graph is given back"}


def test_html_report(dynamic, tmp_path):
    dynamic[2].save_html(tmp_path / "report.html")
    assert "BladeCpuEngine" in (tmp_path / "report.html").read_text()
    with pytest.raises(FileNotFoundError, match=f"'{tmp_path}/none/report.html'"):
        dynamic[2].save_html(tmp_path / "none" / "report.html")


def test_same_file_without_tensorflow(dynamic, tmp_path):
    path = tiny_models.write(dynamic[0], tmp_path / "optimized.pb")
    engine = blade.Engine(path)
    feed = tiny_models.image(2)
    want = tiny_models.run(tiny_models.conv_net(), feed, "probabilities:0")
    np.testing.assert_allclose(engine.run(feed)["probabilities"], want, rtol=1e-4, atol=1e-6)


def test_unknown_op_stays_and_is_named():
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(tiny_models.conv_net(), name="")
        probabilities = graph.get_tensor_by_name("probabilities:0")
        decoded = tf.strings.to_number(tf.strings.as_string(probabilities), name="through_text")
        tf.nn.softmax(decoded * 2.0, name="sharper")
        graph_def = graph.as_graph_def()
    feed = tiny_models.image(2, 64, 64)
    optimized, spec, report = optimize(graph_def, outputs=["sharper"], test_data=[feed])
    left = {entry["op"]: entry["reason"] for entry in report.coverage["left_behind"]}
    assert "AsString" in left and "StringToNumber" in left and all(left.values())
    want = tiny_models.run(graph_def, feed, "sharper:0")
    np.testing.assert_allclose(run_optimized(optimized, spec, feed, "sharper:0"), want, rtol=1e-4, atol=1e-6)


def test_path_in_path_out(tmp_path):
    path = tiny_models.write(tiny_models.conv_net(), tmp_path / "net.pb")
    target, _, report = blade.optimize(path, "O1", "CPU", config=fast_config(), test_data=[tiny_models.image()])
    assert target == str(tmp_path / "net.blade.pb") and os.path.exists(target)
    assert report.model_info == {"input_format": "frozen_pb"}


def test_a_model_of_blades_own_is_said(dynamic):
    if not engine_ops(dynamic[0]):
        pytest.skip("the engine was rolled back on this machine")
    _, _, report = optimize(dynamic[0], unmeasured_config(), test_data=[tiny_models.image()])
    assert "Blade made this model: the baseline is that" in report.diagnosis["message"]


def test_generated_data_from_shapes_and_ranges():
    _, _, report = optimize(tiny_models.conv_net(), input_shapes=[["2*32*32*3"]], input_ranges=[["[0,1]"]])
    assert report.diagnosis["test_data_source"] == "generated"
    assert "(2, 32, 32, 3)" in report.diagnosis["test_data_info"]


def test_measured_choices_are_stored_and_remembered(tmp_path):
    config = fast_config()
    config.tuning.cache_dir = str(tmp_path / "cache")
    config.cpu_config.num_threads = 1  # tests run beside others: more threads would find the machine busy
    found = []
    for run in range(2):
        graph_def, _, report = optimize(tiny_models.conv_net(), config, outputs=["probabilities"],
                                        test_data=[tiny_models.image()])
        step = next(s for s in report.optimizations if s["name"] == "BladeTuneKernels")
        if "other processes" in step.get("message", ""):
            pytest.skip("the machine is busy: nothing is measured")
        if not (tmp_path / "cache" / "kernel_choices.json").exists():
            pytest.skip("the machine is busy: what was measured is not trusted")
        assert ("known from earlier runs" in step.get("message", "")) == (run == 1)
        if engine_ops(graph_def):
            path = tiny_models.write(graph_def, tmp_path / "optimized.pb")
            engine = blade.Engine(path, num_threads=1)
            decisions = engine.explain(tiny_models.image())["decisions"]
            assert engine.explain()["machine"].endswith("1 thread")
            assert len(decisions["kernels"]) == step.get("changes", 0)
            assert len(decisions.get("kernel_figures", [])) == len(decisions["kernels"])
            found.append(decisions["kernels"])
            tuned = [s for s in engine.profile(tiny_models.image()) if "static_choice" in s]
            assert all(s["tuned_gain"] > 1 for s in tuned) and bool(tuned) == bool(decisions["kernels"])
    assert all(found[0].items() <= kernels.items() for kernels in found)


def scaled_net():
    """A GraphDef: 'x' [?,16] and 'scale', whose default is 1 -> 'y' and 'twice' (twice the scale)."""
    random = np.random.default_rng(3)
    with tf.Graph().as_default() as graph:
        y = tf.placeholder(tf.float32, [None, 16], name="x")
        scale = tf.placeholder_with_default(tf.constant(1.0), [], name="scale")
        for width in (64, 64, 16):
            y = tf.nn.relu(tf.matmul(y, tf.constant(random.normal(0, 0.3, (y.shape[1], width)).astype(np.float32))))
        tf.multiply(y, scale, name="y")
        tf.multiply(scale, 2.0, name="twice")
        return graph.as_graph_def()


def test_a_default_may_be_fed():
    x = np.random.default_rng(4).uniform(0, 1, (2, 16)).astype(np.float32)
    optimized, spec, report = optimize(scaled_net(), unmeasured_config(), outputs=["y", "twice"], test_data=[{"x:0": x}])
    assert report.interface["inputs"] == ["x"] and engine_ops(optimized)
    for feed in ({"x:0": x}, {"x:0": x, "scale:0": 3.0}):
        got = run_optimized(optimized, spec, feed, ["y:0", "twice:0"])
        for output, expected in zip(got, tiny_models.run(scaled_net(), feed, ["y:0", "twice:0"])):
            np.testing.assert_allclose(output, expected, rtol=1e-5)


def test_a_computed_default_may_be_fed(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        y = tf.placeholder_with_default(tf.nn.relu(x * 3.0 - 1.0), [None, 16], name="middle")
        for width in (64, 64, 16):
            y = tf.nn.relu(tf.matmul(y, tf.constant(np.full((y.shape[1], width), 0.1, np.float32))))
        tf.identity(y, name="y")
        model = graph.as_graph_def()
    x = np.random.default_rng(4).uniform(0, 1, (2, 16)).astype(np.float32)
    optimized, spec, report = optimize(model, unmeasured_config(), outputs=["y"], test_data=[{"x:0": x}])
    assert [left["op"] for left in report.coverage["left_behind"] if left["op"] == "PlaceholderWithDefault"]
    for feed in ({"x:0": x}, {"x:0": x, "middle:0": x}):
        np.testing.assert_allclose(run_optimized(optimized, spec, feed, "y:0"), tiny_models.run(model, feed, "y:0"), rtol=1e-5)
    engine = blade.Engine(tiny_models.write(model, tmp_path / "model.pb"), outputs=["y"])
    np.testing.assert_allclose(engine.run({"x": x})["y"], tiny_models.run(model, {"x:0": x}, "y:0"), rtol=1e-5)


def test_a_default_with_test_data_is_an_input():
    x = np.ones((2, 16), np.float32)
    feed = {"x:0": x, "scale:0": np.float32(1)}
    optimized, spec, report = optimize(scaled_net(), unmeasured_config(), outputs=["y"], test_data=[feed])
    assert report.interface["inputs"] == ["x", "scale"]
    before = runtime.counters()
    got = run_optimized(optimized, spec, {"x:0": x, "scale:0": 3.0}, "y:0")
    assert runtime.counters()["engine_runs"] == before["engine_runs"] + 1
    np.testing.assert_allclose(got, tiny_models.run(scaled_net(), {"x:0": x, "scale:0": 3.0}, "y:0"), rtol=1e-5)


def test_two_models_in_one_graph():
    x = np.ones((2, 16), np.float32)
    first, _, _ = optimize(scaled_net(), unmeasured_config(), outputs=["y"], test_data=[{"x:0": x}])
    second, _, _ = optimize(tiny_models.conv_net(), unmeasured_config(), test_data=[tiny_models.image()])
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(first, name="a")
        tf.import_graph_def(second, name="b")
        got = session.run(["a/y:0", "b/probabilities:0"], {"a/x:0": x, "b/x:0": tiny_models.image()["x:0"]})
    np.testing.assert_allclose(got[0], tiny_models.run(scaled_net(), {"x:0": x}, "y:0"), rtol=1e-5)
    np.testing.assert_allclose(got[1], tiny_models.run(tiny_models.conv_net(), tiny_models.image(), "probabilities:0"), rtol=1e-4)


def test_the_number_of_threads_is_kept(tmp_path):
    config = unmeasured_config()
    config.cpu_config.num_threads = 1
    optimized, _, _ = optimize(tiny_models.conv_net(), config, test_data=[tiny_models.image()])
    path = tiny_models.write(optimized, tmp_path / "one_thread.pb")
    assert blade.Engine(path).explain()["threads"] == 1


def test_data_outside_the_profile_is_left_out_and_said():
    config = unmeasured_config()
    config.dynamic_tuning_shapes = {"min": [1, 32, 32, 3], "opts": [[2, 32, 32, 3]], "max": [4, 32, 32, 3]}
    optimized, _, report = optimize(tiny_models.conv_net(), config, test_data=[tiny_models.image(8)])
    assert engine_ops(optimized)
    assert "(8, 32, 32, 3) lies outside min..max" in report.diagnosis["message"]


def test_an_optimized_graph_that_tensorflow_saved_as_a_function(tmp_path):
    feed = tiny_models.image()
    optimized, _, _ = optimize(tiny_models.conv_net(), unmeasured_config(), test_data=[feed])
    function = tf.wrap_function(lambda: tf.import_graph_def(optimized, name=""), []).prune("x:0", "probabilities:0")
    module = tf2.Module()
    module.function = function
    serve = tf2.function(lambda x: {"y": function(x)}, input_signature=[tf2.TensorSpec([None, 32, 32, 3])])
    tf2.saved_model.save(module, str(tmp_path / "model"), signatures=serve)
    expected = tiny_models.run(tiny_models.conv_net(), feed, "probabilities:0")
    got = blade.Engine(tmp_path / "model").run({"serving_default_x": feed["x:0"]})
    np.testing.assert_allclose(list(got.values())[0], expected, rtol=1e-4)
    target, _, report = optimize(str(tmp_path / "model"), unmeasured_config(), test_data=[{"x": feed["x:0"]}])
    assert report.accuracy["holds"] and report.coverage["left_behind"] == []
    loaded = tf2.saved_model.load(target).signatures["serving_default"]
    np.testing.assert_allclose(loaded(x=tf2.constant(feed["x:0"]))["y"].numpy(), expected, rtol=1e-4)


def test_a_graph_of_two_optimized_ones_is_optimized_again(tmp_path):
    feed = tiny_models.image()["x:0"]
    models = [tiny_models.conv_net(), tiny_models.conv_net()]
    for node in models[1].node:  # another network with nodes of the same names
        if node.op == "Const" and node.attr["dtype"].type == tf.float32.as_datatype_enum:
            values = tf.make_ndarray(node.attr["value"].tensor)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values * np.float32(0.9)))
    with tf.Graph().as_default() as graph:
        for name, model in zip("ab", models):
            optimized, _, _ = optimize(model, unmeasured_config(), test_data=[{"x:0": feed}])
            tf.import_graph_def(optimized, name=name)
        both = graph.as_graph_def()
    outputs = ["a/probabilities", "b/probabilities"]
    engine = blade.Engine(tiny_models.write(both, tmp_path / "both.pb"), outputs=outputs)
    for output, model in zip(outputs, models):
        expected = tiny_models.run(model, {"x:0": feed}, "probabilities:0")
        np.testing.assert_allclose(engine.run({"a/x": feed, "b/x": feed})[output], expected, rtol=1e-4)


def test_a_fed_default_of_a_branch_that_passes_its_operand_through():
    with tf.Graph().as_default() as graph:
        y = tf.placeholder(tf.float32, [None, 16], name="x")
        train = tf.placeholder_with_default(False, [], name="train")
        for width in (64, 64, 16):
            y = tf.nn.relu(tf.matmul(y, tf.constant(np.full((y.shape[1], width), 0.1, np.float32))))
        plain, trained = tf.raw_ops.Switch(data=y, pred=train)
        tf.raw_ops.Merge(inputs=[plain, trained + trained], name="y")
        model = graph.as_graph_def()
    x = np.random.default_rng(4).uniform(0, 1, (2, 16)).astype(np.float32)
    optimized, _, _ = optimize(model, unmeasured_config(), outputs=["y"], test_data=[{"x:0": x}])
    for feed in ({"x:0": x}, {"x:0": x, "train:0": False}, {"x:0": x, "train:0": True}):
        # Without TensorFlow's own optimizer, which loses a bare Merge whose condition is fed.
        np.testing.assert_allclose(tiny_models.run(optimized, feed, "y:0"), tiny_models.run(model, feed, "y:0"), rtol=1e-5)


def test_a_variable_that_no_output_reads_is_no_harm():
    model = tiny_models.conv_net()
    model.node.add(op="VariableV2", name="global_step").attr["dtype"].type = tf.int64.as_datatype_enum
    model.node[-1].attr["shape"].shape.SetInParent()
    _, _, report = optimize(model, unmeasured_config(), outputs=["probabilities"], test_data=[tiny_models.image()])
    assert report.accuracy["holds"]


def test_one_product_of_16_bits_that_no_output_needs_widens_no_tolerance():
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(tiny_models.conv_net(), name="")
        half = tf.placeholder_with_default(np.ones((4, 4), np.float16), [4, 4], name="half")
        tf.matmul(half, half, name="side")
        model = graph.as_graph_def()
    _, _, report = optimize(model, unmeasured_config(), outputs=["probabilities"], test_data=[tiny_models.image()])
    assert report.accuracy["outputs"][0]["allowed"] < 2e-3


def test_images_of_bytes_may_round_the_other_way():
    """Some of many pixels lie so near to the middle between two bytes that another order of sums decides."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, (None, 64, 64, 8), name="x")
        weights = np.random.default_rng(5).normal(0, 1, (5, 5, 8, 8)).astype(np.float32)
        y = tf.nn.tanh(tf.nn.conv2d(x, weights, 1, "SAME") / 9)
        y = tf.reduce_mean(tf.nn.conv2d(y, weights, 1, "SAME"), 3)
        tf.cast(tf.clip_by_value(tf.round(y * 60 + 128), 0, 255), tf.uint8, name="image")
    images = np.random.default_rng(7).normal(0, 1, (8, 64, 64, 8)).astype(np.float32)
    config = fast_config()
    config.tuning.disable_perf_check = True
    model, spec, report = optimize(graph.as_graph_def(), config, outputs=["image"], test_data=[{"x:0": images}])
    assert report.accuracy["holds"], str(report)
    assert engine_ops(model)
    want = tiny_models.run(graph.as_graph_def(), {"x:0": images}, ["image:0"])[0].astype(int)
    got = run_optimized(model, spec, {"x:0": images}, ["image:0"])[0].astype(int)
    assert np.abs(got - want).max() <= 1 and np.mean(got != want) < 0.01


def test_test_data_of_other_ranks_run_the_original():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, None, name="x")
        y = tf.reshape(x, tf.concat([[-1], tf.shape(x)[-1:]], 0)) @ np.random.default_rng(5).normal(0, 1, (16, 24)).astype(np.float32)
        tf.nn.softmax(tf.nn.relu(y) + tf.square(y) + tf.tanh(y), name="y")
    feeds = [{"x:0": np.random.default_rng(7).normal(0, 1, dims).astype(np.float32)} for dims in ((2, 16), (3, 16), (2, 2, 16))]
    config = fast_config()
    config.tuning.disable_perf_check = True
    model, spec, report = optimize(graph.as_graph_def(), config, outputs=["y"], test_data=feeds)
    assert "numbers of dims" in str(report)
    before = runtime.counters()["fallback_runs"]
    for feed in feeds:
        want = tiny_models.run(graph.as_graph_def(), feed, ["y:0"])[0]
        np.testing.assert_allclose(run_optimized(model, spec, feed, ["y:0"])[0], want, rtol=1e-5, atol=1e-6)
    assert runtime.counters()["fallback_runs"] - before == 1


def test_placeholder_of_unknown_rank_has_that_of_the_data(tmp_path):
    rng = np.random.default_rng(5)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, None, name="x")  # conv1d inserts a dim that it counts from the end
        y = tf.nn.relu(tf.nn.conv1d(x, rng.normal(0, 0.2, (5, 16, 32)).astype(np.float32), 1, "SAME"))
        tf.identity(tf.reduce_sum(tf.reduce_mean(y, -1, keepdims=True) * y, -2), name="y")
    feeds = [{"x:0": rng.normal(0, 1, (1, steps, 16)).astype(np.float32)} for steps in (50, 50, 60)]
    model, spec, report = optimize(graph.as_graph_def(), unmeasured_config(), outputs=["y"], test_data=feeds[:2])
    assert report.coverage["left_behind"] == [] and engine_ops(model)
    path = tmp_path / "optimized.pb"
    path.write_bytes(model.SerializeToString())
    engine = blade.Engine(str(path))
    for feed in feeds:
        want = tiny_models.run(graph.as_graph_def(), feed, ["y:0"])[0]
        np.testing.assert_allclose(run_optimized(model, spec, feed, ["y:0"])[0], want, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(engine.run(feed)["y"], want, rtol=1e-4, atol=1e-5)


def rank_beside_the_region(x, tail):
    tf.identity(tail(tf.placeholder(tf.float32, [None], name="v")) * tf.cast(tf.rank(x), tf.float32), name="y")


def axes_by_rank_behind_tensorflow(x, tail):
    tf.reduce_sum(tail(tf.math.bessel_i0e(x)), axis=tf.range(tf.rank(x)), name="y")


def rank_that_tensorflow_reads(x, tail):
    tf.add(tf.reduce_sum(tail(x)), tf.math.bessel_i0e(tf.cast(tf.rank(x), tf.float32)), name="y")


def rank_as_an_output(x, tail):
    tf.stack([tf.reduce_sum(tail(x)), 0.0], name="z")
    tf.rank(x, name="y")


@pytest.mark.parametrize("make", [rank_beside_the_region, axes_by_rank_behind_tensorflow, rank_that_tensorflow_reads,
                                  rank_as_an_output])
def test_a_rank_that_only_the_data_tell_is_assumed_nowhere_else(make, tmp_path):
    rng = np.random.default_rng(6)

    def tail(value):
        for _ in range(4):
            value = tf.tanh(value) + value * 0.5
        return tf.nn.relu(value)

    with tf.Graph().as_default() as graph:
        make(tf.placeholder(tf.float32, None, name="x"), tail)
    original = graph.as_graph_def()
    feeds = [{"x:0": rng.normal(0, 1, dims).astype(np.float32)} for dims in ((64, 64), (8, 64, 64), (64,))]
    if make is rank_beside_the_region:
        for feed in feeds:
            feed["v:0"] = rng.normal(0, 1, 4096).astype(np.float32)
    outputs = ["y"] + ["z"] * (make is rank_as_an_output)
    model, spec, report = optimize(original, unmeasured_config(), outputs=outputs, test_data=feeds[:1])
    assert engine_ops(model)
    for feed in feeds:
        fetches = [name + ":0" for name in outputs]
        want = tiny_models.run(original, feed, fetches)
        got = run_optimized(model, spec, feed, fetches)
        for one, other in zip(got, want):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    if report.coverage["left_behind"]:
        return
    path = tmp_path / "optimized.pb"
    path.write_bytes(model.SerializeToString())
    engine = blade.Engine(str(path))
    want = tiny_models.run(original, feeds[0], "y:0")
    np.testing.assert_allclose(engine.run(feeds[0])["y"], want, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="'x:0' was given shape .8,64,64., expected"):
        engine.run(feeds[1])


def test_tuning_shapes_give_an_unknown_rank():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, None, name="x")
        tf.reduce_sum(tf.nn.relu(tf.tanh(x) * x + 1.0), axis=tf.range(1, tf.rank(x)), name="y")
    config = unmeasured_config()
    shapes = {"x": [4, 64]}
    config.dynamic_tuning_shapes = {"min": shapes, "max": {"x": [16, 64]}, "opts": [shapes]}
    _, _, report = optimize(graph.as_graph_def(), config, outputs=["y"], test_data=[])
    assert report.coverage["left_behind"] == []


def net_of_unknown_channels(shape, channels):
    """A convolution and a dense layer behind a placeholder that does not tell its channels."""
    rng = np.random.default_rng(8)
    weight = lambda *dims: tf.constant(rng.normal(0, 0.2, dims).astype(np.float32))
    with tf.Graph().as_default() as graph:
        y = tf.placeholder(tf.float32, shape, name="x")
        for layer, width in enumerate((channels, 16, 16)):
            y = tf.nn.relu(tf.nn.conv2d(y, weight(3, 3, width, 16), 1, "SAME") + weight(16), name=f"relu{layer}")
        tf.nn.softmax(tf.matmul(tf.reduce_mean(y, [1, 2]), weight(16, 5)), name="y")
    return graph.as_graph_def()


@pytest.mark.parametrize("shape", [None, [None] * 4])
def test_convolution_of_unknown_channels(shape, tmp_path):
    graph_def = net_of_unknown_channels(shape, 3)
    feed = tiny_models.image(height=12, width=9)
    want = tiny_models.run(graph_def, feed, "y:0")
    got = blade.Engine(tiny_models.write(graph_def, tmp_path / "net.pb"), outputs=["y"]).run(feed)["y"]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    optimized, spec, report = optimize(graph_def, unmeasured_config(), outputs=["y"], test_data=[feed])
    assert report.coverage["left_behind"] == [] and engine_ops(optimized)
    np.testing.assert_allclose(run_optimized(optimized, spec, feed, "y:0"), want, rtol=1e-5, atol=1e-6)


def test_engine_that_fails_on_the_test_data_gives_the_original_back(tmp_path):
    """Groups that only the fed channels tell: the engine takes them for one."""
    graph_def = net_of_unknown_channels([None] * 4, 3)
    feed = {"x:0": np.random.default_rng(1).normal(size=(1, 8, 8, 6)).astype(np.float32)}
    for precision, unmeasured in (("fp32", False), ("bf16", False), ("fp32", True)):
        config = unmeasured_config() if unmeasured else fast_config()
        config.cpu_config.precision = precision
        optimized, _, report = optimize(graph_def, config, outputs=["y"], test_data=[feed])
        assert optimized == graph_def and report.optimizations[0]["status"] == "rolled back"
        assert "the number of input channels" in report.diagnosis["message"]
    with pytest.raises(blade.BladeError, match="the number of input channels to be 6 and 3"):
        blade.Engine(tiny_models.write(graph_def, tmp_path / "net.pb"), outputs=["y"]).run(feed)


def lists_net(keys=None, path=None):
    """relu(x * n), as a SavedModel with these keys where a path is given."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        x, n = tf.placeholder(tf.float32, [None, 3], "x"), tf.placeholder(tf.int32, [None, 1], "n")
        y = tf.nn.relu(x * tf.cast(n, tf.float32), name="y")
        if path:
            tf.saved_model.simple_save(session, str(path), dict(zip(keys, (x, n))), {"y": y})
    return graph.as_graph_def()


def test_lists_take_the_inputs_dtypes(tmp_path):
    x, n = [[0.1, -1.0, 2.0]], ((2,),)
    lists_net(("pixels", "times"), tmp_path / "saved")
    for model, feed in ((lists_net(), {"x:0": x, b"n": n}), (str(tmp_path / "saved"), {"pixels": x, "times": n})):
        report = blade.optimize(model, "o1", "cpu", unmeasured_config(), test_data=[feed])[2]
        assert "x:0 shape: (1, 3) data type: float32\nn:0 shape: (1, 1) data type: int32" == report.diagnosis["test_data_info"]
    engine = blade.Engine(tiny_models.write(lists_net(), tmp_path / "net.pb"))
    np.testing.assert_array_equal(engine.run({"x": x, "n": n})["y"], np.float32([[0.2, 0, 4]]))


@pytest.mark.parametrize("n,dtype", [([[1.5]], "float64"), ([[2**40]], "int64")])
def test_lists_lose_no_more_than_precision(n, dtype, tmp_path):
    feed = {"x": [[1, 2, 3]], "n": n}
    with pytest.raises(blade.BladeError, match=f"'n' has dtype {dtype}, the model expects int32"):
        blade.optimize(lists_net(), "o1", "cpu", unmeasured_config(), test_data=[feed])
    with pytest.raises(blade.BladeError, match=f"'n' was given {dtype} data, expected int32"):
        blade.Engine(tiny_models.write(lists_net(), tmp_path / "net.pb")).run(feed)


def test_outputs_that_no_engine_gives(tmp_path):
    """An input, a constant and a name twice, beside what the one engine computes."""
    weights = np.random.default_rng(0).normal(0, 0.2, (32, 32)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x, w = tf.placeholder(tf.float32, [None, 32], name="x"), tf.constant(weights, name="w")
        tf.nn.softmax(tf.matmul(tf.nn.relu(tf.matmul(x, w)), w), name="y")
    feed, names = {"x:0": np.ones((2, 32), np.float32)}, ["x:0", "y:0", "w:0", "y:0"]
    optimized, spec, report = optimize(graph.as_graph_def(), unmeasured_config(), outputs=names, test_data=[feed])
    assert report.accuracy["holds"] and report.coverage["regions"] == 1
    for got, want in zip(run_optimized(optimized, spec, feed, names), tiny_models.run(graph.as_graph_def(), feed, names)):
        np.testing.assert_allclose(got, want, rtol=1e-4)


@pytest.mark.parametrize("model,data,words", [
    ("", None, "model is an empty path; expected that of a .pb"),
    (None, np.array([[1.0] * 16], object), "test_data's value of 'x' holds objects, 1.0 among them; expected strings, or numbers"),
    (None, np.array([["a", None]], object), "test_data's value of 'x' holds objects, None among them; expected strings, or numbers"),
])
def test_what_a_model_and_its_data_may_not_be(model, data, words):
    with pytest.raises(blade.BladeError, match=re.escape(words)):
        blade.optimize(scaled_net() if model is None else model, "o1", "cpu", test_data=[] if data is None else [{"x": data}])
