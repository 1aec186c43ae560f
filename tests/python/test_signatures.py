"""SavedModels with several signatures: which one is taken, and what the optimized model offers."""
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
import test_classics  # puts examples/classics on the path
from test_cli import run as run_command

import blade
import blade.runtime.tensorflow as runtime

import saved_models  # noqa: E402


@pytest.fixture(scope="module")
def variables(tmp_path_factory):
    """A SavedModel with variables and the signatures 'classify' and 'embed', and what they are fed and give."""
    folder = tmp_path_factory.mktemp("two") / "model"
    return str(folder), saved_models.two_signatures(folder)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """A SavedModel without variables and the signatures 'double' and 'triple'."""
    folder = str(tmp_path_factory.mktemp("frozen") / "model")
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 200], name="x")
        w = np.eye(200, dtype=np.float32)
        outputs = {name: tf.nn.relu(tf.matmul(x, tf.constant(factor * w)), name=name)
                   for name, factor in (("double", 2), ("triple", 3))}
        signatures = {name: tf.saved_model.predict_signature_def({"value": x}, {"result": y}) for name, y in outputs.items()}
        builder = tf.saved_model.Builder(folder)
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()
    return folder


def answers(folder, signature, feed):
    outputs = tf2.saved_model.load(folder).signatures[signature](**{k: tf2.constant(v) for k, v in feed.items()})
    return {key: value.numpy() for key, value in outputs.items()}


@pytest.mark.parametrize("signature", ["classify", "embed"])
def test_a_signature_is_optimized(variables, signature, tmp_path):
    folder, signatures = variables
    feed, outputs = signatures[signature]
    target, _, report = blade.optimize(folder, "o1", "cpu", test_classics.quick(), test_data=[feed], signature=signature)
    assert report.accuracy["holds"] and report.coverage["left_behind"] == []
    want, got = answers(folder, signature, feed), answers(target, signature, feed)
    assert sorted(got) == outputs
    for key in outputs:
        test_classics.check(got[key], want[key], key)
    assert list(tf2.saved_model.load(target).signatures) == [signature]
    lost = "embed" if signature == "classify" else "classify"
    assert f"offers the signature '{signature}' and not '{lost}'" in report.diagnosis["message"]
    # The model is written beside the original: the next case needs the place.
    shutil.rmtree(target)


def test_programs_without_eager_execution(variables, tmp_path):
    """As those of TensorFlow 1 are."""
    folder, signatures = variables
    shutil.copytree(folder, tmp_path / "m")
    with tf.Graph().as_default(), tf.Session():
        _, _, report = blade.optimize(str(tmp_path / "m"), "o1", "cpu", test_classics.quick(), test_data=[signatures["embed"][0]],
                                      signature="embed")
    assert report.accuracy["holds"] and report.coverage["left_behind"] == []


def test_where_the_optimized_directory_goes(frozen, tmp_path, monkeypatch):
    """Beside the model, under its whole name, also where the model is the working directory."""
    folder = tmp_path / "net.v1.5"
    shutil.copytree(frozen, folder)
    place = str(tmp_path / "net.v1.5.blade")
    assert blade.optimize(f"{folder}/", "o1", "cpu", test_classics.quick(), signature="double")[0] == place
    monkeypatch.chdir(folder)
    assert blade.optimize(".", "o1", "cpu", test_classics.quick(), signature="double")[0] == place


@pytest.mark.parametrize("with_variables", [False, True])
def test_a_signature_keeps_the_outputs_that_are_asked_for(with_variables, tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        x, unused = (tf.placeholder(tf.float32, [None, 64], name=name) for name in ("x", "unused"))
        w = tf.Variable(tf.eye(64), use_resource=True) if with_variables else tf.eye(64)
        outputs = {"one": tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, w)), w), name="first"), "two": tf.nn.relu(tf.matmul(unused, w), name="second")}
        session.run(tf.global_variables_initializer())
        tf.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x, "unused": unused}, outputs)
    given = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    feed = {"x": given, "unused": given}
    target, _, report = blade.optimize(str(tmp_path / "m"), "o1", "cpu", test_classics.quick(), outputs=["one"], test_data=[feed])
    assert report.coverage["regions"] == 1
    got = answers(target, "serving_default", feed)
    assert list(got) == ["one"]
    np.testing.assert_allclose(got["one"], np.maximum(given, 0), rtol=1e-5)
    assert len(blade.Engine(target).run(feed)) == 1
    shutil.rmtree(target)
    target, _, report = blade.optimize(str(tmp_path / "m"), "o1", "cpu", test_classics.quick(), outputs=["one"], test_data=[{"x": given}])
    assert report.coverage["regions"] == 1 and report.diagnosis["test_data_source"] == "user provided"
    before = runtime.counters()
    np.testing.assert_allclose(answers(target, "serving_default", feed)["one"], np.maximum(given, 0), rtol=1e-5)
    assert runtime.counters()["fallback_runs"] == before["fallback_runs"], "any batch of what is not needed is in the profile"
    with pytest.raises(blade.BladeError, match="no value for the input 'x'"):
        blade.optimize(str(tmp_path / "m"), "o1", "cpu", test_classics.quick(), outputs=["one"], test_data=[{"unused": given}])
    config = test_classics.quick()
    least, most = [list(given.shape)] * 2, [[64, 64]] * 2
    config.dynamic_tuning_shapes = {"min": least, "opts": [least], "max": most}
    shutil.rmtree(target)
    _, _, report = blade.optimize(str(tmp_path / "m"), "o1", "cpu", config, outputs=["one"], test_data=[{"x": given}])
    assert report.diagnosis["test_data_source"] == "user provided" and "min..max" not in report.diagnosis["message"]


@pytest.mark.parametrize("asked", [["low"], ["high"], ["low", "high"]])
def test_outputs_of_one_node_are_kept_each_by_itself(asked, tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 64], name="x")
        low, high = tf.split(tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, tf.eye(64))), tf.eye(64))), 2, axis=1, name="halves")
        tf.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"low": low, "high": high})
    given = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    target, _, report = blade.optimize(str(tmp_path / "m"), "o1", "cpu", test_classics.quick(), outputs=asked, test_data=[{"x": given}])
    assert report.coverage["regions"] == 1
    got = answers(target, "serving_default", {"x": given})
    assert sorted(got) == sorted(asked)
    want = dict(zip(("low", "high"), np.split(np.maximum(given, 0), 2, axis=1)))
    for key in asked:
        np.testing.assert_allclose(got[key], want[key], rtol=1e-5)
    assert len(blade.Engine(target).run({"x": given})) == len(asked)


def test_none_chosen_names_them(variables):
    with pytest.raises(blade.BladeError, match="choose one of its signatures: 'classify', 'embed'"):
        blade.optimize(variables[0], "o1", "cpu")


def test_unknown_one_names_them(variables, frozen):
    with pytest.raises(blade.BladeError, match="no signature 'clasify'; choose one of its signatures: 'classify', 'embed'"):
        blade.optimize(variables[0], "o1", "cpu", signature="clasify")
    with pytest.raises(blade.BladeError, match="no signature 'quadruple'; choose one of its signatures: 'double', 'triple'"):
        blade.Engine(frozen, signature="quadruple")


def test_signature_of_what_has_none(tmp_path):
    graph_def = test_classics.classic("gan_generator").graph_def
    path = test_classics.tiny_models.write(graph_def, tmp_path / "net.pb")
    with pytest.raises(blade.BladeError, match="no SavedModel directory"):
        blade.Engine(path, signature="x")
    with pytest.raises(blade.BladeError, match="a GraphDef has none"):
        blade.optimize(graph_def, "o1", "cpu", signature="x")


def test_frozen_one_runs_without_tensorflow(frozen):
    x = np.random.default_rng(0).standard_normal((2, 200)).astype(np.float32)
    for signature, factor in (("double", 2), ("triple", 3)):
        engine = blade.Engine(frozen, signature=signature)
        np.testing.assert_allclose(engine.run({"x": x})[signature], np.maximum(factor * x, 0), rtol=1e-6)


def test_frozen_one_is_optimized_and_offers_what_it_holds(frozen, tmp_path):
    x = np.random.default_rng(0).standard_normal((2, 200)).astype(np.float32)
    target, _, report = blade.optimize(frozen, "o1", "cpu", test_classics.quick(), test_data=[{"x": x}], signature="triple")
    assert report.optimizations[0]["status"] == "effective"
    assert list(tf2.saved_model.load(target).signatures) == ["triple"]
    assert "offers the signature 'triple' and not 'double'" in report.diagnosis["message"]
    np.testing.assert_allclose(answers(target, "triple", {"value": x})["result"], np.maximum(3 * x, 0), rtol=1e-5)
    engine = blade.Engine(target)  # the only one left
    np.testing.assert_allclose(engine.run({"x": x})["triple"], np.maximum(3 * x, 0), rtol=1e-5)


def test_command(frozen, variables):
    (row,) = json.loads(run_command("run", frozen, "--signature", "triple", "--shape", "x=1x200", "--json").stdout)
    assert row["name"] == "result" and row["max"] > 2.5
    assert "'double', 'triple'" in run_command("run", frozen, code=2).stderr
    assert "must be frozen" in run_command("run", variables[0], "--signature", "embed", code=2).stderr


def test_keys_name_inputs_and_outputs_without_variables_too(frozen, tmp_path):
    config = test_classics.quick()
    config.dynamic_tuning_shapes = {"min": {"value": [1, 200]}, "opts": [{"value": [2, 200]}], "max": {"value": [4, 200]}}
    feed = {"value": np.ones((2, 200), np.float32)}
    target, _, report = blade.optimize(frozen, "o1", "cpu", config, inputs=["value"], outputs=["result"], test_data=[feed],
                                       signature="triple")
    assert report.interface["inputs"] == ["x"] and report.interface["outputs"] == ["triple:0"]
    assert report.accuracy["holds"]
    for folder in (frozen, target):
        engine = blade.Engine(folder, outputs=["result"], signature="triple")
        for name in ("x", "x:0", "value"):
            np.testing.assert_allclose(*engine.run({name: feed["value"]}).values(), 3 * feed["value"], rtol=1e-6)
    with pytest.raises(blade.BladeError, match="the input 'x' is given twice, as 'x' and as 'value'; leave all but one out"):
        engine.run({"x": feed["value"], "value": feed["value"]})
    with pytest.raises(blade.BladeError, match="'valeu' is no input of the model; its inputs are 'x'"):
        engine.run({"valeu": feed["value"]})
    shutil.rmtree(target)


def test_keys_name_inputs_and_outputs_of_the_command_too(frozen, tmp_path):
    np.savez(tmp_path / "feed.npz", value=np.ones((2, 200), np.float32))
    np.save(tmp_path / "x.npy", np.ones((2, 200), np.float32))
    for feed in (["--data", tmp_path / "feed.npz"], ["--input", f"value={tmp_path / 'x.npy'}"], ["--input", f"x:0={tmp_path / 'x.npy'}"]):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        run_command("run", frozen, "--signature", "triple", *feed, "--save", tmp_path / "out")
        np.testing.assert_allclose(np.load(tmp_path / "out" / "result.npy"), np.full((2, 200), 3, np.float32))
    shaped = run_command("run", frozen, "--signature", "triple", "--shape", "value=5x200", "--json").stdout
    assert json.loads(shaped)[0]["shape"] == [5, 200]
    both = ["--data", str(tmp_path / "feed.npz"), "--shape", "x=2x200"]
    assert "the input 'x' is given twice, as 'value' and as 'x'" in run_command("run", frozen, "--signature", "triple", *both, code=2).stderr


def test_strings_that_no_output_needs_need_not_be_given(tmp_path):
    folder = str(tmp_path / "model")
    with tf.Graph().as_default(), tf.Session() as session:
        x, note = tf.placeholder(tf.float32, [None, 4], name="x"), tf.placeholder(tf.string, [None, 2], name="note")
        y = tf.nn.softmax(tf.matmul(x, tf.constant(np.eye(4, dtype=np.float32))), name="y")
        builder = tf.saved_model.Builder(folder)
        signature = tf.saved_model.predict_signature_def({"given": x, "text": note}, {"y": y})
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map={"serving_default": signature})
        builder.save()
    engine = blade.Engine(folder)
    assert [info.name for info in engine.inputs] == ["x"]
    feed = np.float32([[1, 2, 3, 4]])
    want = np.exp(feed) / np.exp(feed).sum()
    for more in ({}, {"text": np.array([["a", "b"]], object)}, {"note": np.array([["a", "b"]], object)}):
        np.testing.assert_allclose(engine.run({"given": feed, **more})["y"], want, rtol=1e-6)
    assert '"y"' in run_command("run", folder, "--shape", "given=1x4").stdout
    target, _, report = blade.optimize(folder, "o1", "cpu", test_classics.quick(), test_data=[{"given": feed}])
    assert report.interface["inputs"] == ["x", "note"] and "note:0 shape: (1, 2)" in report.diagnosis["test_data_info"]
    loaded = tf2.saved_model.load(target).signatures["serving_default"]
    fed = {"given": tf2.constant(feed), "text": tf2.constant([["a", "b"]])}
    np.testing.assert_allclose(loaded(**fed)["y"].numpy(), want, rtol=1e-6)


def test_a_key_that_is_another_inputs_name_is_refused(tmp_path):
    folder = str(tmp_path / "model")
    with tf.Graph().as_default(), tf.Session() as session:
        a, b = (tf.placeholder(tf.float32, [None], name=name) for name in "ab")
        y = tf.subtract(a, b, name="y")
        swapped = tf.saved_model.predict_signature_def({"a": b, "b": a}, {"y": y})
        builder = tf.saved_model.Builder(folder)
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map={"serving_default": swapped})
        builder.save()
    engine = blade.Engine(folder)
    large, small = np.array([5, 6], np.float32), np.array([1, 1], np.float32)
    with pytest.raises(blade.BladeError, match="key of another input, 'b'; give 'a:0' for the first or 'b:0'"):
        engine.run({"a": large, "b": small})
    np.testing.assert_array_equal(engine.run({"a:0": large, "b:0": small})["y"], [4, 5])
    np.save(tmp_path / "n.npy", large)
    refused = run_command("run", folder, "--input", f"a={tmp_path / 'n.npy'}", code=2).stderr
    assert "key of another input, 'b'; give 'a:0' for the first or 'b:0'" in refused
    run_command("run", folder, "--input", f"a:0={tmp_path / 'n.npy'}", "--input", f"b:0={tmp_path / 'n.npy'}")


def write_saved_model(folder, inputs, outputs):
    """Of the graph and session there are, with these keys."""
    signature = tf.saved_model.predict_signature_def(inputs, outputs)
    builder = tf.saved_model.Builder(str(folder))
    builder.add_meta_graph_and_variables(tf.get_default_session(), ["serve"], signature_def_map={"serving_default": signature})
    builder.save()
    return str(folder)


QUICK = ["--config", '{"tuning": {"time_limit_s": 1}}']


def test_shapes_suffice_where_no_output_needs_the_strings(tmp_path):
    with tf.Graph().as_default(), tf.Session():
        x, note = tf.placeholder(tf.float32, [None, 4], name="x"), tf.placeholder(tf.string, [None], name="note")
        y = tf.nn.softmax(tf.matmul(x, tf.constant(np.eye(4, dtype=np.float32))), name="y")
        folder = write_saved_model(tmp_path / "m", {"given": x, "text": note}, {"y": y})
    for shapes in (["x=3x4"], ["given=3x4"], ["given:0=3x4", "note=1"], ["x:0=3x4", "text=1"]):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        options = [option for shape in shapes for option in ("--shape", shape)]
        report = json.loads(run_command("optimize", folder, "-o", tmp_path / "out", *QUICK, *options).stdout)
        info = report["diagnosis"]["test_data_info"]
        assert "x:0 shape: (3, 4)" in info and "note:0 shape: (1,) data type: string" in info
    for wrong, words in ((["note=1"], "lack one for the input 'x'"), (["x=3x4", "y=1"], "'y' is no input of the model")):
        options = [option for shape in wrong for option in ("--shape", shape)]
        assert words in run_command("optimize", folder, "-o", tmp_path / "no", *options, code=2).stderr


def test_optimizing_takes_keys_as_running_does(tmp_path):
    with tf.Graph().as_default(), tf.Session():
        x = tf.placeholder(tf.float32, [None, 4], name="x")
        folder = write_saved_model(tmp_path / "m", {"given": x}, {"y": tf.nn.relu(x + 1, name="node")})
    array = np.ones((2, 4), np.float32)
    np.save(tmp_path / "x.npy", array)
    for name in ("given", "given:0", "x", "x:0"):
        np.savez(tmp_path / "feed.npz", **{name: array})
        for feed in (["--data", tmp_path / "feed.npz"], ["--input", f"{name}={tmp_path / 'x.npy'}"], ["--shape", f"{name}=2x4"]):
            run_command("run", folder, *feed)
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            report = json.loads(run_command("optimize", folder, "-o", tmp_path / "out", *QUICK, "--outputs", "y", *feed).stdout)
            assert "x:0 shape: (2, 4)" in report["diagnosis"]["test_data_info"]


def test_a_key_with_0_is_an_input_of_that_name_first(tmp_path):
    with tf.Graph().as_default(), tf.Session():
        a, b = tf.placeholder(tf.float32, [None], name="a"), tf.placeholder(tf.float32, [None, 2], name="b")
        y = tf.add(tf.reduce_sum(b, 1), a, name="y")
        folder = write_saved_model(tmp_path / "m", {"a": b, "b": a}, {"y": y})
    np.savez(tmp_path / "feed.npz", **{"a:0": np.ones(3, np.float32), "b:0": np.ones((3, 2), np.float32)})
    for feed in (["--data", tmp_path / "feed.npz"], ["--shape", "a:0=3", "--shape", "b:0=3x2"]):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        info = json.loads(run_command("optimize", folder, "-o", tmp_path / "out", *QUICK, *feed).stdout)["diagnosis"]["test_data_info"]
        assert "a:0 shape: (3,)" in info and "b:0 shape: (3, 2)" in info


def test_the_command_names_results_as_asked(frozen, tmp_path):
    for asked in (["result"], ["triple:0"], ["triple", "result"]):
        names = [option for name in asked for option in ("--outputs", name)]
        rows = json.loads(run_command("run", frozen, "--signature", "triple", "--shape", "x=1x200", *names, "--json").stdout)
        assert [row["name"] for row in rows] == asked
        assert list(blade.Engine(frozen, signature="triple", outputs=asked).run({"x": np.ones((1, 200), np.float32)})) == asked


def test_results_whose_names_make_one_file_are_numbered(tmp_path):
    with tf.Graph().as_default(), tf.Session():
        x = tf.placeholder(tf.float32, [2], name="x")
        outputs = {key: tf.add(x, number, name=f"y{number}") for number, key in enumerate(("a/b", "a:b", "a_b", "a_b_2"))}
        folder = write_saved_model(tmp_path / "m", {"x": x}, outputs)
    np.save(tmp_path / "x.npy", np.zeros(2, np.float32))
    done = run_command("run", folder, "--input", f"x={tmp_path / 'x.npy'}", "--save", tmp_path / "out", "--json")
    rows = {row["name"]: row["saved"] for row in json.loads(done.stdout)}
    assert len(set(rows.values())) == 4
    for number, key in enumerate(outputs):
        np.testing.assert_array_equal(np.load(rows[key]), [number, number])


def test_the_advice_for_a_key_names_a_tensor_that_there_is(tmp_path):
    with tf.Graph().as_default(), tf.Session():
        whole, a = tf.placeholder(tf.float32, [2, 4], name="whole"), tf.placeholder(tf.float32, [2, 2], name="a")
        part = tf.split(whole, 2, axis=1, name="split")[1]
        folder = write_saved_model(tmp_path / "m", {"a": part, "other": a}, {"y": tf.subtract(a, part, name="y")})
    np.save(tmp_path / "n.npy", np.ones((2, 2), np.float32))
    file = tmp_path / "n.npy"
    advice = "give 'a:0' for the first or 'split:1' for the other"
    assert advice in run_command("run", folder, "--input", f"a={file}", code=2).stderr
    with pytest.raises(blade.BladeError, match=advice):
        blade.Engine(folder).run({"a": np.load(file)})
    run_command("run", folder, "--input", f"a:0={file}", "--input", f"split:1={file}")


def test_results_go_by_the_signatures_keys(frozen, tmp_path):
    x = np.random.default_rng(0).standard_normal((2, 200)).astype(np.float32)
    target, _, _ = blade.optimize(frozen, "o1", "cpu", test_classics.quick(), test_data=[{"x": x}], signature="triple")
    for engine in (blade.Engine(frozen, signature="triple"), blade.Engine(target)):
        got = engine.run({"value": x})
        assert list(got) == ["result"]
        assert [info.name for info in engine.outputs] == ["triple"]
        for name in ("triple", "triple:0"):
            assert got[name] is got.get(name) is got["result"] and name in got
        for wrong in ("double", "result:1", 0):
            with pytest.raises(KeyError):
                got[wrong]
            assert wrong not in got and got.get(wrong) is None and got.get(wrong, 1) == 1
    assert list(blade.Engine(target, outputs=["triple:0"]).run({"x": x})) == ["triple:0"]


def test_a_key_is_meant_before_another_outputs_name(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None], name="x")
        a, b = tf.add(x, 1.0, name="a"), tf.add(x, 2.0, name="b")
        tf.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"a": b, "b": a})
    got = blade.Engine(tmp_path / "m").run({"x": np.zeros(2, np.float32)})
    np.testing.assert_array_equal(got["a"], [2, 2])
    np.testing.assert_array_equal(got.get("b"), [1, 1])
    np.testing.assert_array_equal(got["a:0"], [1, 1])


def test_one_tensor_under_two_keys_is_two_results(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None], name="x")
        y = tf.add(x, 1.0, name="y")
        tf.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"one": y, "two": y})
    got = blade.Engine(tmp_path / "m").run({"x": np.zeros(2, np.float32)})
    assert sorted(got) == ["one", "two"]
    np.testing.assert_array_equal(got["one"], got["two"])


def test_gathers_in_loops_are_frozen(tmp_path):
    """TensorFlow makes constants of what a loop gathers from, and leaves the gathers in its body as gathers from variables."""

    class Decoder(tf2.Module):
        def __init__(self):
            rng = np.random.default_rng(3)
            self.rows = tf2.Variable(rng.normal(0, 1, (30, 8)).astype(np.float32))
            self.pairs = tf2.Variable(rng.normal(0, 1, (30, 2)).astype(np.float32))
            self.out = tf2.Variable(rng.normal(0, 1, (8, 30)).astype(np.float32))

        @tf2.function(input_signature=[tf2.TensorSpec([None], tf2.int32, name="ids")])
        def decode(self, ids):
            def step(t, ids, sums):
                scores = tf2.matmul(tf2.gather(self.rows, ids), self.out)
                at = tf2.stack([ids, ids % 2], 1)
                picked = tf2.raw_ops.ResourceGatherNd(resource=self.pairs.handle, indices=at, dtype=tf2.float32)
                return t + 1, tf2.argmax(scores, 1, output_type=tf2.int32), sums + picked

            _, ids, sums = tf2.while_loop(lambda t, *_: t < 5, step, (0, ids, tf2.zeros_like(ids, tf2.float32)))
            return {"ids": ids, "sums": sums}

    decoder = Decoder()
    folder = str(tmp_path / "decoder")
    tf2.saved_model.save(decoder, folder, signatures={"serving_default": decoder.decode})
    feed = {"ids": np.array([3, 29, 0], np.int32)}
    config = blade.Config()
    config.tuning.disable_perf_check = True
    optimized, _, report = blade.optimize(folder, "o1", "cpu", config, test_data=[feed])
    assert report.coverage["regions"] == 1
    want, got = decoder.decode(tf2.constant(feed["ids"])), blade.Engine(optimized).run(feed)
    for key, value in zip(sorted(want), got.values()):
        np.testing.assert_allclose(value, want[key], rtol=1e-5)


class Callable(tf2.Module):
    """A module to call, as TensorFlow Hub has them."""

    def __init__(self):
        self.weights = tf2.Variable(np.eye(64, dtype=np.float32))

    @tf2.function(input_signature=[tf2.TensorSpec([None, 64], tf2.float32)])
    def __call__(self, x):
        return tf2.nn.relu(tf2.matmul(x, self.weights))


def test_a_module_without_a_signature_says_how_to_make_one(tmp_path):
    tf2.saved_model.save(Callable(), str(tmp_path / "model"), signatures={})
    with pytest.raises(blade.BladeError, match=r"no signature; export it with one, by .*__call__\.get_concrete_function"):
        blade.optimize(str(tmp_path / "model"), "o1", "cpu")


def test_files_that_tensorflow_cannot_load(tmp_path):
    tf2.saved_model.save(Callable(), str(tmp_path / "model"))
    next((tmp_path / "model" / "variables").glob("*.data-*")).unlink()
    with pytest.raises(blade.BladeError, match="TensorFlow cannot load the SavedModel '.*model': .*No such file"):
        blade.optimize(str(tmp_path / "model"), "o1", "cpu")


def write_tagged(folder, tags):
    """x times 1 + its number in a meta graph for each set of tags."""
    builder = tf.saved_model.Builder(folder)
    for number, one in enumerate(tags):
        with tf.Graph().as_default(), tf.Session() as session:
            x = tf.placeholder(tf.float32, [None, 64], name="x")
            w = tf.get_variable("w", initializer=np.eye(64, dtype=np.float32))
            signature = tf.saved_model.predict_signature_def({"default": x}, {"default": (1 + number) * tf.matmul(x, w)})
            session.run(tf.global_variables_initializer())
            if number:
                builder.add_meta_graph(one, {"default": signature})
            else:
                builder.add_meta_graph_and_variables(session, one, {"default": signature})
    builder.save()


@pytest.mark.parametrize("tags,factor", [([["train"], []], 2), ([[], ["serve", "gpu"], ["serve"], ["train"]], 3)])
def test_of_several_meta_graphs_the_one_for_serving(tags, factor, tmp_path):
    write_tagged(str(tmp_path / "model"), tags)
    x = np.ones((2, 64), np.float32)
    target = blade.optimize(str(tmp_path / "model"), "o1", "cpu", test_classics.quick(), test_data=[{"default": x}])[0]
    np.testing.assert_allclose(answers(target, "default", {"default": x})["default"], factor * x, rtol=1e-6)


def test_no_meta_graph_for_serving(tmp_path):
    write_tagged(str(tmp_path / "model"), [["train"], ["tpu"]])
    with pytest.raises(blade.BladeError, match=r"the tags \[\['train'\], \['tpu'\]\], none of them for serving"):
        blade.optimize(str(tmp_path / "model"), "o1", "cpu")
