"""Activations as exporters spell them, behind a product, a convolution and an elementwise op, against TensorFlow."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tiny_models

import blade

SPECIALS = [np.nan, np.inf, -np.inf, 1e37, -1e37, 0, -0.0, -100, 100, -3, 3, -88, -90, 1e-30, 0.7, -1.3]
SIXTH = 1 / 6


def clip(x):
    return tf.clip_by_value(x, 0.0, 1.0)


SPELLINGS = {
    "hard sigmoid of relu6, times": lambda x: tf.nn.relu6(x + 3.0) * 0.16666667,
    "hard sigmoid of relu6, divided": lambda x: tf.nn.relu6(3.0 + x) / 6.0,
    "hard sigmoid of limits": lambda x: tf.minimum(tf.maximum(x + 3.0, 0.0), 6.0) / 6.0,
    "hard sigmoid of a line": lambda x: clip(x * SIXTH + 0.5),
    "hard sigmoid of a quotient": lambda x: clip(0.5 + x / 6.0),
    "hard sigmoid of a divided sum": lambda x: tf.maximum(0.0, tf.minimum(1.0, (x + 3.0) / 6.0)),
    "hard sigmoid of another slope": lambda x: clip(0.2 * x + 0.5),
    "hard sigmoid times another": lambda x: clip(x / 6.0 + 0.5) * tf.abs(x),
    "sigmoid": tf.sigmoid,
    "sigmoid of exp": lambda x: 1.0 / (1.0 + tf.exp(-x)),
    "swish of a quotient": lambda x: x / (1.0 + tf.exp(-x)),
    "swish of a quotient, swapped": lambda x: x / (tf.exp(-1.0 * x) + 1.0),
    "hard swish of relu6": lambda x: x * tf.nn.relu6(x + 3.0) / 6.0,
    "hard swish of limits": lambda x: (x / 6.0) * tf.maximum(tf.minimum(x + 3.0, 6.0), 0.0),
    "hard swish of a line": lambda x: x * clip(x * 0.1666667 + 0.5),
    "hard swish of a quotient": lambda x: clip(0.5 + x / 6.0) * x,
    "hard swish of a divided sum": lambda x: x * clip((x + 3.0) / 6.0),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spelling(name, tmp_path):
    curve = SPELLINGS[name]
    values = np.float32(SPECIALS + np.linspace(-9, 9, 101).tolist()).reshape(1, -1, 1, 1)
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        x = tf.placeholder(tf.float32, values.shape, name="x")
        wide = tf.tile(x, [1, 3, 1, 17])  # of no whole number of vectors
        outputs = [
            curve(tf.matmul(tf.reshape(x, [-1, 1]), tf.ones([1, 17]))),
            curve(tf.nn.conv2d(x, tf.ones([1, 1, 1, 16]), 1, "SAME")),
            curve(tf.nn.depthwise_conv2d(wide, tf.ones([1, 1, 17, 1]), [1, 1, 1, 1], "SAME")),
            curve(wide + 0.5),
        ]
        named = [tf.identity(y, name=f"y{i}").op.name for i, y in enumerate(outputs)]
        want = session.run(outputs, {x: values})
        path = tiny_models.write(graph.as_graph_def(), tmp_path / "model.pb")
    got = blade.Engine(path, outputs=named).run({"x": values})
    for key, answer in zip(named, want):
        np.testing.assert_allclose(got[key], answer, rtol=1e-5, atol=1e-6, err_msg=key)
