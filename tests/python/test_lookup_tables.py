"""SavedModels with lookup tables: the tables stay in TensorFlow, filled, and what is behind them is optimized."""
import shutil

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
import test_classics  # puts examples/classics on the path

import blade

import saved_models  # noqa: E402


def keras(folder):
    return saved_models.lookup_layers(folder / "model")


def tensorflow_2(folder):
    return saved_models.tables_of_tensorflow_2(folder / "model", str(folder / "words.txt"))


def tensorflow_1(folder):
    return saved_models.tables_of_tensorflow_1(folder / "model", str(folder / "words.txt"))


def out_of_the_ordinary(folder):
    return saved_models.tables_out_of_the_ordinary(folder / "model")


def answers(folder, feeds):
    serve = tf2.saved_model.load(str(folder)).signatures["serving_default"]
    results = [serve(**{key: tf2.constant(value) for key, value in feed.items()}) for feed in feeds]
    return [{key: value.numpy() for key, value in result.items()} for result in results]


@pytest.mark.parametrize("write", [keras, tensorflow_1, tensorflow_2, out_of_the_ordinary])
def test_tables_are_filled_wherever_the_model_is_deployed(write, tmp_path):
    feeds = write(tmp_path)
    want = answers(tmp_path / "model", feeds)
    target, _, report = blade.optimize(tmp_path / "model", "o1", "cpu", test_classics.quick(), test_data=feeds)
    assert report.accuracy["holds"] and report.optimizations[0]["status"] == "effective"
    left = {entry["op"] for entry in report.coverage["left_behind"]}
    assert "LookupTableFindV2" in left and not left & {"MatMul", "Conv2D"}, left
    for name in ("model", "words.txt"):  # the optimized model needs neither
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        (tmp_path / name).unlink(missing_ok=True)
    for expected, got in zip(want, answers(target, feeds)):
        for key, value in expected.items():
            if value.dtype == object:
                assert list(got[key]) == list(value)
            else:
                np.testing.assert_allclose(got[key], value, rtol=1e-4, atol=1e-6)
    with pytest.raises(blade.BladeError, match="TensorFlow: .*lookup tables"):
        blade.Engine(target)


def test_the_loader_of_tensorflow_1_fills_them_too(tmp_path):
    feeds = tensorflow_2(tmp_path)
    want = answers(tmp_path / "model", feeds)[0]["label"]
    target, _, _ = blade.optimize(tmp_path / "model", "o1", "cpu", test_classics.quick(), test_data=feeds)
    with tf.Graph().as_default(), tf.Session() as session:
        signature = tf.saved_model.load(session, ["serve"], target).signature_def["serving_default"]
        feed = {signature.inputs[key].name: value for key, value in feeds[0].items()}
        assert list(session.run(signature.outputs["label"].name, feed)) == list(want)


def indicator_of_words():
    """What an indicator column of TensorFlow 1 makes of sparse words: a table, and as many rows as there are examples."""
    with tf.Graph().as_default() as graph:
        words = tf.sparse.placeholder(tf.string, [None, None], name="words")
        keys = tf.constant(["a", "b", "c"])
        initializer = tf.lookup.KeyValueTensorInitializer(keys, tf.range(3, dtype=tf.int64))
        table = tf.lookup.StaticHashTable(initializer, -1, name="table")
        ids = tf.SparseTensor(words.indices, table.lookup(words.values), words.dense_shape)
        counts = tf.reduce_sum(tf.one_hot(tf.sparse.to_dense(ids, default_value=-1), 3), 1)
        tf.nn.softmax(tf.matmul(counts, tf.constant([[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]])), name="y")
        tf.group(tf.tables_initializer(), name="init_all_tables")
        return graph.as_graph_def()


def sparse_words(rows):
    cells = [(row, column) for row, words in enumerate(rows) for column in range(len(words))]
    shape = [len(rows), max(map(len, rows))]
    values = np.array([rows[row][column] for row, column in cells], object)
    return {"words/values:0": values, "words/indices:0": np.array(cells, np.int64), "words/shape:0": np.array(shape, np.int64)}


def run_with_tables(graph_def, feeds):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        session.run("init_all_tables")
        return [session.run("y:0", feed) for feed in feeds]


def test_a_table_finds_as_many_values_as_there_are_keys():
    feeds = [sparse_words(rows) for rows in ([["a", "b", "a"], ["c"]], [["x"], ["b", "c"], ["a"]])]
    model = indicator_of_words()
    optimized, _, report = blade.optimize(model, "o1", "cpu", test_classics.quick(), outputs=["y"], test_data=feeds[:1])
    left = {entry["op"] for entry in report.coverage["left_behind"]}
    assert report.coverage["regions"] == 1 and "SparseToDense" not in left, left
    for want, got in zip(run_with_tables(model, feeds), run_with_tables(optimized, feeds)):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_a_variable_that_the_model_changes_is_named(tmp_path):
    module = tf2.Module()
    module.calls = tf2.Variable(0.0)
    module.serve = tf2.function(lambda x: x + module.calls.assign_add(1.0), input_signature=[tf2.TensorSpec([None], tf2.float32)])
    tf2.saved_model.save(module, str(tmp_path / "model"), signatures=module.serve)
    with pytest.raises(blade.BladeError, match="changes a variable while it runs, at '.*' .AssignAddVariableOp."):
        blade.optimize(tmp_path / "model", "o1", "cpu")


def test_layers_that_augment_at_random_are_named(tmp_path):
    layers = tf2.keras.layers
    model = tf2.keras.Sequential([tf2.keras.Input((16, 16, 3)), layers.RandomFlip(), layers.Conv2D(8, 3)])
    model.export(str(tmp_path / "model"), verbose=False)
    with pytest.raises(blade.BladeError, match="random_flip.*if it has layers that augment data while training"):
        blade.optimize(tmp_path / "model", "o1", "cpu")
