"""Writes mobilenet_v2.pb and mobilenet_v2.npz: a seeded MobileNet-V2 1.0 224 with batch norm unfolded, and test cases."""
import argparse
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
from graph_kit import GraphBuilder, save_cases, tf, weight_count, write_folder  # noqa: E402
from images import pictures  # noqa: E402

FOLDER = "mobilenet_v2"
SEED = 2018
CLASSES = 1001
# expansion, output channels, repeats, stride of the first: the table of the paper
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def relu6(net, x):
    return net.apply(tf.nn.relu6, x, name=net.unique("Relu6"))


def inverted_residual(net, x, expansion, filters, stride):
    """1x1 expansion, depthwise 3x3, linear 1x1, and the input added where the shapes agree."""
    shortcut = x
    channels = int(x.value.shape[-1])
    if expansion > 1:
        x = relu6(net, net.batch_norm(net.conv2d(x, channels * expansion, 1, 1, "SAME"), gamma=1.2))
    x = relu6(net, net.batch_norm(net.depthwise(x, 3, stride), gamma=1.2))
    has_shortcut = stride == 1 and filters == channels
    x = net.batch_norm(net.conv2d(x, filters, 1, 1, "SAME"), gamma=0.25 if has_shortcut else 1.0)
    if has_shortcut:
        x = net.apply(tf.add, x, shortcut, name=net.unique("add"))
    return x


def build(calibration):
    """The network as a GraphDef, calibrated on float32 [n, 224, 224, 3] in -1..1."""
    net = GraphBuilder(SEED, "MobilenetV2", alignment=0.25)
    x = net.placeholder("input", [None, 224, 224, 3], calibration)
    x = relu6(net, net.batch_norm(net.conv2d(x, 32, 3, 2, "SAME")))
    for expansion, filters, repeats, stride in BLOCKS:
        for i in range(repeats):
            x = inverted_residual(net, x, expansion, filters, stride if i == 0 else 1)
    x = relu6(net, net.batch_norm(net.conv2d(x, 1280, 1, 1, "SAME")))
    axes = net.constant(np.array([1, 2], np.int32), "MobilenetV2/Mean/reduction_indices")
    x = net.apply(lambda a, i, name: tf.reduce_mean(a, i, name=name), x, axes, name="MobilenetV2/Mean")
    net.apply(tf.nn.softmax, net.classifier(x, CLASSES), name="output")
    return net.graph_def()


def write(folder):
    images = pictures(1, 24) / np.float32(127.5) - 1
    graph_def = build(images)
    weights = weight_count(graph_def)
    print("weights: %.2f M" % (weights / 1e6), file=sys.stderr)
    if not 3.5e6 < weights < 3.7e6:
        sys.exit(f"the graph has {weights} weights, MobileNet-V2 has about 3.6 million with its statistics.")
    with open(os.path.join(folder, "mobilenet_v2.pb"), "wb") as f:
        f.write(graph_def.SerializeToString(deterministic=True))
    cases = [{"input:0": images[:1]}, {"input:0": images[1:5]}]
    save_cases(os.path.join(folder, "mobilenet_v2.npz"), graph_def, cases, ["output:0"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=".", help=f"folder in which {FOLDER}/ is written (default: here)")
    write_folder(os.path.join(parser.parse_args().out, FOLDER), [os.path.abspath(__file__)], {}, write)


if __name__ == "__main__":
    main()
