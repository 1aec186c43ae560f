"""Seeded graphs with what training code and freezing leave behind: TF-Slim and TF-Hub style, conditions on is_training."""
import numpy as np
from classic import Classic, freeze

from graph_kit import tf
from images import pictures

SEED = 2016


class _Layers:
    """Layers in the default graph as TF-Slim froze them: variables read through chains of Identity, batch norm in pieces."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def variable(self, array, name):
        read = tf.identity(tf.constant(np.asarray(array, np.float32), name=name), name=name + "/read")
        return tf.identity(read, name=name + "/read_1")

    def conv(self, x, filters, kernel, stride, scope):
        channels = int(x.shape[-1])
        w = self.rng.standard_normal((kernel, kernel, channels, filters)) * np.sqrt(2.0 / (kernel * kernel * channels))
        return tf.nn.conv2d(x, self.variable(w, scope + "/weights"), [1, stride, stride, 1], "SAME", name=scope + "/Conv2D")

    def statistics(self, channels, scope):
        rng = self.rng
        return (self.variable(rng.normal(0, 0.3, channels), scope + "/moving_mean"),
                self.variable(rng.uniform(0.5, 1.5, channels), scope + "/moving_variance"),
                self.variable(rng.normal(0, 0.2, channels), scope + "/beta"),
                self.variable(rng.uniform(0.7, 1.3, channels), scope + "/gamma"))

    def batch_norm_in_pieces(self, x, scope):
        """x * (rsqrt(variance + e) * gamma) + (beta - mean * the same), nothing folded, as tf.nn.batch_normalization."""
        mean, variance, beta, gamma = self.statistics(int(x.shape[-1]), scope)
        factor = tf.multiply(tf.rsqrt(tf.add(variance, 1e-3)), gamma)
        return tf.add(tf.multiply(x, factor), tf.subtract(beta, tf.multiply(mean, factor)), name=scope + "/add_1")

    def batch_norm_by_division(self, x, scope):
        """gamma * (x - mean) / sqrt(variance + e) + beta, as hand-written layers have it."""
        mean, variance, beta, gamma = self.statistics(int(x.shape[-1]), scope)
        return tf.add(gamma * ((x - mean) / tf.sqrt(variance + 1e-3)), beta, name=scope + "/add")

    def flattened(self, x):
        """tf.layers.flatten: Shape, StridedSlice, Pack, Reshape."""
        batch = tf.strided_slice(tf.shape(x), [0], [1], [1], shrink_axis_mask=1)
        y = tf.reshape(x, tf.stack([batch, -1]))
        y.set_shape([None, int(np.prod(x.shape.as_list()[1:]))])
        return y

    def dense(self, x, units, scope):
        channels = int(x.shape[-1])
        w = self.rng.standard_normal((channels, units)) / np.sqrt(channels)
        return tf.nn.bias_add(tf.matmul(x, self.variable(w, scope + "/weights")),
                              self.variable(self.rng.normal(0, 0.1, units), scope + "/biases"))


def _images(size):
    return pictures(3, 4, size) / np.float32(127.5) - 1


def _cases(images, **more):
    return [{"input:0": images[:b], **more} for b in (1, 3)]


def slim_cnn(small=False):
    """A TF-Slim classifier with Identity chains, control dependencies, Assert, CheckNumerics, Print, Dropout remnants and a
    Shape/StridedSlice/Pack/Reshape flattening."""
    size, width = (32, 8) if small else (224, 32)
    layers, images = _Layers(SEED), _images(size)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, None, None, 3], name="input")
        checks = [tf.Assert(tf.equal(tf.shape(x)[3], 3), ["three channels are expected, found", tf.shape(x)], name="check/Assert"),
                  tf.debugging.assert_rank(x, 4)]
        with tf.control_dependencies([c for c in checks if c is not None]):
            y = tf.identity(x, name="checked")
        y = tf.image.resize_bilinear(y, [size, size], align_corners=True)
        for i, (filters, stride) in enumerate(((width, 2), (2 * width, 2), (4 * width, 2))):
            scope = f"conv_{i}"
            y = layers.conv(y, filters, 3, stride, scope)
            norm = layers.batch_norm_in_pieces if i % 2 == 0 else layers.batch_norm_by_division
            y = tf.nn.relu(tf.debugging.check_numerics(norm(y, scope + "/BatchNorm"), "not a number in " + scope))
        y = tf.Print(y, [tf.shape(y)], "features", first_n=0, name="Print")
        y = layers.flattened(y)
        keep = tf.constant(1.0, name="dropout/keep_prob")  # inference's remnant of dropout: multiply by what is 1
        y = tf.identity(tf.multiply(tf.div(y, keep), tf.floor(tf.add(keep, 0.0)), name="dropout/mul"), name="dropout/Identity")
        logits = layers.dense(y, 10, "logits")
        with tf.control_dependencies([tf.no_op(name="finished")]):
            logits = tf.identity(tf.stop_gradient(logits), name="Logits")
        tf.nn.softmax(logits, name="output")
        tf.summary.histogram("histogram", logits)  # nothing reads it
    return Classic(graph.as_graph_def(), [{"input:0": images[:1]}, {"input:0": images[:3, : size - 3]}], ["output:0"])


def training_flags(small=False):
    """A TensorFlow 1 graph with is_training as a placeholder with a default: batch norm and dropout behind tf.cond."""
    size, width = (24, 8) if small else (128, 32)
    layers, images = _Layers(SEED + 1), _images(size)
    with tf.Graph().as_default() as graph:
        tf.disable_control_flow_v2()
        x = tf.placeholder(tf.float32, [None, size, size, 3], name="input")
        training = tf.placeholder_with_default(False, [], name="is_training")
        y = x
        for i, filters in enumerate((width, 2 * width)):
            scope = f"conv_{i}"
            y = layers.conv(y, filters, 3, 2, scope)
            mean, variance, beta, gamma = layers.statistics(filters, scope)

            def by_batch(y=y, gamma=gamma, beta=beta):
                m, v = tf.nn.moments(y, [0, 1, 2])
                return tf.nn.batch_normalization(y, m, v, beta, gamma, 1e-3)

            def by_average(y=y, gamma=gamma, beta=beta, mean=mean, variance=variance):
                return tf.nn.fused_batch_norm(y, gamma, beta, mean, variance, 1e-3, is_training=False)[0]

            y = tf.nn.relu(tf.cond(training, by_batch, by_average))
        y = tf.reduce_mean(y, [1, 2])
        y = tf.cond(training, lambda y=y: tf.nn.dropout(y, rate=0.5), lambda y=y: tf.identity(y))
        tf.nn.softmax(layers.dense(y, 10, "logits"), name="output")
        graph_def = graph.as_graph_def()
        tf.enable_control_flow_v2()
    return Classic(graph_def, _cases(images), ["output:0"])


def keras_preprocessing(small=False):
    """A Keras model with its preprocessing inside: uint8 pictures resized, cropped, rescaled and normalized; numbers normalized."""
    import tensorflow as tf2

    size, width = (32, 8) if small else (160, 32)
    tf2.keras.utils.set_random_seed(SEED)
    layers = tf2.keras.layers
    picture = tf2.keras.Input([None, None, 3], dtype="uint8", name="picture")
    numbers = tf2.keras.Input([4], name="numbers")
    x = layers.Resizing(size + 4, size + 4)(tf2.keras.ops.cast(picture, "float32"))
    x = layers.Rescaling(1 / 127.5, offset=-1)(layers.CenterCrop(size, size)(x))
    for filters in (width, 2 * width):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="swish")(x)
    x = layers.GlobalAveragePooling2D()(x)
    n = layers.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 4.0, 0.5, 2.0])(numbers)
    y = layers.Dense(16, activation="gelu")(layers.Concatenate()([x, n]))
    model = tf2.keras.Model([picture, numbers], layers.Dense(3, activation="softmax")(layers.Dropout(0.3)(y)))
    spec = [tf2.TensorSpec([None, None, None, 3], tf2.uint8, name="picture"), tf2.TensorSpec([None, 4], tf2.float32, name="numbers")]
    graph_def, inputs, outputs = freeze(lambda p, n: model([p, n], training=False), *spec)
    rng = np.random.default_rng(SEED)
    cases = [{inputs[0]: rng.integers(0, 256, (b, h, w, 3), dtype=np.uint8), inputs[1]: rng.normal(2, 1, (b, 4)).astype(np.float32)}
             for b, h, w in ((1, 40, 60), (2, size, size))]
    return Classic(graph_def, cases, outputs)
