"""Models that stay in TensorFlow in part or whole: unknown ops, regions too small to pay, and random graphs around them."""
import functools
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
import tiny_models

import blade
import blade.runtime.tensorflow

SOURCE = pathlib.Path(__file__).parent / "custom_ops.cc"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A library of ops that neither TensorFlow nor Blade knows; not loaded into this process by the fixture."""
    path = tmp_path_factory.mktemp("custom") / "libmystery.so"
    flags = tf2.sysconfig.get_compile_flags() + tf2.sysconfig.get_link_flags()
    subprocess.run(["g++", "-shared", "-fPIC", "-O1", str(SOURCE), "-o", str(path), *flags], check=True)
    return str(path)


@pytest.fixture(scope="module")
def mystery(library):
    return tf.load_op_library(library)


def weight(rng, *shape):
    return tf.constant((rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32))


def kept(config=None):
    config = config or blade.Config()
    config.tuning.disable_perf_check = True
    config.cpu_config.precision = "fp32"
    return config


def run(graph_def, feed, outputs):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run(outputs, feed)


def left(report):
    return {entry["node"]: entry for entry in report.coverage["left_behind"]}


def test_model_with_an_unknown_op(library, mystery):
    rng = np.random.default_rng(1)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 64], name="x")
        y = tf.nn.relu(tf.matmul(x, weight(rng, 64, 256), name="before"))
        y = mystery.mystery_scale(y, name="strange")
        tf.nn.softmax(tf.matmul(tf.nn.relu(y), weight(rng, 256, 64)), name="after")
    graph_def = graph.as_graph_def()
    feed = {"x:0": rng.standard_normal((4, 64)).astype(np.float32)}
    optimized, _, report = blade.optimize(graph_def, "o1", "cpu", kept(), test_data=[feed], custom_ops=[library])
    assert report.accuracy["holds"] and report.coverage["regions"] == 2
    assert list(left(report)) == ["strange"]
    assert left(report)["strange"]["op"] == "MysteryScale"
    assert left(report)["strange"]["reason"] == "Blade does not know the op MysteryScale"
    np.testing.assert_allclose(run(optimized, feed, "after:0"), tiny_models.run(graph_def, feed, "after:0"), rtol=1e-4, atol=1e-6)


def test_a_library_in_the_working_directory(library, tmp_path):
    """Its bare name is a path, too, though the system's loader would not look here for it."""
    program = (
        "import blade, tensorflow.compat.v1 as tf\n"
        "graph = tf.GraphDef()\n"
        "graph.node.add(name='x', op='Placeholder').attr['dtype'].type = 1\n"
        "graph.node.add(name='y', op='MysteryScale', input=['x'])\n"
        "blade.optimize(graph, 'o1', 'cpu', input_shapes=[['2']], custom_ops='libmystery.so')\n")
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, cwd=pathlib.Path(library).parent)


def test_missing_library_is_named(mystery, tmp_path):
    with tf.Graph().as_default() as graph:
        mystery.mystery_scale(tf.placeholder(tf.float32, [2], name="x"), name="y")
    with pytest.raises(blade.BladeError, match="no_such.so"):
        blade.optimize(graph.as_graph_def(), "o1", "cpu", custom_ops=[str(tmp_path / "no_such.so")])


def test_a_process_without_the_library_says_what_is_missing(library, tmp_path):
    """An op that nobody has registered: TensorFlow cannot run the model, and custom_ops is the remedy."""
    (tmp_path / "optimize.py").write_text(
        "import blade, sys\n"
        "try:\n"
        "    blade.optimize(sys.argv[1], 'o1', 'cpu')\n"
        "except blade.BladeError as error:\n"
        "    print(error)\n")
    with tf.Graph().as_default() as graph:
        tf.load_op_library(library).mystery_scale(tf.placeholder(tf.float32, [2], name="x"), name="y")
    path = tiny_models.write(graph.as_graph_def(), tmp_path / "net.pb")
    done = subprocess.run([sys.executable, tmp_path / "optimize.py", path], capture_output=True, text=True, timeout=120)
    assert "MysteryScale" in done.stdout and "custom_ops" in done.stdout, done.stdout + done.stderr


class WithVariables(tf2.Module):
    def __init__(self):
        self.weights = tf2.Variable(np.eye(64, dtype=np.float32))


def test_a_saved_model_with_variables_and_unknown_ops(library, mystery, tmp_path):
    """Freezing it takes the library, in a process that has not loaded it."""
    model = WithVariables()
    model.call = tf2.function(lambda x: mystery.mystery_scale(tf2.nn.relu(tf2.matmul(x, model.weights))))
    signature = model.call.get_concrete_function(tf2.TensorSpec([None, 64], tf2.float32, name="x"))
    tf2.saved_model.save(model, str(tmp_path / "saved"), signatures=signature)
    for libraries, code, words in (([], 2, "custom_ops"), ([library], 0, ""), ([str(tmp_path / "none.so")], 2, "none.so")):
        done = subprocess.run([sys.executable, "-m", "blade.freeze", tmp_path / "saved", tmp_path / "frozen", "", *libraries],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == code and words in done.stderr, done.stderr
    assert (tmp_path / "frozen" / "saved_model.pb").exists()


def test_model_with_only_unknown_ops(library, mystery):
    with tf.Graph().as_default() as graph:
        y, z = mystery.mystery_split(mystery.mystery_scale(tf.placeholder(tf.float32, [None, 3], name="x"), name="a"), name="b")
        mystery.mystery_scale(z, name="c")
        tf.identity(y, name="d")
    graph_def = graph.as_graph_def()
    feed = {"x:0": np.ones((2, 3), np.float32)}
    optimized, _, report = blade.optimize(graph_def, "o1", "cpu", kept(), outputs=["c", "d"], test_data=[feed],
                                          custom_ops=[library])
    assert optimized == graph_def, "given back as it came"
    assert report.coverage["regions"] == 0 and report.coverage["nodes_in_engines"] == 0
    assert {"a", "b", "c"} <= set(left(report))
    assert report.optimizations[0]["status"] == "passed" and "no part" in report.optimizations[0]["message"]
    assert report.overall["baseline"] == report.overall["optimized"]


def test_region_too_small_to_pay(library, mystery):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 3], name="x")
        y = mystery.mystery_scale(tf.add(x, 1.0, name="tiny_before"), name="strange")
        tf.multiply(y, 3.0, name="tiny_after")
    graph_def = graph.as_graph_def()
    feed = {"x:0": np.ones((2, 3), np.float32)}
    optimized, _, report = blade.optimize(graph_def, "o1", "cpu", kept(), test_data=[feed], custom_ops=[library])
    assert optimized == graph_def
    assert "too small to pay its hand-over" in left(report)["tiny_before"]["reason"]
    assert "too small to pay its hand-over" in left(report)["tiny_after"]["reason"]


def test_what_stays_has_a_cost(library, mystery):
    rng = np.random.default_rng(2)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 128], name="x")
        y = tf.matmul(x, weight(rng, 128, 512), name="large")
        y = tf.matmul(mystery.mystery_scale(y, name="strange"), weight(rng, 512, 128))
        y = tf.sparse.sparse_dense_matmul(tf.sparse.from_dense(y), weight(rng, 128, 128), name="sparse")
        tf.identity(y, name="out")
    feed = {"x:0": rng.standard_normal((8, 128)).astype(np.float32)}
    _, _, report = blade.optimize(graph.as_graph_def(), "o1", "cpu", kept(), outputs=["out"], test_data=[feed], custom_ops=[library])
    assert 0 < report.coverage["nodes_share"] < 1
    # Two products, five nodes that make y sparse, the product with that, and "out"; constants and x do not count.
    assert report.coverage["nodes_in_engines"] == 9 and list(left(report)) == ["strange"] and report.coverage["nodes"] == 10
    assert 0 < report.coverage["flops_share"] <= 1
    assert report.coverage["boundary_bytes"] > 0


def test_nodes_that_fold_away_are_counted_apart():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 64], name="x")
        folds = tf.transpose(tf.sqrt(tf.abs(tf.constant(np.eye(64, dtype=np.float32)))))
        tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, folds)), folds), name="y")
    feed = {"x:0": np.ones((4, 64), np.float32)}
    _, _, report = blade.optimize(graph.as_graph_def(), "o1", "cpu", kept(), outputs=["y"], test_data=[feed])
    assert report.coverage["left_behind"] == []
    assert report.coverage["nodes"] == report.coverage["nodes_in_engines"] == 4
    assert report.coverage["nodes_folded"] >= 3 and report.coverage["nodes_share"] == 1


# ---------------------------------------------------------------------------------------------------------------------
# Random graphs: whatever the regions, the answers are the same and there is no cycle.


def random_graph(mystery, seed):
    """A DAG of known ops, unknown ops of one and two results, control edges and several outputs."""
    rng = np.random.default_rng(seed)
    unary = [tf.nn.relu, tf.tanh, tf.square, lambda a: tf.transpose(tf.transpose(a)), lambda a: a * 0.5 + 0.25, tf.identity]
    with tf.Graph().as_default() as graph:
        values = [tf.placeholder(tf.float32, [48, 48], name=f"x{i}") for i in range(rng.integers(1, 4))]
        inputs = [v.name for v in values]
        for i in range(int(rng.integers(8, 30))):
            a, b = (values[max(0, len(values) - 1 - int(rng.exponential(4)))] for _ in range(2))
            controls = [values[int(rng.integers(len(values)))].op] if rng.random() < 0.15 else []
            with tf.control_dependencies(controls):
                kind = rng.random()
                if kind < 0.2:
                    values.append(tf.tanh(mystery.mystery_scale(a)))
                elif kind < 0.3:
                    values += mystery.mystery_split(tf.tanh(a))
                elif kind < 0.6:
                    values.append(tf.matmul(a, weight(rng, 48, 48)) if rng.random() < 0.6 else tf.matmul(a, b) / 48.0)
                elif kind < 0.8:
                    values.append(tf.add(a, b) if rng.random() < 0.7 else tf.maximum(a, b))
                else:
                    values.append(unary[int(rng.integers(len(unary)))](a))
        read = {t.name for op in graph.get_operations() for t in op.inputs}
        outputs = [v.name for v in values if v.name not in read and v.name not in inputs]
        outputs += [v.name for v in values if v.name in read and v.name not in inputs and rng.random() < 0.1]
    feed = {name: rng.uniform(-1, 1, (48, 48)).astype(np.float32) for name in inputs}
    return graph.as_graph_def(), feed, outputs


def has_maximum_with_double(graph_def):
    """max(x, x + x), which TensorFlow's graph optimizer may make a leaky ReLU of slope 2, that is the minimum, where its
    oneDNN kernels are on. The optimizer then gives the original graph back."""
    nodes = {n.name: n for n in graph_def.node}
    return any(
        set(nodes[double].input[:2]) == {x}
        for n in graph_def.node if n.op == "Maximum" for double, x in (n.input[:2], n.input[1::-1]) if nodes[double].op == "AddV2")


@functools.lru_cache(maxsize=None)
def regions_seen():
    return []


@pytest.mark.parametrize("seed", range(24))
def test_random_graphs_keep_their_answers(library, mystery, seed):
    graph_def, feed, outputs = random_graph(mystery, seed)
    optimized, _, report = blade.optimize(graph_def, "o1", "cpu", kept(), outputs=outputs, test_data=[feed], custom_ops=[library])
    assert report.accuracy["holds"] or has_maximum_with_double(graph_def), report.accuracy
    for got, want, name in zip(run(optimized, feed, outputs), tiny_models.run(graph_def, feed, outputs), outputs):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * max(1, np.abs(want).max()), err_msg=name)
    regions_seen().append(report.coverage["regions"])


def test_random_graphs_had_regions():
    seen = regions_seen()
    if len(seen) < 24:
        pytest.skip("the random graphs did not run")
    assert sum(count > 1 for count in seen) >= 8, f"too few graphs were divided: {seen}"


def test_complex_numbers_outside_of_an_engine():
    """A model's complex output is checked like any other; what a loop does with complex numbers stays whole."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 64], name="x")
        spectrum = tf.signal.rfft(tf.nn.relu(tf.matmul(x, weight(np.random.default_rng(1), 64, 256))))
        tf.identity(spectrum, name="spectrum")
        tf.identity(tf.abs(tf.while_loop(lambda i, s: i < 3, lambda i, s: (i + 1, s * 2), [0, spectrum])[1]), name="size")
    feed = {"x:0": np.random.default_rng(2).standard_normal((4, 64)).astype(np.float32)}
    outputs = ["spectrum:0", "size:0"]
    optimized, _, report = blade.optimize(graph.as_graph_def(), "o1", "cpu", kept(), outputs=outputs, test_data=[feed])
    assert report.accuracy["holds"] and "MatMul" not in {entry["op"] for entry in report.coverage["left_behind"]}
    for want, got in zip(run(graph.as_graph_def(), feed, outputs), run(optimized, feed, outputs)):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)


def test_a_branch_that_is_never_taken_does_not_count():
    """is_training has a default, and is no input: the dropout stays away, until a run asks for it."""
    rng = np.random.default_rng(1)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 64], name="x")
        training = tf.placeholder_with_default(False, [], name="is_training")
        y = tf.nn.relu(tf.matmul(x, weight(rng, 64, 256)))
        y = tf.cond(training, lambda: tf.nn.dropout(y, rate=0.5), lambda: tf.identity(y))
        tf.nn.softmax(tf.matmul(y, weight(rng, 256, 64)), name="y")
    feed = {"x:0": rng.standard_normal((4, 64)).astype(np.float32)}
    optimized, _, report = blade.optimize(graph.as_graph_def(), "o1", "cpu", kept(), outputs=["y"], test_data=[feed])
    assert report.coverage["left_behind"] == []
    want = tiny_models.run(graph.as_graph_def(), feed, "y:0")
    np.testing.assert_allclose(run(optimized, feed, "y:0"), want, rtol=1e-4, atol=1e-6)
    trained = run(optimized, {**feed, "is_training:0": True}, "y:0")
    assert np.abs(trained - want).max() > 1e-3


def test_placeholders_that_no_output_needs(tmp_path):
    rng = np.random.default_rng(1)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 64], name="x")
        labels = tf.placeholder(tf.float32, [None, 64], name="labels")
        y = tf.nn.softmax(tf.matmul(tf.nn.relu(tf.matmul(x, weight(rng, 64, 256))), weight(rng, 256, 64)), name="y")
        tf.reduce_mean(tf.square(y - labels), name="loss")
    feed = {"x:0": rng.standard_normal((4, 64)).astype(np.float32)}
    want = tiny_models.run(graph.as_graph_def(), feed, "y:0")
    engine = blade.Engine(tiny_models.write(graph.as_graph_def(), tmp_path / "net.pb"), outputs=["y"])
    assert [info.name for info in engine.inputs] == ["x"]
    np.testing.assert_allclose(engine.run(feed)["y"], want, rtol=1e-4, atol=1e-6)
    # Test data for all placeholders will do.
    everything = {**feed, "labels:0": np.zeros((4, 64), np.float32)}
    optimized, _, report = blade.optimize(graph.as_graph_def(), "o1", "cpu", kept(), outputs=["y"], test_data=[everything])
    assert report.coverage["left_behind"] == []
    np.testing.assert_allclose(run(optimized, feed, "y:0"), want, rtol=1e-4, atol=1e-6)


def test_a_model_in_bfloat16_is_held_to_that_type():
    rng = np.random.default_rng(3)

    def half(*shape):
        return tf.cast(weight(rng, *shape), tf.bfloat16)

    with tf.Graph().as_default() as graph:
        x = tf.cast(tf.placeholder(tf.float32, [None, 64], name="x"), tf.bfloat16)
        for _ in range(3):
            x = tf.nn.relu(tf.matmul(x, half(64, 64)) + half(64))
        tf.cast(tf.nn.softmax(x), tf.float32, name="y")
    feed = {"x:0": rng.standard_normal((4, 64)).astype(np.float32)}
    _, _, report = blade.optimize(graph.as_graph_def(), "o1", "cpu", kept(), outputs=["y"], test_data=[feed])
    assert report.accuracy["holds"] and report.coverage["left_behind"] == []
    assert "computes in bfloat16" in report.diagnosis["message"]


# ---------------------------------------------------------------------------------------------------------------------
# State that only TensorFlow has.


def layers(rng, x, *sizes):
    for a, b in zip(sizes, sizes[1:]):
        x = tf.nn.relu(tf.matmul(x, weight(rng, a, b)))
    return x


def optimized_around(build, tmp_path):
    """A SavedModel of `build(rng) -> (call, specs)`, optimized; what stays, after its answers were compared."""
    rng = np.random.default_rng(5)
    module = tf2.Module()
    call, feed = build(module, rng)
    module.call = tf2.function(call, input_signature=[tf2.TensorSpec([None, *v.shape[1:]], v.dtype, name=k) for k, v in feed.items()])
    folder = str(tmp_path / "model")
    tf2.saved_model.save(module, folder, signatures={"serving_default": module.call})
    target, _, report = blade.optimize(folder, "o1", "cpu", kept(), test_data=[feed])
    given = {k: tf2.constant(v) for k, v in feed.items()}
    want = tf2.saved_model.load(folder).signatures["serving_default"](**given)
    got = tf2.saved_model.load(target).signatures["serving_default"](**given)
    for key, value in want.items():
        np.testing.assert_allclose(got[key].numpy(), value.numpy(), rtol=1e-4, atol=1e-6)
    return report


def test_mutable_table_stays_and_the_rest_does_not(tmp_path):
    def build(module, rng):
        module.table = tf2.lookup.experimental.DenseHashTable(tf2.int64, tf2.int64, -1, -9, -8)
        module.table.insert(np.arange(10, dtype=np.int64), np.arange(10, dtype=np.int64)[::-1].copy())
        embedding = weight(rng, 12, 64)

        def call(ids, x):
            rows = tf.gather(embedding, tf.maximum(module.table.lookup(ids), 0))
            return {"y": tf.nn.softmax(layers(rng, tf.concat([rows, x], 1), 128, 256, 256, 32))}

        return call, {"ids": np.array([1, 5, 77], np.int64), "x": rng.standard_normal((3, 64)).astype(np.float32)}

    report = optimized_around(build, tmp_path)
    assert report.coverage["regions"] >= 1 and report.accuracy["holds"]
    assert any("table" in entry["reason"] for entry in report.coverage["left_behind"])


def around(batched, rng, x):
    """Layers before a batched function and behind it."""
    return {"y": tf.nn.softmax(layers(rng, batched(layers(rng, x, 64, 256, 64)), 64, 256, 256, 32))}


def expect_batched_function_left(build, tmp_path):
    def with_feed(module, rng):
        return build(module, rng), {"x": rng.standard_normal((4, 64)).astype(np.float32)}

    report = optimized_around(with_feed, tmp_path)
    assert report.coverage["regions"] >= 1 and report.accuracy["holds"]
    assert any(entry["op"] == "BatchFunction" for entry in report.coverage["left_behind"])


def test_batched_function_stays_and_the_rest_does_not(tmp_path):
    def build(module, rng):
        module.scale = tf2.Variable(np.full(64, 2, np.float32))

        @tf2.nondifferentiable_batch_function(1, 8, 1000)
        def batched(x):
            return x * module.scale

        def call(x):
            return around(batched, rng, x)

        return call

    expect_batched_function_left(build, tmp_path)


def test_what_else_a_batched_function_reads_is_left_alone(tmp_path):
    """Captures that are no variables keep their types; a function that is called twice is changed once."""
    def build(module, rng):
        module.scale = tf2.Variable(np.full(64, 2, np.float32))

        @tf2.function(autograph=False)
        def scaled(x):
            return x * module.scale

        def call(x):
            size, ones = tf.shape(x), tf.cast(tf.ones_like(x[0], tf.int32), tf.float32)

            @tf2.nondifferentiable_batch_function(1, 8, 1000)
            def batched(x):
                return scaled(scaled(x)) + ones * tf.cast(size[0], tf.float32)

            return around(batched, rng, x)

        return call

    expect_batched_function_left(build, tmp_path)


def test_nothing_waits_for_checks_that_were_stripped():
    """Else what an Assert looks at would be computed in TensorFlow beside the engine."""
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [None, 32], name="x")
        weights = np.random.default_rng(5).standard_normal((32, 32)).astype(np.float32)
        y = tf.nn.relu(tf.matmul(x, weights, name="product"))
        with tf.control_dependencies([tf.Assert(tf.reduce_all(y >= 0), [y], name="check")]):
            y = tf.matmul(tf.tanh(y), weights)
        with tf.control_dependencies([tf.no_op(), y]):
            tf.identity(tf.nn.softmax(y), name="out")
    feed = {"x:0": np.ones((2, 32), np.float32)}
    config = blade.Config()
    config.tuning.disable_perf_check = True
    optimized, _, report = blade.optimize(graph.as_graph_def(), "o1", "cpu", config, outputs=["out"], test_data=[feed])
    assert report.coverage["regions"] == 1
    assert not {"Assert", "MatMul", "Relu"} & {node.op for node in optimized.node}


@pytest.mark.parametrize("operand", ["number", "tensor"])
def test_what_is_written_before_the_outputs_is_still_written(operand, tmp_path):
    """Of an op that adds a number TensorFlow gives the control edge to the number alone."""
    rng = np.random.default_rng(5)
    path = tmp_path / "written"
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 128], name="x")
        y = tf.nn.relu(tf.matmul(x, weight(rng, 128, 128)))
        offset = 1.0 if operand == "number" else tf.constant(np.ones(128, np.float32))
        with tf.control_dependencies([tf.io.write_file(str(path), "done")]):
            y = y + offset
        tf.nn.softmax(tf.matmul(y, weight(rng, 128, 8)), name="y")
    feed = {"x:0": rng.standard_normal((4, 128)).astype(np.float32)}
    optimized, _, report = blade.optimize(
        graph.as_graph_def(), "o1", "cpu", kept(), outputs=["y"], test_data=[feed])
    assert report.coverage["regions"] >= 1
    path.unlink(missing_ok=True)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(optimized, name="")
        session.run("y:0", feed)
    assert path.read_text() == "done"


def test_images_that_a_loop_of_tensorflow_1_decodes():
    """The loop stays, with the array of its results; the network behind it does not."""
    rng = np.random.default_rng(5)
    tf.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            files = tf.placeholder(tf.string, [None], name="files")

            def decoded(file):
                image = tf.image.decode_png(file, channels=3)
                return tf.image.resize_bilinear(tf.cast(image, tf.float32)[tf.newaxis], [24, 24])[0]

            y = tf.map_fn(decoded, files, dtype=tf.float32) / 127.5 - 1.0
            y = tf.nn.relu(tf.nn.conv2d(y, tf.constant(rng.normal(0, 0.2, (3, 3, 3, 32)).astype(np.float32)), 1, "SAME"))
            tf.nn.softmax(tf.matmul(tf.reduce_mean(y, [1, 2]), weight(rng, 32, 5)), name="y")
    finally:
        tf.enable_control_flow_v2()
    graph_def = graph.as_graph_def()

    def pictures(count):
        sizes = [(30 + i, 20 + 2 * i, 3) for i in range(count)]
        return np.array([tf2.io.encode_png(rng.integers(0, 256, size, np.uint8)).numpy() for size in sizes], object)

    feed = {"files:0": pictures(3)}
    optimized, _, report = blade.optimize(graph_def, "o1", "cpu", kept(), outputs=["y"], test_data=[feed])
    assert report.optimizations[0]["status"] == "effective" and report.coverage["regions"] == 1
    assert "TensorArrayGatherV3" in {entry["op"] for entry in report.coverage["left_behind"]}
    assert report.coverage["flops_share"] > 0.9
    before = blade.runtime.tensorflow.counters()["engine_runs"]
    for count in (3, 2, 5):
        feed = {"files:0": pictures(count)}
        want, got = run(graph_def, feed, "y:0"), run(optimized, feed, "y:0")
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    assert blade.runtime.tensorflow.counters()["engine_runs"] > before
