"""Small seeded TensorFlow graphs that several tests use."""
import numpy as np
import tensorflow.compat.v1 as tf


def conv_net(height=None, width=None, batch=None):
    """A GraphDef: input 'x' [batch,height,width,3] float32 -> 'probabilities' [batch,10]."""
    random = np.random.default_rng(7)

    def weight(*shape):
        return tf.constant(random.normal(0, 0.2, shape).astype(np.float32))

    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [batch, height, width, 3], name="x")
        y = tf.nn.conv2d(x, weight(3, 3, 3, 32), strides=2, padding="SAME", name="conv1")
        y = tf.nn.relu(tf.nn.bias_add(y, weight(32)))
        y = tf.nn.depthwise_conv2d(y, weight(3, 3, 32, 1), strides=[1, 1, 1, 1], padding="SAME", name="depthwise")
        y = tf.nn.relu6(tf.nn.bias_add(y, weight(32)))
        shortcut = y
        y = tf.nn.conv2d(y, weight(3, 3, 32, 32), strides=1, padding="SAME", name="conv2")
        y = tf.nn.relu(y + shortcut, name="residual")
        y = tf.reduce_mean(y, [1, 2])
        y = tf.matmul(y, weight(32, 10)) + weight(10)
        tf.nn.softmax(y, name="probabilities")
        return graph.as_graph_def()


def image(batch=1, height=32, width=32):
    """A feed for conv_net."""
    return {"x:0": np.random.default_rng(1).uniform(0, 1, (batch, height, width, 3)).astype(np.float32)}


def run(graph_def, feed, outputs):
    """The answers of TensorFlow with its graph optimizer off: the graph as written."""
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        tf.import_graph_def(graph_def, name="")
        return session.run(outputs, feed)


def write(graph_def, path):
    """Writes a .pb and gives its path as a string."""
    path.write_bytes(graph_def.SerializeToString())
    return str(path)
