"""Recurrent layers as Keras 3 and TensorFlow 1 write them, against TensorFlow itself."""
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
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
    compare(tmp_path, *parts, [(real(2, 7, 6),), (real(1, 3, 6),), (real(5, 1, 6),)])


@pytest.mark.parametrize("kind", MASKED)
def test_keras_with_a_mask(tmp_path, kind):
    inputs = tf.keras.Input((None,), dtype="int32")
    hidden = layers.Embedding(9, 6, mask_zero=True)(inputs)
    model = with_biases(tf.keras.Model(inputs, MASKED[kind]()(hidden)))
    parts = frozen(lambda x: model(x), [spec(None, None, dtype=tf.int32)], False)
    tokens = [[3, 1, 0, 5, 0], [0, 0, 2, 8, 1], [0, 0, 0, 0, 0]]
    compare(tmp_path, *parts, [(np.array(tokens, np.int32),), (np.array([[4, 0, 0]], np.int32),)])


def lstm_cell(x, h, c):
    i, j, f, o = tf.split(tf.matmul(tf.concat([x, h], 1), real(14, 32)) + real(32, seed=1), 4, 1)
    c = tf.sigmoid(f + 1) * c + tf.sigmoid(i) * tf.tanh(j)
    return tf.sigmoid(o) * tf.tanh(c), c


def gru_cell(x, h, c):
    r, u = tf.split(tf.sigmoid(tf.matmul(tf.concat([x, h], 1), real(14, 16)) + real(16, seed=1)), 2, 1)
    g = tf.tanh(tf.matmul(tf.concat([x, r * h], 1), real(14, 8)))
    return u * h + (1 - u) * g, c


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
    compare(tmp_path, *parts, [(real(n.size, 6, 6), n) for n in lengths])
