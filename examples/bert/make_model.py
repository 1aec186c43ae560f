"""Writes NAME.pb and NAME.npz: a seeded BERT-style encoder with the ops that freezing the published TF1 code leaves.

Batch and sequence length are dynamic, so shapes are computed in the graph (Shape, StridedSlice, Pack, Reshape).
The first half of the layers has gelu by Erf, the second by Tanh, since both forms are in use.
"""
import argparse
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
from graph_kit import save_cases, tf, weight_count, write_folder  # noqa: E402

SEED = 512
SEGMENTS = 2
OUTPUTS = ("pooled_output:0", "sequence_output:0")


class Encoder:
    """Builds the encoder into the default graph; options: layers, hidden, heads, vocabulary, positions."""

    def __init__(self, options):
        self.options = options
        self.rng = np.random.default_rng(SEED)

    def weight(self, name, shape, deviation=0.02, mean=0.0):
        """A frozen variable: a Const and the Identity of its read."""
        array = (mean + deviation * self.rng.standard_normal(shape)).astype(np.float32)
        return tf.identity(tf.constant(array, name=name), name=name + "/read")

    def dense(self, x, outputs, name, activation=None):
        """x [rows, inputs] to [rows, outputs]; weights scaled to keep the variance, as training leaves them."""
        inputs = int(x.shape[-1])
        with tf.variable_scope(name):
            product = tf.matmul(x, self.weight("kernel", (inputs, outputs), 1 / np.sqrt(inputs)))
            y = tf.nn.bias_add(product, self.weight("bias", (outputs,)))
            return activation(y) if activation else y

    def layer_norm(self, x, name="LayerNorm"):
        """Layer norm as tf.contrib.layers wrote it: moments in pieces, then batch normalization's mul and add."""
        hidden = self.options["hidden"]
        with tf.variable_scope(name):
            beta = self.weight("beta", (hidden,), 0.05)
            gamma = self.weight("gamma", (hidden,), 0.1, 1.0)
            mean = tf.reduce_mean(x, [-1], keepdims=True, name="moments/mean")
            difference = tf.squared_difference(x, tf.stop_gradient(mean), name="moments/SquaredDifference")
            variance = tf.reduce_mean(difference, [-1], keepdims=True, name="moments/variance")
            scale = tf.multiply(tf.rsqrt(variance + 1e-12), gamma, name="batchnorm/mul")
            return tf.add(x * scale, beta - mean * scale, name="batchnorm/add_1")

    def embeddings(self, input_ids, segment_ids, batch, length):
        """[batch, length, hidden]: words by GatherV2, segments by OneHot and MatMul, positions by a slice."""
        hidden = self.options["hidden"]
        with tf.variable_scope("embeddings"):
            table = self.weight("word_embeddings", (self.options["vocabulary"], hidden), 0.5)
            words = tf.reshape(tf.gather(table, tf.reshape(input_ids, [-1])), tf.stack([batch, length, hidden]))
            one_hot = tf.one_hot(tf.reshape(segment_ids, [-1]), depth=SEGMENTS)
            segments = tf.matmul(one_hot, self.weight("token_type_embeddings", (SEGMENTS, hidden), 0.3))
            segments = tf.reshape(segments, tf.stack([batch, length, hidden]))
            positions = tf.slice(self.weight("position_embeddings", (self.options["positions"], hidden), 0.3),
                                 [0, 0], tf.stack([length, -1]))
            x = words + segments + tf.reshape(positions, tf.stack([1, length, hidden]))
            return tf.identity(self.layer_norm(x), name="dropout/Identity")

    def attention(self, x, bias, batch, length):
        """Multi-head self-attention of x [batch * length, hidden]; bias [batch, 1, length, length] is added."""
        heads = self.options["heads"]
        size = self.options["hidden"] // heads

        def split(y):
            y = tf.reshape(y, tf.stack([batch, length, heads, size]))
            return tf.transpose(y, [0, 2, 1, 3])

        with tf.variable_scope("self"):
            query, key, value = (split(self.dense(x, heads * size, n)) for n in ("query", "key", "value"))
            scores = tf.multiply(tf.matmul(query, key, transpose_b=True), 1 / np.sqrt(float(size)))
            probabilities = tf.identity(tf.nn.softmax(scores + bias), name="dropout/Identity")
            context = tf.transpose(tf.matmul(probabilities, value), [0, 2, 1, 3])
            return tf.reshape(context, tf.stack([batch * length, heads * size]))

    def layer(self, x, bias, batch, length, gelu):
        """One transformer layer on x [batch * length, hidden]."""
        hidden = self.options["hidden"]
        with tf.variable_scope("attention"):
            context = self.attention(x, bias, batch, length)
            with tf.variable_scope("output"):
                x = self.layer_norm(self.dense(context, hidden, "dense") + x)
        with tf.variable_scope("intermediate"):
            y = self.dense(x, 4 * hidden, "dense", gelu)
        with tf.variable_scope("output"):
            return self.layer_norm(self.dense(y, hidden, "dense") + x)

    def build(self):
        """Adds the whole encoder, from the three placeholders to the two outputs."""
        hidden, layers = self.options["hidden"], self.options["layers"]
        input_ids = tf.placeholder(tf.int32, [None, None], name="input_ids")
        input_mask = tf.placeholder(tf.int32, [None, None], name="input_mask")
        segment_ids = tf.placeholder(tf.int32, [None, None], name="segment_ids")
        with tf.variable_scope("bert"):
            shape = tf.shape(input_ids)
            batch, length = shape[0], shape[1]
            x = self.embeddings(input_ids, segment_ids, batch, length)
            with tf.variable_scope("encoder"):
                mask = tf.cast(tf.reshape(input_mask, tf.stack([batch, 1, length])), tf.float32)
                mask = tf.ones(tf.stack([batch, length, 1]), tf.float32) * mask
                bias = (1.0 - tf.expand_dims(mask, axis=[1])) * -10000.0
                x = tf.reshape(x, [-1, hidden])
                for i in range(layers):
                    with tf.variable_scope(f"layer_{i}"):
                        x = self.layer(x, bias, batch, length, gelu_erf if 2 * i < layers else gelu_tanh)
                sequence = tf.reshape(x, tf.stack([batch, length, hidden]))
            with tf.variable_scope("pooler"):
                first = tf.squeeze(sequence[:, 0:1, :], axis=1)
                pooled = self.dense(first, hidden, "dense", tf.tanh)
        tf.identity(sequence, name="sequence_output")
        tf.identity(pooled, name="pooled_output")


def gelu_erf(x):
    return x * 0.5 * (1.0 + tf.erf(x / np.sqrt(2.0).astype(np.float32)))


def gelu_tanh(x):
    inner = np.sqrt(2 / np.pi).astype(np.float32) * (x + 0.044715 * tf.pow(x, 3))
    return x * (0.5 * (1.0 + tf.tanh(inner)))


def feeds(rng, options, batch, length):
    """Random token ids; all but the first sequence padded, the last third of each of segment 1."""
    ids = rng.integers(0, options["vocabulary"], (batch, length), dtype=np.int32)
    used = np.array([length if i == 0 else rng.integers(length // 2, length + 1) for i in range(batch)])
    mask = (np.arange(length)[None, :] < used[:, None]).astype(np.int32)
    segments = (np.arange(length)[None, :] >= 2 * length // 3).astype(np.int32) * mask
    return {"input_ids:0": ids * mask, "input_mask:0": mask, "segment_ids:0": segments}


def write(folder, name, options):
    graph = tf.Graph()
    with graph.as_default():
        Encoder(options).build()
    graph_def = graph.as_graph_def()
    print("%s: %d nodes, %.2f M weights" % (name, len(graph_def.node), weight_count(graph_def) / 1e6), file=sys.stderr)
    with open(os.path.join(folder, name + ".pb"), "wb") as f:
        f.write(graph_def.SerializeToString(deterministic=True))
    rng = np.random.default_rng(SEED + 1)
    lengths = [(1, 128), (2, 64)] if options["positions"] >= 128 else [(1, options["positions"])] * 2
    cases = [feeds(rng, options, batch, length) for batch, length in lengths]
    save_cases(os.path.join(folder, name + ".npz"), graph_def, cases, OUTPUTS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=".", help="folder in which NAME/ is written (default: here)")
    parser.add_argument("--name", help="folder and file name (default: bert_tiny, or bert_base with --base)")
    parser.add_argument("--base", action="store_true", help="12 layers, hidden 768, 12 heads, vocabulary 30522")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--hidden", type=int)
    parser.add_argument("--heads", type=int)
    parser.add_argument("--vocabulary", "--vocab", type=int)
    parser.add_argument("--positions", type=int)
    arguments = parser.parse_args()
    options = dict(layers=2, hidden=128, heads=2, vocabulary=1000, positions=512)
    if arguments.base:
        options.update(layers=12, hidden=768, heads=12, vocabulary=30522)
    options.update({k: v for k, v in vars(arguments).items() if k in options and v is not None})
    if options["hidden"] % options["heads"]:
        parser.error(f"--hidden {options['hidden']} must be a multiple of --heads {options['heads']}.")
    name = arguments.name or ("bert_base" if arguments.base else "bert_tiny")
    write_folder(os.path.join(arguments.out, name), [os.path.abspath(__file__)], options,
                 lambda folder: write(folder, name, options))


if __name__ == "__main__":
    main()
