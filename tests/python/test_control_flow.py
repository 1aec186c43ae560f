"""Loops, branches, lists and sizes that data decides: engines without TensorFlow against TensorFlow itself."""
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2  # noqa: E402

import blade  # noqa: E402

tf1 = tf.compat.v1


def real(*shape, seed=0):
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def frozen(function, specs, lower):
    """(GraphDef, input names, output names) of a tf.function; `lower`: in the form of TensorFlow 1's control flow."""
    concrete = tf.function(function).get_concrete_function(*specs)
    frozen_function = convert_variables_to_constants_v2(concrete, lower_control_flow=lower)
    graph_def = frozen_function.graph.as_graph_def()
    return graph_def, [t.name for t in frozen_function.inputs], [t.name for t in frozen_function.outputs]


def run_tensorflow(graph_def, feed, outputs):
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.import_graph_def(graph_def, name="")
        return session.run(outputs, feed)


def compare(tmp_path, graph_def, inputs, outputs, feeds, tolerance=1e-5):
    path = tmp_path / "model.pb"
    path.write_bytes(graph_def.SerializeToString())
    engine = blade.Engine(path, outputs=outputs)
    for values in feeds:
        feed = dict(zip(inputs, values))
        want = run_tensorflow(graph_def, feed, outputs)
        got = engine.run(feed)
        for name, expected in zip(outputs, want):
            assert got[name].shape == expected.shape, name
            assert got[name].dtype == expected.dtype, name
            if np.issubdtype(expected.dtype, np.floating):
                np.testing.assert_allclose(got[name], expected, rtol=tolerance, atol=tolerance, err_msg=name)
            else:
                np.testing.assert_array_equal(got[name], expected, err_msg=name)


def spec(*shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype)


def collatz(x):
    steps, _ = tf.while_loop(lambda n, v: v > 1.5, lambda n, v: (n + 1, tf.where(v % 2 < 0.5, v / 2, 3 * v + 1)), (0, x))
    return steps


def growing(x):
    i = tf.constant(0)
    _, y = tf.while_loop(lambda i, y: i < 4, lambda i, y: (i + 1, tf.concat([y, x * tf.cast(i, tf.float32)], 0)), (i, x),
                         shape_invariants=(i.shape, tf.TensorShape([None, 3])))
    return y


def nested(x):
    def outer(i, acc):
        _, inner = tf.while_loop(lambda j, s: j < i, lambda j, s: (j + 1, s * 0.5 + x), (0, tf.zeros_like(x)))
        return i + 1, acc + inner

    return tf.while_loop(lambda i, acc: i < 5, outer, (0, tf.zeros_like(x)))[1]


def mapped(x):
    return tf.map_fn(lambda row: tf.nn.softmax(row) * 2, x)


def mapped_pair(x):
    return tf.map_fn(lambda row: (tf.reduce_sum(row), tf.argmax(row, output_type=tf.int32)), x,
                     fn_output_signature=(tf.float32, tf.int32))


def scanned(x):
    return tf.scan(lambda a, row: a * 0.5 + row, x)


def branches(x):
    return tf.cond(tf.reduce_sum(x) > 0, lambda: (x * 2, tf.shape(x)[0]), lambda: (tf.reverse(x, [0]) - 1, tf.constant(-1)))


def cases(x):
    k = tf.cast(x[0, 0], tf.int32)
    halves = [lambda: x, lambda: tf.cond(x[0, 1] > 0, lambda: x * 0.5, lambda: -x), lambda: tf.reverse(x, [1])]
    number = tf.switch_case(k, [lambda: 7, lambda: tf.shape(x)[0]])
    return tf.switch_case(k, halves), number, tf.switch_case(k % 2, [lambda: tf.constant(1.0), lambda: tf.constant(2.0)])


def branches_in_loop(x):
    def step(i, y):
        return i + 1, tf.cond(i % 2 == 0, lambda: y + x, lambda: y * 0.5)

    return tf.while_loop(lambda i, y: i < 6, step, (0, x))[1]


def growing_array(x):
    """A TensorArray that starts empty and grows by a write a step; the loop ends when the data says so."""
    array = tf.TensorArray(tf.float32, size=0, dynamic_size=True, element_shape=[None, 3])

    def step(i, y, array):
        return i + 1, y * 0.5, array.write(i, y)

    _, y, array = tf.while_loop(lambda i, y, _: tf.reduce_max(tf.abs(y)) > 0.2, step, (0, x, array))
    return array.stack(), y


def growing_array_of_unknown_elements(x):
    array = tf.TensorArray(tf.float32, size=0, dynamic_size=True, infer_shape=False)
    _, array = tf.while_loop(lambda i, _: i < 4, lambda i, a: (i + 1, a.write(i, x + tf.cast(i, tf.float32))), (0, array))
    return array.concat(), array.size()


def scattered_array(x):
    array = tf.TensorArray(tf.float32, size=0, dynamic_size=True, element_shape=[3]).scatter([2, 0], x[:2])
    return array.write(4, x[0]).gather([0, 2, 4])  # TensorFlow leaves the others as they are in memory


def split_array(x):
    array = tf.TensorArray(tf.float32, size=3, element_shape=[2, 3]).split(x, [2, 2, 2])
    return array.read(1) + array.read(2), array.concat()


def masked(x):
    kept = tf.boolean_mask(x, x[:, 0] > 0)
    return kept * 2, tf.shape(kept)[0], tf.where(x > 0.5), tf.reduce_sum(kept)


def unique(x):
    ids = tf.cast(x[:, 0] * 2, tf.int32)
    values, index, counts = tf.unique_with_counts(ids)
    return values * 3, tf.gather(values, index), counts


def boxes(x):
    scores = tf.sigmoid(x[:, 0])
    corners = tf.concat([x[:, 1:3], x[:, 1:3] + tf.abs(x[:, 3:5]) + 0.1], 1)
    kept = tf.image.non_max_suppression(corners, scores, 10, 0.3, 0.4)
    chosen = tf.gather(corners, kept)
    return tf.pad(chosen, [[0, 10 - tf.size(kept)], [0, 0]]), kept, tf.gather(scores, kept)


def invariants(x):
    """Attention over a memory that no iteration changes; the lengths decide how often it runs, perhaps never."""
    weight = tf.constant(real(5, 8))

    def step(i, state):
        keys = tf.transpose(tf.tanh(tf.matmul(x, weight)))
        return i + 1, tf.matmul(tf.nn.softmax(tf.matmul(state, keys)), tf.exp(-tf.abs(tf.matmul(x, weight)))) + state

    return tf.while_loop(lambda i, _: i < tf.cast(tf.reduce_max(x[:, 0]) * 3, tf.int32), step, (0, tf.ones([2, 8])))[1]


def griffin_lim(x):
    """Complex numbers as a variable of a loop, beside one that stays."""
    size = tf.cast(tf.abs(tf.signal.rfft(x)), tf.complex64)

    def step(i, spectrum):
        again = tf.signal.rfft(tf.signal.irfft(spectrum))
        return i + 1, size * again / tf.cast(tf.maximum(tf.abs(again), 1e-6), tf.complex64)

    return tf.signal.irfft(tf.while_loop(lambda i, _: i < 4, step, (0, size * tf.complex(0.6, 0.8)))[1])


def turning(x):
    """A variable that begins as real numbers; a product with a constant that is none."""
    turned = tf.while_loop(lambda i, z: tf.abs(z[0]) < 50.0, lambda i, z: (i + 1, z * tf.constant(1.5 + 1j, tf.complex64)),
                           (0, tf.cast(x + 1, tf.complex64)))[1]
    return tf.math.real(turned), tf.math.imag(turned)


def complex_branches(x):
    spectrum = tf.signal.fft(tf.cast(x, tf.complex64))
    chosen = tf.cond(tf.reduce_sum(x) > 0, lambda: spectrum * 2, lambda: tf.cast(x, tf.complex64))
    return tf.math.real(chosen), tf.math.imag(chosen), tf.abs(tf.square(chosen) / (chosen + 3.0))


def complex_halves(x):
    """An odd number of times each variable changes both halves, one alone, or neither."""
    start = tf.complex(x, x * 3 + 1)

    def step(i, turned, imaginary, real_, same):
        return (i + 1, tf.math.conj(turned), tf.complex(tf.math.real(imaginary), 2 * tf.math.imag(imaginary)),
                tf.complex(2 * tf.math.real(real_), tf.math.imag(real_)), same)

    ends = tf.while_loop(lambda i, *_: i < 3, step, (0, start, start, start, start))[1:]
    return [part(z) for z in ends for part in (tf.math.real, tf.math.imag)]


def complex_halves_of_branches(x):
    z = tf.complex(x, x * 3 + 1)
    a, b = tf.math.real(z), tf.math.imag(z)
    pairs = [(lambda: tf.math.conj(z), lambda: tf.identity(z)), (lambda: tf.complex(2 * a, b), lambda: tf.complex(a, 2 * b))]
    ends = [tf.cond(tf.reduce_sum(x) > 0, *pair) for pair in pairs] + [z]
    return [part(z) for z in ends for part in (tf.math.real, tf.math.imag)]


def written_in_place(x):
    """A decoder's cache as in Tensor2Tensor: each turn writes its row into what the turns hand on."""
    weights = tf.constant(real(3, 3, seed=1))

    def turn(i, cache, row):
        cache = tf.raw_ops.InplaceUpdate(x=cache, i=[i - 6], v=row[None])
        seen = tf.where(tf.range(6)[:, None, None] <= i, cache, tf.zeros_like(cache))
        return i + 1, cache, tf.tanh(tf.matmul(tf.reduce_sum(seen, 0), weights))

    empty = tf.zeros(tf.stack([6, tf.shape(x)[0], 3])) + 0 * x[None]
    return tf.while_loop(lambda i, *_: i < 6, turn, (0, empty, x))[1:]


CASES = {
    "written_in_place": (written_in_place, [spec(None, 3)], [(real(2, 3),), (real(5, 3),)]),
    "invariants": (invariants, [spec(None, 5)], [(real(4, 5) + 1,), (-np.abs(real(3, 5)),), (np.abs(real(6, 5)) + 1,)]),
    "griffin_lim": (griffin_lim, [spec(None, 32)], [(real(2, 32),), (real(5, 32),)]),
    "turning": (turning, [spec(None)], [(np.abs(real(3)),), (100 + np.abs(real(2)),)]),
    "complex_branches": (complex_branches, [spec(None, 8)], [(np.abs(real(2, 8)),), (-np.abs(real(3, 8)),)]),
    "complex_halves": (complex_halves, [spec(None)], [(real(3),), (real(5),)]),
    "complex_halves_of_branches": (complex_halves_of_branches, [spec(None)], [(np.abs(real(3)),), (-np.abs(real(4)),)]),
    "collatz": (collatz, [spec()], [(np.float32(v),) for v in (6, 1, 27)]),
    "growing": (growing, [spec(None, 3)], [(real(2, 3),), (real(0, 3),)]),
    "nested": (nested, [spec(None)], [(real(4),)]),
    "map": (mapped, [spec(None, 5)], [(real(3, 5),), (real(1, 5),), (real(7, 5),)]),
    "map_pair": (mapped_pair, [spec(None, 5)], [(real(3, 5),)]),
    "scan": (scanned, [spec(None, 4)], [(real(6, 4),), (real(2, 4),)]),
    "cond": (branches, [spec(None, 3)], [(real(4, 3),), (-np.abs(real(4, 3)),), (np.abs(real(2, 3)),)]),
    "cases": (cases, [spec(None, 3)], [(np.float32([[k, s, 5], [6, 7, 8]]),) for k in (0, 1, 2, 3, -1) for s in (1, -1)]),
    "cond_in_loop": (branches_in_loop, [spec(None)], [(real(5),)]),
    "mask": (masked, [spec(None, 3)], [(real(5, 3),), (-np.abs(real(5, 3)),), (real(0, 3),)]),
    "growing_array": (growing_array, [spec(None, 3)], [(real(2, 3),), (3 * real(4, 3),), (real(1, 3),)]),
    "growing_unknown": (growing_array_of_unknown_elements, [spec(None, 3)], [(real(2, 3),), (real(4, 3),)]),
    "scattered_array": (scattered_array, [spec(None, 3)], [(real(2, 3),), (real(4, 3),)]),
    "split_array": (split_array, [spec(6, 3)], [(real(6, 3),)]),
    "unique": (unique, [spec(None, 2)], [(real(9, 2),), (real(1, 2),)]),
    "boxes": (boxes, [spec(None, 5)], [(real(40, 5),), (real(40, 5, seed=1),), (-10 * np.abs(real(8, 5)),)]),
}


@pytest.mark.parametrize("lower", [False, True], ids=["functions", "frames"])
@pytest.mark.parametrize("name", CASES)
def test_without_tensorflow(tmp_path, name, lower):
    function, specs, feeds = CASES[name]
    compare(tmp_path, *frozen(function, specs, lower), feeds)


def keras_model(kind):
    layers = tf.keras.layers
    inputs = tf.keras.Input((None, 6))
    rnn = {
        "lstm": lambda: layers.LSTM(8, return_sequences=True),
        "gru": lambda: layers.GRU(8),
        "bidirectional": lambda: layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
    }[kind]()
    return tf.keras.Model(inputs, layers.Dense(3)(rnn(inputs)))


@pytest.mark.parametrize("lower", [False, True], ids=["functions", "frames"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "bidirectional"])
def test_keras_rnn(tmp_path, kind, lower):
    model = keras_model(kind)
    parts = frozen(lambda x: model(x), [spec(None, None, 6)], lower)
    compare(tmp_path, *parts, [(real(2, 7, 6),), (real(1, 3, 6),), (real(2, 7, 6, seed=4),)])


def test_what_stays_says_why(tmp_path):
    graph_def, inputs, outputs = frozen(
        lambda x: tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y + tf.random.uniform([])), (0, x))[1],
        [spec()], False)
    path = tmp_path / "model.pb"
    path.write_bytes(graph_def.SerializeToString())
    with pytest.raises(blade.BladeError, match="RandomUniform"):
        blade.Engine(path, outputs=outputs)


def test_a_call_that_cannot_be_inlined_says_why(tmp_path):
    def model(x):
        counts = tf.map_fn(lambda row: tf.raw_ops.HistogramFixedWidth(values=row, value_range=[0.0, 1.0], nbins=4), x,
                           fn_output_signature=tf.int32)
        return tf.nn.softmax(tf.cast(counts, tf.float32) @ tf.constant(real(4, 8)))

    graph_def, inputs, outputs = frozen(model, [spec(None, 16)], False)
    for function in graph_def.library.function:  # an op whose outputs Blade does not know
        for node in function.node_def:
            node.op = node.op.replace("HistogramFixedWidth", "ApproximateHistogram")
    path = tmp_path / "model.pb"
    path.write_bytes(graph_def.SerializeToString())
    with pytest.raises(blade.BladeError, match=r"a function call that cannot be inlined.*ApproximateHistogram"):
        blade.Engine(path, outputs=outputs)


def test_a_switch_by_index_around_what_stays():
    """A tf.switch_case of TensorFlow 1 with random numbers in one branch stays whole; what is around it does not."""
    def model(x):
        y = x
        for _ in range(4):
            y = tf.nn.softmax(y @ tf.constant(real(8, 8)) + 1)
        arms = [lambda: y * 2, lambda: y + tf.random.uniform([]) * 0, lambda: tf.nn.softmax(y @ tf.constant(real(8, 8)))]
        return tf.nn.softmax(tf.switch_case(tf.cast(x[0, 0], tf.int32), arms) @ tf.constant(real(8, 8, seed=1)))

    graph_def, inputs, outputs = frozen(model, [spec(None, 8)], True)
    assert any(node.op == "_SwitchN" for node in graph_def.node)
    feeds = [np.concatenate([np.full((3, 1), k, np.float32), real(3, 7)], 1) for k in (0, 1, 2, 5, -1)]
    config = blade.Config()
    config.tuning.disable_perf_check = True
    config.cpu_config.precision = "fp32"
    optimized, spec_, report = blade.optimize(graph_def, "o1", "cpu", config, outputs=outputs,
                                              test_data=[{inputs[0]: feeds[0]}])
    assert report.coverage["regions"] >= 1
    left = {row["op"]: row["reason"] for row in report.coverage["left_behind"]}
    assert "RandomUniform" in left["_SwitchN"]
    for x in feeds:
        with tf.Graph().as_default(), tf1.Session() as session, spec_:
            tf1.import_graph_def(optimized, name="")
            got = session.run(outputs, {inputs[0]: x})
        np.testing.assert_allclose(got[0], run_tensorflow(graph_def, {inputs[0]: x}, outputs)[0], rtol=1e-5, atol=1e-6)


def test_lists_of_complex_numbers_stay_with_a_reason():
    def mapped_complex(x):
        spectra = tf.map_fn(lambda row: tf.signal.fft(tf.cast(row, tf.complex64)), x, fn_output_signature=tf.complex64)
        y = tf.abs(spectra)
        for _ in range(4):
            y = tf.nn.softmax(tf.matmul(y, tf.constant(real(16, 16))) + 1)
        return y

    graph_def, inputs, outputs = frozen(mapped_complex, [spec(None, 16)], False)
    config = blade.Config()
    config.tuning.disable_perf_check = True
    feed = {inputs[0]: real(3, 16)}
    optimized, spec_, report = blade.optimize(graph_def, "o1", "cpu", config, outputs=outputs, test_data=[feed])
    reasons = {entry["reason"] for entry in report.coverage["left_behind"]}
    assert any("complex64" in reason for reason in reasons) and report.coverage["regions"] == 1
    with tf.Graph().as_default(), tf1.Session() as session, spec_:
        tf1.import_graph_def(optimized, name="")
        got = session.run(outputs, feed)
    np.testing.assert_allclose(got[0], run_tensorflow(graph_def, feed, outputs)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lower", [False, True], ids=["functions", "frames"])
@pytest.mark.parametrize("kind", ["loop", "cond"])
def test_imaginary_part_of_what_a_loop_or_branch_that_stays_reads(kind, lower):
    """The zeros that stand for it went with the attempt to import the loop."""

    def model(x):
        z = tf.cast(x, tf.complex64)

        def left_behind(z):  # Blade leaves Igamma to TensorFlow
            return z * tf.cast(tf.math.igamma(tf.abs(x) + 1, tf.abs(x)), tf.complex64)

        if kind == "loop":
            end = tf.while_loop(lambda i, _: i < 2, lambda i, z: (i + 1, left_behind(z)), (0, z))[1]
        else:
            end = tf.cond(tf.reduce_sum(x) > 0, lambda: left_behind(z), lambda: tf.identity(z))
        y = tf.math.imag(z) + x
        for _ in range(4):
            y = tf.nn.softmax(tf.matmul(y, tf.constant(real(16, 16))) + 1)
        return tf.abs(end), y

    graph_def, inputs, outputs = frozen(model, [spec(None, 16)], lower)
    config = blade.Config()
    config.tuning.disable_perf_check = True
    config.cpu_config.precision = "fp32"
    feed = {inputs[0]: np.abs(real(3, 16))}
    optimized, spec_, report = blade.optimize(graph_def, "o1", "cpu", config, outputs=outputs, test_data=[feed])
    assert report.accuracy["holds"] and report.coverage["regions"] >= 1
    with tf.Graph().as_default(), tf1.Session() as session, spec_:
        tf1.import_graph_def(optimized, name="")
        got = session.run(outputs, feed)
    for found, expected in zip(got, run_tensorflow(graph_def, feed, outputs)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lower", [False, True], ids=["functions", "frames"])
@pytest.mark.parametrize("name", ["map", "cases", "cond_in_loop", "mask", "boxes", "nested", "griffin_lim", "complex_branches"])
def test_optimized_in_tensorflow(name, lower):
    function, specs, feeds = CASES[name]
    graph_def, inputs, outputs = frozen(function, specs, lower)
    feed = dict(zip(inputs, feeds[0]))
    config = blade.Config()
    config.tuning.time_limit_s = 1
    config.cpu_config.precision = "fp32"
    optimized, spec_, report = blade.optimize(graph_def, "o1", "cpu", config=config, outputs=outputs, test_data=[feed])
    assert report.accuracy["holds"]
    for values in feeds:
        feed = dict(zip(inputs, values))
        want = run_tensorflow(graph_def, feed, outputs)
        with tf.Graph().as_default(), tf1.Session() as session, spec_:
            tf1.import_graph_def(optimized, name="")
            got = session.run(outputs, feed)
        for expected, found in zip(want, got):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_frame_that_stays():
    """What passes fold to constants inside a frame of TensorFlow 1 still belongs to the frame."""
    def rounded(y):
        return tf.strings.to_number(tf.strings.as_string(y, precision=2))

    def step(i, y):
        return i + 1, rounded(y) + tf.reduce_sum(tf.constant([0.25, 0.5]) * 2.0)

    graph_def, inputs, outputs = frozen(
        lambda x: tf.nn.softmax(tf.while_loop(lambda i, y: i < 3, step, (0, x * 2))[1]), [spec(4, 5)], True)
    feed = {inputs[0]: real(4, 5)}
    config = blade.Config()
    config.cpu_config.precision = "fp32"
    optimized, spec_, report = blade.optimize(graph_def, "o1", "cpu", config=config, outputs=outputs, test_data=[feed])
    assert report.accuracy["holds"]
    assert any("AsString" in entry["reason"] or entry["op"] == "AsString" for entry in report.coverage["left_behind"])
    with tf.Graph().as_default(), tf1.Session() as session, spec_:
        tf1.import_graph_def(optimized, name="")
        got = session.run(outputs, feed)
    np.testing.assert_allclose(got[0], run_tensorflow(graph_def, feed, outputs)[0], rtol=1e-5)


def test_what_waits_for_a_guarded_assertion(tmp_path):
    """The branches of an assertion that freezing has lowered do not make what comes after it conditional."""
    weight = real(6, 8)

    def checked(x):
        with tf.control_dependencies([tf.debugging.assert_greater(x, -1e9)]):
            y = tf.nn.relu(tf.identity(x) @ weight)
        return tf.nn.softmax(tf.debugging.assert_all_finite(y, "not finite"))

    compare(tmp_path, *frozen(checked, [spec(None, 6)], True), [(real(2, 6),), (real(5, 6),)])


def test_loops_inside_a_cond_of_tensorflow_1(tmp_path):
    tf1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            x, flag = tf1.placeholder(tf.float32, [None, 3], name="x"), tf1.placeholder(tf.bool, [], name="flag")

            def looped():
                array = tf.TensorArray(tf.float32, 4)
                _, y, array = tf1.while_loop(
                    lambda i, *_: i < 4, lambda i, y, a: (i + 1, y * 0.5 + x, a.write(i, y)), (0, x, array))
                return tf.reduce_sum(array.stack(), 0) + y

            before = tf1.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, y + 1.0), (0, x))[1]
            nested = tf1.cond(flag, lambda: tf1.cond(tf.reduce_sum(x) > 0, looped, lambda: -x), lambda: before * 2)
            tf.identity(nested, name="y")
    finally:
        tf1.enable_control_flow_v2()
    feeds = [(s * np.abs(real(2, 3)), np.bool_(flag)) for s in (1, -1) for flag in (True, False)]
    compare(tmp_path, graph.as_graph_def(), ["x:0", "flag:0"], ["y:0"], feeds)


def test_a_branch_that_these_shapes_do_not_fit(tmp_path):
    """Rows join where there are two columns; other inputs take the other branch."""
    def joined(x, plain):
        return tf.cond(plain, lambda: tf.concat([x, x], 0), lambda: tf.concat([x, tf.reshape(x, [-1, 2])], 0))

    graph_def, inputs, outputs = frozen(joined, [spec(None, None), spec(dtype=tf.bool)], lower=False)
    compare(tmp_path, graph_def, inputs, outputs, [(real(3, 4), np.bool_(True)), (real(3, 2), np.bool_(False))])
    engine = blade.Engine(tmp_path / "model.pb", outputs=outputs)
    with pytest.raises(blade.BladeError, match="4 and 2"):
        engine.run(dict(zip(inputs, (real(3, 4), np.bool_(False)))))
