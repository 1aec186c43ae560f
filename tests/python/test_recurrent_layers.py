"""Recurrent layers as Keras 3 and TensorFlow 1 write them, against TensorFlow itself."""
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import blade  # noqa: E402
from test_control_flow import compare, frozen, real, spec  # noqa: E402

layers = tf.keras.layers
KERAS = {
    "gru": lambda: layers.GRU(8, return_sequences=True),
    "gru, reset first": lambda: layers.GRU(8, reset_after=False),
    "gru without biases": lambda: layers.GRU(8, use_bias=False, return_sequences=True, return_state=True),
    "lstm": lambda: layers.LSTM(8, return_sequences=True, return_state=True),
    "lstm, backwards": lambda: layers.LSTM(8, go_backwards=True, return_sequences=True),
    "plain": lambda: layers.SimpleRNN(8, return_sequences=True),
    "both ways": lambda: layers.Bidirectional(layers.GRU(5, return_sequences=True)),
    "lstm with hard gates": lambda: layers.LSTM(8, recurrent_activation="hard_sigmoid", return_sequences=True),
    "gru with hard gates": lambda: layers.GRU(8, recurrent_activation="hard_sigmoid"),
    "gru with hard gates, reset first": lambda: layers.GRU(8, recurrent_activation="hard_sigmoid", reset_after=False),
    "other activations": lambda: layers.LSTM(8, recurrent_activation="hard_sigmoid", activation="relu"),
}
MASKED = {
    "gru": lambda: layers.GRU(8),
    "gru, rows": lambda: layers.GRU(8, reset_after=False, return_sequences=True),
    "lstm": lambda: layers.LSTM(8),
    "lstm, rows": lambda: layers.LSTM(8, return_sequences=True),
    "lstm, rows of zeros": lambda: layers.LSTM(8, return_sequences=True, zero_output_for_mask=True),
    "both ways": lambda: layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
}


def compare_found(tmp_path, parts, feeds, found):
    """Compares, and counts the layers that are found in loops."""
    compare(tmp_path, *parts, feeds)
    _, inputs, outputs = parts
    engine = blade.Engine(tmp_path / "model.pb", outputs=outputs)
    ops = [step["op"] for step in engine.explain(dict(zip(inputs, feeds[0])))["plan"]["steps"]]
    assert ops.count("Recurrence") == found


def with_biases(model):
    """Keras begins with zeros, which would hide where a bias goes."""
    for i, variable in enumerate(model.weights):
        if "bias" in variable.path:
            variable.assign(real(*variable.shape, seed=i) * 0.3)
    return model


@pytest.mark.parametrize("lower", [False, True], ids=["functions", "frames"])
@pytest.mark.parametrize("kind", KERAS)
def test_keras(tmp_path, kind, lower):
    inputs = tf.keras.Input((None, 6))
    model = with_biases(tf.keras.Model(inputs, KERAS[kind]()(inputs)))
    parts = frozen(lambda x: model(x), [spec(None, None, 6)], lower)
    found = {"both ways": 2, "other activations": 0}.get(kind, 1)
    compare_found(tmp_path, parts, [(real(2, 7, 6),), (real(1, 3, 6),), (real(5, 1, 6),)], found)


@pytest.mark.parametrize("kind", MASKED)
def test_keras_with_a_mask(tmp_path, kind):
    inputs = tf.keras.Input((None,), dtype="int32")
    hidden = layers.Embedding(9, 6, mask_zero=True)(inputs)
    model = with_biases(tf.keras.Model(inputs, MASKED[kind]()(hidden)))
    parts = frozen(lambda x: model(x), [spec(None, None, dtype=tf.int32)], False)
    tokens = [[3, 1, 0, 5, 0], [0, 0, 2, 8, 1], [0, 0, 0, 0, 0]]
    feeds = [(np.array(tokens, np.int32),), (np.array([[4, 0, 0]], np.int32),)]
    compare_found(tmp_path, parts, feeds, 2 if kind == "both ways" else 1)


def lstm_cell(x, h, c):
    i, j, f, o = tf.split(tf.matmul(tf.concat([x, h], 1), real(14, 32)) + real(32, seed=1), 4, 1)
    c = tf.sigmoid(f + 1) * c + tf.sigmoid(i) * tf.tanh(j)
    return tf.sigmoid(o) * tf.tanh(c), c


def gru_cell(x, h, _):
    r, u = tf.split(tf.sigmoid(tf.matmul(tf.concat([x, h], 1), real(14, 16)) + real(16, seed=1)), 2, 1)
    g = tf.tanh(tf.matmul(tf.concat([x, r * h], 1), real(14, 8)))
    next_h = u * h + (1 - u) * g
    return next_h, next_h


def with_masks_of_ones(reset_first):
    """What Keras 2 makes of a cell with dropout and a product for each gate."""

    def step(x, h):
        wx, wh, b = real(6, 24), real(8, 24, seed=1), real(24, seed=2)

        def gate(i, state):
            columns = slice(8 * i, 8 * i + 8)
            x_part = tf.nn.bias_add(tf.matmul(x * tf.ones_like(x), wx[:, columns]), b[columns])
            return x_part, tf.matmul(state * tf.ones_like(state), tf.constant(wh)[:, columns])

        z, r = (tf.clip_by_value(0.2 * tf.add(*gate(i, h)) + 0.5, 0.0, 1.0) for i in range(2))
        if reset_first:
            g = tf.tanh(tf.add(*gate(2, r * (h * tf.ones_like(h)))))
        else:
            of_x, of_h = gate(2, h)
            g = tf.tanh(of_x + r * of_h)
        h = z * h + (1 - z) * g
        return h, h

    return step


def dynamic_rnn(cell):
    """What tf.nn.dynamic_rnn makes of a cell where it is given the samples' lengths."""

    def run(x, lengths):
        rows = tf.transpose(x, [1, 0, 2])
        steps, batch = tf.shape(rows)[0], tf.shape(rows)[1]
        sequence = tf.TensorArray(tf.float32, steps, element_shape=[None, 6]).unstack(rows)
        results = tf.TensorArray(tf.float32, steps, element_shape=[None, 8])
        zeros = tf.zeros([batch, 8])

        def step(t, h, c, results):
            over = (t >= lengths)[:, None]
            next_h, next_c = cell(sequence.read(t), h, c)
            results = results.write(t, tf.where(over, zeros, next_h))
            return t + 1, tf.where(over, h, next_h), tf.where(over, c, next_c), results

        end = tf.minimum(steps, tf.maximum(1, tf.reduce_max(lengths)))
        _, h, c, results = tf.while_loop(lambda t, *_: t < end, step, (0, zeros, zeros, results))
        return tf.transpose(results.stack(), [1, 0, 2]), h, c

    return run


@pytest.mark.parametrize("lower", [False, True], ids=["functions", "frames"])
@pytest.mark.parametrize("cell", [lstm_cell, gru_cell])
def test_dynamic_rnn_with_lengths(tmp_path, cell, lower):
    parts = frozen(dynamic_rnn(cell), [spec(None, None, 6), spec(None, dtype=tf.int32)], lower)
    lengths = [np.array([4, 1, 0], np.int32), np.array([6, 6], np.int32), np.array([3], np.int32)]
    compare_found(tmp_path, parts, [(real(n.size, 6, 6), n) for n in lengths], 1)


W, B = real(14, 24), real(24, seed=1)


def scan(step, states=1):
    """h after a loop over time, and all h: `step` gives those of a step, and the row that it writes."""

    def run(x, *more):
        rows = tf.transpose(x, [1, 0, 2])
        steps, batch = tf.shape(rows)[0], tf.shape(rows)[1]
        sequence = tf.TensorArray(tf.float32, steps, element_shape=[None, 6]).unstack(rows)
        results = tf.TensorArray(tf.float32, steps, element_shape=[None, 8])
        read = [tf.TensorArray(m.dtype, tf.shape(m)[0], element_shape=m.shape[1:]).unstack(m)
                if m.dtype == tf.bool else m for m in more]

        def body(t, results, *h):
            now = [m.read(t) if isinstance(m, tf.TensorArray) else t < m for m in read]
            row, *h = step(sequence.read(t), *now, *h)
            return (t + 1, results.write(t, row), *h)

        start = (0, results, *[tf.zeros([batch, 8])] * states)
        _, results, *h = tf.while_loop(lambda t, *_: t < steps, body, start)
        return (results.stack(), *h)

    return run


def gru_with(z=slice(0, 8), r=slice(8, 16), split=None):
    def step(x, h):
        s = tf.sigmoid(tf.matmul(tf.concat([x, h], 1), W) + B)
        update, reset = tf.split(s, split, 1)[:2] if split else (s[:, z], s[:, r])
        g = tf.tanh(tf.matmul(tf.concat([x, reset * h], 1), W[:, 16:]))
        h = update * h + (1 - update) * g
        return h, h

    return step


def gru_of_narrow_weights(x, h):
    both, weights = tf.concat([x, h], 1), tf.constant(W)
    z, r = tf.sigmoid(tf.matmul(both, weights[:, :1])), tf.sigmoid(tf.matmul(both, weights[:, 8:16]))
    h = z * h + (1 - z) * tf.tanh(tf.matmul(tf.concat([x, r * h], 1), weights[:, 16:]))
    return h, h


def lstm_of_one_forget_gate(x, h, c):
    s = tf.matmul(tf.concat([x, h], 1), real(14, 32))
    c = tf.sigmoid(s[:, 3:4]) * c + tf.sigmoid(s[:, 8:16]) * tf.tanh(s[:, 16:24])
    h = tf.sigmoid(s[:, 24:]) * tf.tanh(c)
    return h, h, c


def gru_whose_reset_scales(scale_h):
    def step(x, h):
        from_x, from_h, bias = tf.matmul(x, W[:6]) + B, tf.matmul(h, W[6:]), real(8, seed=5)
        z, r = (tf.sigmoid(from_x[:, i:i + 8] + from_h[:, i:i + 8]) for i in (0, 8))
        part = r * (from_h[:, 16:] + bias) if scale_h else from_h[:, 16:] + r * bias
        h = z * h + (1 - z) * tf.tanh(from_x[:, 16:] + part)
        return h, h

    return step


def gru_with_hard_gates(x, h):
    """Their largest number is 6 * (1 / 6) in float32, which is not quite 1."""
    sums, weights = tf.matmul(x, W[:6]) + B, tf.constant(W[6:])
    z, r = (tf.nn.relu6(sums[:, i:i + 8] + tf.matmul(h, weights[:, i:i + 8]) + 3.0) * (1 / 6) for i in (0, 8))
    h = z * h + (1 - z) * tf.tanh(sums[:, 16:] + r * tf.matmul(h, weights[:, 16:]))
    return h, h


STEPS = {
    "gru": (gru_with(), 1, 1),
    "gru of a split": (gru_with(split=[8, 8, 8]), 1, 1),
    "one update gate": (gru_with(z=slice(0, 1)), 1, 0),
    "one reset gate": (gru_with(r=slice(8, 9)), 1, 0),
    "one update gate of a split": (gru_with(split=[1, 8, 15]), 1, 0),
    "one update gate of narrow weights": (gru_of_narrow_weights, 1, 0),
    "one forget gate": (lstm_of_one_forget_gate, 2, 0),
    "masks of ones": (with_masks_of_ones(False), 1, 1),
    "masks of ones, reset first": (with_masks_of_ones(True), 1, 1),
    "hard gates of relu6": (gru_with_hard_gates, 1, 1),
    "reset scales h": (gru_whose_reset_scales(True), 1, 1),
    "reset scales a bias": (gru_whose_reset_scales(False), 1, 0),
}


@pytest.mark.parametrize("kind", STEPS)
def test_gates(tmp_path, kind):
    step, states, found = STEPS[kind]
    parts = frozen(scan(step, states), [spec(None, None, 6)], False)
    compare_found(tmp_path, parts, [(real(2, 5, 6),), (real(1, 3, 6),)], found)


def flags(*shape):
    return np.random.default_rng(3).random(shape) < 0.6


def ints(*values):
    return np.array(values, np.int32)


# Fed beside x [2, 5, 6]: the specs of both, what is fed.
FED = {
    "of any size": ((None, None, 6), spec(None, None, 1, dtype=tf.bool),
                    [flags(5, 2, 1), flags(5, 1, 1), flags(7, 2, 1)]),
    "of all samples": ((None, None, 6), spec(None, 1, 1, dtype=tf.bool), [flags(5, 1, 1)]),
    "of all samples, sizes known": ((2, 5, 6), spec(5, 1, 1, dtype=tf.bool), [flags(5, 1, 1)]),
    "longer than x": ((2, 5, 6), spec(7, 2, 1, dtype=tf.bool), [flags(7, 2, 1)]),
    "lengths": ((None, None, 6), spec(None, dtype=tf.int32), [ints(3, 4), ints(3), ints(9, -1)]),
    "one length": ((2, 5, 6), spec(1, dtype=tf.int32), [ints(3)]),
}


@pytest.mark.parametrize("kind", FED)
def test_masks_fed_beside_the_input(tmp_path, kind):
    def step(x, counts, h):
        h = tf.where(counts if counts.shape.rank == 2 else counts[:, None], gru_with()(x, h)[0], h)
        return h, h

    x, mask, fed = FED[kind]
    parts = frozen(scan(step), [spec(*x), mask], False)
    compare_found(tmp_path, parts, [(real(2, 5, 6), m) for m in fed], 1)


@pytest.mark.parametrize("mask_shape", [(None, None), (1, 5)])
def test_keras_with_a_mask_fed_beside_the_input(tmp_path, mask_shape):
    inputs, mask = tf.keras.Input((None, 6)), tf.keras.Input((None,), dtype="bool")
    model = with_biases(tf.keras.Model([inputs, mask], layers.LSTM(8)(inputs, mask=mask)))
    parts = frozen(lambda x, m: model([x, m]), [spec(2, 5, 6), spec(*mask_shape, dtype=tf.bool)], False)
    fed = [flags(1, 5)] if mask_shape[0] else [flags(2, 5), flags(1, 5), flags(2, 7)]
    compare_found(tmp_path, parts, [(real(2, 5, 6), m) for m in fed], 1)


def test_a_mask_of_cells_is_none_of_samples(tmp_path):
    def step(x, counts, h):
        h = tf.where(tf.broadcast_to(counts, [8, 8]), gru_with()(x, h)[0], h)
        return h, h

    parts = frozen(scan(step), [spec(8, 5, 6), spec(5, 8, dtype=tf.bool)], False)
    compare_found(tmp_path, parts, [(real(8, 5, 6), flags(5, 8))], 0)


@pytest.mark.parametrize("form", ["expanded", "reshaped", "tiled"])
def test_lengths_repeated_for_cells(tmp_path, form):
    def step(x, counts, h):
        counts = {"expanded": lambda c: tf.expand_dims(c, 1), "reshaped": lambda c: tf.reshape(c, [-1, 1]),
                  "tiled": lambda c: tf.tile(c[:, None], [1, 8])}[form](counts)
        h = tf.where(counts, gru_with()(x, h)[0], h)
        return h, h

    parts = frozen(scan(step), [spec(3, 5, 6), spec(3, dtype=tf.int32)], False)
    compare_found(tmp_path, parts, [(real(3, 5, 6), ints(2, 9, 0))], 1)


@pytest.mark.parametrize("keeps", ["its own", "another's"])
def test_rows_that_do_not_count(tmp_path, keeps):
    def two_layers(x, counts, h1, h2):
        next1, counts = gru_with()(x, h1)[0], counts[:, None]
        next2 = tf.tanh(tf.matmul(next1, W[:8, :8]) + tf.matmul(h2, W[:8, 8:16]))
        row = tf.where(counts, next2, h2 if keeps == "its own" else h1)
        return row, tf.where(counts, next1, h1), tf.where(counts, next2, h2)

    def lstm(x, counts, h, c):
        (next_h, next_c), counts = lstm_cell(x, h, c), counts[:, None]
        row = tf.where(counts, next_h, h if keeps == "its own" else c)
        return row, tf.where(counts, next_h, h), tf.where(counts, next_c, c)

    for step, layers_found in ((two_layers, 2), (lstm, 1)):
        parts = frozen(scan(step, 2), [spec(None, None, 6), spec(None, dtype=tf.int32)], False)
        compare_found(tmp_path, parts, [(real(3, 6, 6), ints(4, 1, 0))], layers_found if keeps == "its own" else 0)


def test_biases_that_are_unstacked_before_the_loop(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, None, 6], name="x")
        of_x, of_h = tf.unstack(tf.constant(real(2, 24)))
        wx, wh = tf.constant(real(6, 24, seed=1)), tf.constant(real(8, 24, seed=2))

        def step(x, h):
            xs = tf.split(tf.nn.bias_add(tf.matmul(x, wx), of_x), 3, 1)
            hs = tf.split(tf.nn.bias_add(tf.matmul(h, wh), of_h), 3, 1)
            z, r = tf.sigmoid(xs[0] + hs[0]), tf.sigmoid(xs[1] + hs[1])
            h = z * h + (1 - z) * tf.tanh(xs[2] + r * hs[2])
            return h, h

        outputs = scan(step)(x)
        parts = graph.as_graph_def(), ["x:0"], [output.name for output in outputs]
    compare_found(tmp_path, parts, [(real(2, 5, 6),), (real(1, 3, 6),)], 1)


@pytest.mark.parametrize("lower", [False, True], ids=["functions", "frames"])
def test_one_step_with_states_of_any_batch(tmp_path, lower):
    """Nothing says that states and inputs have the same batch; the loop that turns once is its body."""
    cell = layers.LSTM(8, return_state=True)
    x, h, c = tf.keras.Input((1, 6)), tf.keras.Input((8,)), tf.keras.Input((8,))
    model = with_biases(tf.keras.Model([x, h, c], cell(x, initial_state=[h, c])))
    parts = frozen(lambda x, h, c: model([x, h, c]), [spec(None, 1, 6), spec(None, 8), spec(None, 8)], lower)
    feeds = [(real(n, 1, 6), real(n, 8, seed=1), real(n, 8, seed=2)) for n in (1, 3)]
    compare(tmp_path, *parts, feeds)
    engine = blade.Engine(tmp_path / "model.pb", outputs=parts[2])
    names = [step["node"] for step in engine.explain(dict(zip(parts[1], feeds[0])))["plan"]["steps"]]
    assert not any("/cond/" in name for name in names)
