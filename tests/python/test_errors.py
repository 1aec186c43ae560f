"""What a user can do wrong, and the sentence that answers."""
import numpy as np
import pytest
import tensorflow
import tensorflow.compat.v1 as tf
import tiny_models

import blade


def optimize(model=None, config=None, device="cpu", **arguments):
    arguments.setdefault("test_data", [tiny_models.image()])
    return blade.optimize(model or tiny_models.conv_net(), "o1", device, config=config, **arguments)


def quick():
    config = blade.Config()
    config.tuning.time_limit_s = 1
    return config


def profile(**shapes):
    config = blade.Config()
    config.dynamic_tuning_shapes = shapes
    return config


GOOD = {"min": [1, 32, 32, 3], "opts": [[2, 32, 32, 3]], "max": [4, 32, 32, 3]}


def test_opts_outside_the_bounds():
    with pytest.raises(blade.BladeError) as error:
        optimize(config=profile(**{**GOOD, "opts": [[16, 32, 32, 3]]}))
    assert str(error.value).startswith("Dim value in 'opts' is not between min_dim and max_dim")
    assert "'x', dim 0: 16 is not between 1 and 4" in str(error.value)


@pytest.mark.parametrize(
    "shapes,words",
    [
        ({"min": [1, 32, 32, 3], "max": [4, 32, 32, 3]}, "lacks 'opts'"),
        ({**GOOD, "most": []}, "has the key 'most'"),
        ({**GOOD, "opts": [[1, 32, "a", 3]]}, "dims are integers"),
        ({**GOOD, "opts": []}, "expected a list of shape groups"),
        ({**GOOD, "min": [[1, 32, 32, 3], [1]]}, "shapes for 2 inputs, the model has 1"),
        ({**GOOD, "min": [8, 32, 32, 3]}, "not at most its max"),
        ({**GOOD, "min": {"y": [1, 32, 32, 3]}}, "no shape for the input 'x'"),
        ({key: [[1, 32, 32, 4]] for key in GOOD}, r"the input 'x' the shape \[1,32,32,4\], the model expects \[\?,\?,\?,3\]"),
        ({key: [[1, 32, 3]] for key in GOOD}, r"the input 'x' the shape \[1,32,3\], the model expects"),
    ],
)
def test_bad_profiles(shapes, words):
    with pytest.raises(blade.BladeError, match=words):
        optimize(config=profile(**shapes))


@pytest.mark.parametrize(
    "data,words",
    [
        ({"x:0": np.zeros((1, 32, 32, 3), np.float64)}, "'x' has dtype float64, the model expects float32"),
        ({"x:0": np.zeros((32, 32, 3), np.float32)}, r"'x' has shape \(32, 32, 3\), the model expects \(\?, \?, \?, 3\)"),
        ({"x:0": np.zeros((1, 32, 32, 4), np.float32)}, "the model expects"),
        ({"y:0": np.zeros((1, 32, 32, 3), np.float32)}, "no value for the input 'x'; it has 'y:0'"),
        ({"x:0": [[["a"]]]}, "'x' has dtype string, the model expects float32"),
        ({"x:0": [[1, 2], [3]]}, "value of 'x:0' was given what is no array of numbers or booleans"),
        (np.zeros((1, 32, 32, 3), np.float32), r"an entry of test_data is array(.|\n)*expected a dict of arrays"),
    ],
)
def test_bad_test_data(data, words):
    with pytest.raises(blade.BladeError, match=words):
        optimize(test_data=[data])


@pytest.mark.skipif('"not usable' not in blade._core.doctor(""), reason="there is a usable GPU")
def test_gpu_without_one():
    with pytest.raises(blade.BladeError, match="no usable GPU was found.*use 'cpu' or 'auto'"):
        optimize(device="gpu")


def test_test_data_that_is_one_array():
    with pytest.raises(blade.BladeError, match="test_data is a ndarray; expected a list of dicts of arrays"):
        optimize(test_data=np.zeros((1, 32, 32, 3), np.float32))


@pytest.mark.parametrize("arguments,words", [
    ({"test_data": 5}, "test_data is 5; expected a list of dicts"), ({"calib_data": 5}, "calib_data is 5; expected a list of dicts"),
    ({"config": profile(**{**GOOD, "min": [float("nan"), 32, 32, 3]})}, "an option holds NaN or an infinity; expected finite numbers"),
    ({"input_shapes": [[object()]]}, "^an option holds <object .*expected numbers, strings, lists and dicts"),
    ({"outputs": [b"y"]}, "a name in outputs is b'y'; expected a string"),
    ({"signature": 3}, "signature is 3; expected a string"), ({"model": "\udcff.pb"}, "is not UTF-8.*rename it, or link to it")])
def test_arguments_of_other_types(arguments, words):
    with pytest.raises(blade.BladeError, match=words):
        optimize(**arguments)


@pytest.mark.parametrize("config", [{}, {"tuning": {}}, 0])
def test_config_of_another_type(config):
    with pytest.raises(blade.BladeError, match="expected a blade.Config"):
        optimize(config=config)


def test_arrays_are_taken_for_shapes():
    shapes = {"min": np.array([1, 32, 32, 3]), "opts": np.array([[2, 32, 32, 3]]), "max": np.array([4, 32, 32, 3])}
    with pytest.raises(blade.BladeError, match="no_such_op.so"):  # past the shapes
        optimize(config=profile(**shapes), custom_ops="no_such_op.so")


def test_a_graph_with_variables():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        tf.matmul(x, tf.get_variable("v", [16, 4], use_resource=False), name="y")
        tf.get_variable("unused", [16, 4], use_resource=False)
    with pytest.raises(blade.BladeError, match="not frozen: its outputs read the variable 'v'; freeze it"):
        optimize(graph.as_graph_def(), outputs=["y"], test_data=[{"x": np.zeros((2, 16), np.float32)}])


@pytest.mark.parametrize("wrong,words", [({"device_type": None}, "device_type is None; expected 'cpu'"),
                                         ({"optimization_level": 1}, "optimization_level is 1; expected 'o1'")])
def test_level_and_device_are_texts(wrong, words):
    with pytest.raises(blade.BladeError, match=words):
        blade.optimize(**{"model": tiny_models.conv_net(), "optimization_level": "o1", "device_type": "cpu", **wrong})


def test_unknown_device_and_level():
    with pytest.raises(blade.BladeError, match="device_type is 'tpu'; expected 'cpu', 'gpu' or 'auto'"):
        optimize(device="tpu")
    with pytest.raises(blade.BladeError, match="optimization_level is 'o9'"):
        blade.optimize(tiny_models.conv_net(), "o9", "cpu")


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: b"graph", "model is a bytes; .*GraphDef.FromString"),
        (lambda: tf.MetaGraphDef(), "give its graph_def"),
        (lambda: tf.Graph(), "give its as_graph_def"),
        (lambda: tensorflow.function(lambda x: x), "tf.saved_model.save"),
        (lambda: tensorflow.function(lambda x: x).get_concrete_function(1.0), "tf.saved_model.save"),
        (lambda: tensorflow.keras.Sequential(), "model.export"),
        (lambda: 5, "model is a int; expected a GraphDef, a path or a SavedModel directory$"),
    ],
)
def test_models_of_other_types(make, words):
    with pytest.raises(blade.BladeError, match=words):
        optimize(model=make())


def test_level_o2_says_what_it_lacks():
    _, _, report = blade.optimize(tiny_models.conv_net(), "o2", "cpu", config=quick(), test_data=[tiny_models.image()])
    assert "int8 is not available yet; o1 was applied" in report.diagnosis["message"]


@pytest.mark.parametrize("field", ["inputs", "outputs"])
def test_unknown_names(field):
    with pytest.raises(blade.BladeError, match="no_such_node"):
        optimize(**{field: ["no_such_node"]})


def file_with(tmp_path, data):
    path = tmp_path / "model.pb"
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("keep", [0, 1, 10, 100, 0.5, 0.99])
def test_truncated_file(tmp_path, keep):
    data = tiny_models.conv_net().SerializeToString()
    end = int(len(data) * keep) if isinstance(keep, float) else keep
    with pytest.raises(blade.BladeError, match="model.pb"):
        blade.Engine(file_with(tmp_path, data[:end]))


def test_random_and_corrupted_files_never_crash(tmp_path):
    random = np.random.default_rng(3)
    with pytest.raises(blade.BladeError, match="model.pb"):
        blade.Engine(file_with(tmp_path, random.bytes(5000)))
    data = bytearray(tiny_models.conv_net().SerializeToString())
    for _ in range(100):
        damaged = bytearray(data)
        for position in random.integers(0, len(damaged), 20):
            damaged[position] = random.integers(0, 256)
        try:
            blade.Engine(file_with(tmp_path, bytes(damaged)))
        except blade.BladeError as error:
            assert len(str(error)) > 10


def test_cycle(tmp_path):
    graph_def = tiny_models.conv_net()
    nodes = {node.name: node for node in graph_def.node}
    nodes["conv1"].input[0] = "conv2"
    with pytest.raises(blade.BladeError, match="cycle"):
        blade.Engine(file_with(tmp_path, graph_def.SerializeToString()))


def test_missing_node_and_function(tmp_path):
    graph_def = tiny_models.conv_net()
    graph_def.node[-1].input[0] = "not_there"
    with pytest.raises(blade.BladeError, match="not_there"):
        blade.Engine(file_with(tmp_path, graph_def.SerializeToString()))
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None], name="x")
        y = tf.raw_ops.PartitionedCall(args=[x], Tout=[tf.float32], f=_identity_function())[0]
        tf.identity(y, name="y")
        graph_def = graph.as_graph_def()
    del graph_def.library.function[:]
    with pytest.raises(blade.BladeError, match="function"):
        blade.Engine(file_with(tmp_path, graph_def.SerializeToString()))


def _identity_function():
    from tensorflow.python.framework import function

    @function.Defun(tf.float32)
    def same(x):
        return tf.identity(x)

    return same


def test_missing_model():
    with pytest.raises(blade.BladeError, match="there is no file or directory '/no/such.pb'"):
        optimize("/no/such.pb")


def test_the_model_under_the_name_of_its_result_is_kept(tmp_path):
    path = tiny_models.write(tiny_models.conv_net(), tmp_path / "net.pb")
    (tmp_path / "net.blade.pb").symlink_to(path)
    with pytest.raises(blade.BladeError, match="net.blade.pb' is the model itself, which would be lost; .* move away what stands there$"):
        blade.optimize(str(path), "o1", "cpu")


def test_unwritable_output(tmp_path, capfd):
    path = tmp_path / "net.pb"
    tiny_models.write(tiny_models.conv_net(), path)
    (tmp_path / "net.blade.pb").mkdir()  # a directory where the file should go: fails for root, too
    with pytest.raises(blade.BladeError, match="net.blade.pb"):
        optimize(str(path))
    assert "baseline" not in capfd.readouterr().err  # found out before any work
    assert not any(name.name.endswith(".tmp") for name in tmp_path.iterdir())
