"""Writes tf_resnet50_v1.5/: a seeded ResNet-50 v1.5 frozen by TensorFlow, and feed dicts of four batch sizes.

The graph has the layout of the well-known v1.5 file: NHWC, fixed padding before strided convolutions (Pad and a
VALID convolution), batch norm unfolded, the reads of frozen variables left as Identity nodes.
"""
import argparse
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
from graph_kit import GraphBuilder, run_session, tf, weight_count, write_folder  # noqa: E402
from images import pictures  # noqa: E402

FOLDER = "tf_resnet50_v1.5"
SEED = 50
CLASSES = 1001
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # filters, blocks, stride of the first block
CHANNEL_MEANS = np.array([123.68, 116.78, 103.94], np.float32)
BATCHES = (1, 2, 4, 8)


def preprocess(images):
    """Channel means off, as the published preprocessing of this model does."""
    return images - CHANNEL_MEANS


def conv_fixed_padding(net, x, filters, kernel, stride):
    """Convolution padded by its kernel alone: SAME where the stride is 1, else Pad and VALID."""
    if stride > 1:
        name = net.unique("Pad")
        before = (kernel - 1) // 2
        after = kernel - 1 - before
        paddings = np.array([[0, 0], [before, after], [before, after], [0, 0]], np.int32)
        x = net.apply(tf.pad, x, net.constant(paddings, name + "/paddings"), name=name)
    return net.conv2d(x, filters, kernel, stride, "SAME" if stride == 1 else "VALID")


def bottleneck(net, x, filters, stride, project):
    """1x1, 3x3 with the stride (that is v1.5), 1x1 of four times the filters, added to the shortcut."""
    shortcut = x
    if project:
        shortcut = net.batch_norm(conv_fixed_padding(net, x, 4 * filters, 1, stride), gamma=0.8)
    x = net.apply(tf.nn.relu, net.batch_norm(conv_fixed_padding(net, x, filters, 1, 1)), name=net.unique("Relu"))
    x = net.apply(tf.nn.relu, net.batch_norm(conv_fixed_padding(net, x, filters, 3, stride)), name=net.unique("Relu"))
    x = net.batch_norm(conv_fixed_padding(net, x, 4 * filters, 1, 1), gamma=0.25)
    x = net.apply(tf.add, x, shortcut, name=net.unique("add"))
    return net.apply(tf.nn.relu, x, name=net.unique("Relu"))


def build(calibration):
    """The network as a GraphDef, calibrated on float32 [n, 224, 224, 3]."""
    net = GraphBuilder(SEED, "resnet_model")
    x = net.placeholder("input_tensor", [None, 224, 224, 3], calibration)
    x = net.identity(conv_fixed_padding(net, x, 64, 7, 2), "resnet_model/initial_conv")
    x = net.apply(tf.nn.relu, net.batch_norm(x), name=net.unique("Relu"))
    x = net.apply(lambda a, name: tf.nn.max_pool2d(a, 3, 2, "SAME", name=name), x,
                  name="resnet_model/max_pooling2d/MaxPool")
    x = net.identity(x, "resnet_model/initial_max_pool")
    for stage, (filters, blocks, stride) in enumerate(STAGES):
        for block in range(blocks):
            x = bottleneck(net, x, filters, stride if block == 0 else 1, block == 0)
        x = net.identity(x, f"resnet_model/block_layer{stage + 1}")
    axes = net.constant(np.array([1, 2], np.int32), "resnet_model/Mean/reduction_indices")
    x = net.apply(lambda a, i, name: tf.reduce_mean(a, i, keepdims=True, name=name), x, axes, name="resnet_model/Mean")
    x = net.identity(x, "resnet_model/final_reduce_mean")
    x = net.apply(lambda a, name: tf.squeeze(a, [1, 2], name=name), x, name="resnet_model/Squeeze")
    x = net.identity(net.classifier(x, CLASSES), "resnet_model/final_dense")
    net.apply(tf.nn.softmax, x, name="softmax_tensor")
    net.apply(lambda a, i, name: tf.argmax(a, i, name=name), x, net.constant(np.array(1, np.int32), "ArgMax/dimension"),
              name="ArgMax")
    net.constant(np.array(112590, np.int64), "global_step")  # a leftover, as freezing a training graph leaves them
    return net.graph_def()


def check(graph_def, images):
    """Stops if the network is not the one promised: its size, and a softmax neither flat nor one-hot."""
    weights = weight_count(graph_def)
    if not 25.5e6 < weights < 25.8e6:
        sys.exit(f"the graph has {weights} weights, ResNet-50 has 25.6 million.")
    probabilities, classes = run_session(graph_def, {"input_tensor:0": images}, ["softmax_tensor:0", "ArgMax:0"])
    top = probabilities.max(1)
    print("weights: %.2f M; top-1: %s; classes: %s" % (weights / 1e6, np.round(top, 3), classes), file=sys.stderr)
    if not (top.min() > 0.05 and top.max() < 0.9):
        sys.exit(f"top-1 probabilities {top} leave the range 0.05 to 0.9.")


def write(folder):
    images = preprocess(pictures(1, 24))  # the first eight are the test data
    graph_def = build(images)
    images = images[:max(BATCHES)]
    check(graph_def, images)
    with open(os.path.join(folder, "frozen.pb"), "wb") as f:
        f.write(graph_def.SerializeToString(deterministic=True))
    for batch in BATCHES:
        np.save(os.path.join(folder, f"test_bc{batch}.npy"), {"input_tensor:0": images[:batch]}, allow_pickle=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=".", help=f"folder in which {FOLDER}/ is written (default: here)")
    write_folder(os.path.join(parser.parse_args().out, FOLDER), [os.path.abspath(__file__)], {}, write)


if __name__ == "__main__":
    main()
