"""blade.Engine: running without TensorFlow."""
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tiny_models

import blade


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.write(tiny_models.conv_net(), tmp_path_factory.mktemp("engine") / "conv_net.pb")


@pytest.fixture(scope="module")
def engine(model):
    return blade.Engine(model)


def test_inputs_and_outputs_are_described(engine):
    assert engine.inputs == [("x", "float32", (None, None, None, 3))]
    assert [info.name for info in engine.outputs] == ["probabilities"]


def test_pickling_says_what_to_do(engine):
    with pytest.raises(TypeError, match="load the model in each process"):
        pickle.dumps(engine)


@pytest.mark.parametrize("batch,height,width", [(1, 32, 32), (3, 17, 23), (2, 1, 1), (1, 64, 48)])
def test_answers_are_tensorflows(engine, batch, height, width):
    feed = tiny_models.image(batch, height, width)
    want = tiny_models.run(tiny_models.conv_net(), feed, "probabilities:0")
    got = engine.run(feed)["probabilities"]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_outputs_by_any_name(model):
    feed = {"x": tiny_models.image()["x:0"]}
    engine = blade.Engine(model, outputs=["residual:0", "probabilities"])
    results = engine.run(feed)
    assert set(results) == {"residual:0", "probabilities"}
    want = tiny_models.run(tiny_models.conv_net(), tiny_models.image(), "residual:0")
    np.testing.assert_allclose(results["residual:0"], want, rtol=1e-4, atol=1e-5)


def test_daemon_threads_that_run_while_the_interpreter_ends(model):
    program = (
        "import blade, numpy, threading, time\n"
        f"engine, feed = blade.Engine({model!r}), {{'x': numpy.zeros((4, 32, 32, 3), numpy.float32)}}\n"
        "def run():\n"
        "    while True: engine.run(feed)\n"
        "for _ in range(3): threading.Thread(target=run, daemon=True).start()\n"
        "time.sleep(0.1)\n"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_same_bits_every_time(engine):
    feed = tiny_models.image(2)
    first = engine.run(feed)["probabilities"]
    for _ in range(20):
        assert np.array_equal(engine.run(feed)["probabilities"], first)


def test_explain_names_kernels(engine):
    steps = engine.explain(tiny_models.image())["plan"]["steps"]
    assert any(step["kernel"].startswith("cpu.conv.") for step in steps)


@pytest.mark.parametrize(
    "feed,words",
    [
        ({"y": np.zeros((1, 8, 8, 3), np.float32)}, "'y' is no input of the model; its inputs are 'x'"),
        ({"x": np.zeros((1, 8, 8, 3), np.float64)}, "float64.*float32"),
        ({"x": np.zeros((8, 8, 3), np.float32)}, "'x:0' was given shape .8,8,3., expected .*rank 4"),
        ({"x": np.zeros((1, 8, 8, 4), np.float32)}, r"'x:0' was given shape .1,8,8,4., expected \[\?,\?,\?,3\]: dim 3 must be 3"),
        (None, "the feed is None; expected a dict of arrays by the names of the inputs"),
        (np.zeros(3, np.float32), "the feed is array"),
        ({"x": np.array(["a"])}, "'x' was given <U1 data, expected float32"),
        ({"x": np.array(["a"], object)}, "'x' was given object data, expected float32"),
        ({"x": [[1, 2], [3]]}, "'x' was given what is no array of float32"),
        ([1], "expected a dict of arrays by the names of the inputs"),
        ({"x": np.zeros((1, 8, 8, 3), np.longdouble)}, "'x' was given float128 data, expected float32"),
        ({"x": np.zeros((1,) * 17, np.float32)}, "an array has more than 16 dims: reshape it"),
        ({b"\xff": np.zeros((1, 8, 8, 3), np.float32)}, "is no input of the model; its inputs are 'x'"),
    ],
)
def test_wrong_feeds_get_a_sentence(engine, feed, words):
    with pytest.raises(blade.BladeError, match=words):
        engine.run(feed)


def test_arrays_of_any_order_and_byte_order(engine):
    image = tiny_models.image(2)["x:0"]
    want = engine.run({"x": image})["probabilities"]
    odd_address = np.frombuffer(b"1" + image.tobytes(), np.uint8)[1:].view(np.float32).reshape(image.shape)
    for same in (image.astype(">f4"), np.asfortranarray(image), np.repeat(image, 2, 0)[::2], odd_address):
        np.testing.assert_array_equal(engine.run({"x": same})["probabilities"], want)


def test_feeds_after_the_first(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        tf.subtract(x, tf.placeholder(tf.float32, [None, 2], name="y"), name="z")
    engine = blade.Engine(tiny_models.write(graph.as_graph_def(), tmp_path / "m.pb"))
    x, y = np.float32([[5, 6]]), np.float32([[1, 2]])
    strided = np.stack([y, x], axis=-1)
    for feed in ({"x": x, "y": y}, {"x": x, "y": y}, {"y": y, "x": x}, {"y:0": y, "x": x}, {"x": [[5, 6]], "y": y.tolist()},
                 {"x": strided[..., 1], "y": strided[..., 0]}, {"x": x.astype(">f4"), "y": y}):
        np.testing.assert_array_equal(engine.run(feed)["z"], [[4, 4]])
    for feed, words in (({"x": x}, "missing"), ({"x": x, "y": y, "w": y}, "is no input of the model"), ({"x": x, "y": y.astype(np.float64)}, "float64"),
                        ({"x": x, "y": y, 3: y, b"w": y}, "is no input of the model")):
        with pytest.raises(ValueError, match=words):
            engine.run(feed)


@pytest.mark.parametrize("threads", [-3, 1025])
def test_thread_counts_are_checked(model, threads):
    with pytest.raises(blade.BladeError, match=f"num_threads is {threads}; expected 0 .* to 1024"):
        blade.Engine(model, num_threads=threads)


def test_threads_beyond_the_cpus_are_left_out(model):
    assert blade.Engine(model, num_threads=1024).explain()["threads"] == blade.Engine(model).explain()["threads"]


@pytest.mark.parametrize("wrong,words", [
    ({"num_threads": np.int64(-2**63)}, "num_threads is .*; expected an integer"),
    ({"num_threads": 2.5}, "num_threads is 2.5; expected an integer"), ({"num_threads": 2**40}, "num_threads is 1099511627776; expected"),
    ({"device": None}, "device is None; expected 'cpu'"), ({"signature": 3}, "signature is 3; expected a string"),
    ({"outputs": [3]}, "a name in outputs is 3; expected a string"), ({"outputs": b"y"}, "a name in outputs is b'y'; expected a string")])
def test_arguments_of_other_types(model, wrong, words):
    with pytest.raises(blade.BladeError, match=words):
        blade.Engine(model, **wrong)


def test_a_path_of_bytes(model, tmp_path):
    assert blade.Engine(model.encode()).inputs
    no_text = os.fsencode(tmp_path) + b"/\xff.pb"
    shutil.copy(model, no_text)
    assert blade.Engine(no_text).inputs and blade.Engine(os.fsdecode(no_text)).inputs
    with pytest.raises(blade.BladeError, match="holds a NUL character"):
        blade.Engine(model + "\0.pb")
    for none in (5, "\ud800.pb"):
        with pytest.raises(blade.BladeError, match="is no path; expected that of a file or a directory"):
            blade.Engine(none)


def test_missing_file():
    with pytest.raises(FileNotFoundError, match="no_such.pb"):
        blade.Engine("no_such.pb")


def test_unknown_output_suggests(model):
    with pytest.raises(blade.BladeError, match="probabilties.*probabilities"):
        blade.Engine(model, outputs=["probabilties"])


def test_import_needs_no_tensorflow(model):
    program = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "import blade, numpy\n"
        f"blade.Engine({model!r}).run({{'x': numpy.zeros((1, 8, 8, 3), numpy.float32)}})\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_bytes_in_the_other_order(engine):
    feed = tiny_models.image()
    swapped = {key: value.astype(value.dtype.newbyteorder(">")) for key, value in feed.items()}
    assert np.array_equal(engine.run(swapped)["probabilities"], engine.run(feed)["probabilities"])


def test_memory_of_outputs_is_used_again_only_when_let_go(tmp_path):
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [None, 256], name="x")
        tf.add(x, 1.0, name="y")
        tf.multiply(x, 2.0, name="z")
    engine = blade.Engine(tiny_models.write(graph.as_graph_def(), tmp_path / "two.pb"), outputs=["y", "z"])
    first = np.arange(1024 * 256, dtype=np.float32).reshape(1024, 256)
    kept, view = engine.run({"x": first})["y"], engine.run({"x": first + 3})["z"][5:7]
    for rows in (1024, 7, 1024, 512):
        result = engine.run({"x": -first[:rows]})
        np.testing.assert_array_equal(result["y"], 1 - first[:rows])
        np.testing.assert_array_equal(result["z"], -2 * first[:rows])
    np.testing.assert_array_equal(kept, first + 1)
    np.testing.assert_array_equal(view, 2 * (first + 3)[5:7])
    del engine
    np.testing.assert_array_equal(kept, first + 1)


def _resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_of_large_outputs_goes_when_outputs_become_small(tmp_path):
    graph = tf.Graph()
    with graph.as_default():
        tf.tile(tf.placeholder(tf.float32, [None, 1], name="x"), [1, 1000], name="y")
    engine = blade.Engine(tiny_models.write(graph.as_graph_def(), tmp_path / "wide.pb"), outputs=["y"])
    few = np.ones((2, 1), np.float32)
    engine.run({"x": few})
    before = _resident_bytes()
    engine.run({"x": np.ones((50_000, 1), np.float32)})  # 200 MB
    engine.run({"x": few})
    assert _resident_bytes() < before + 100e6
