"""Seeded convolutional networks in the forms in which people have them frozen: sizes by argument, statistics calibrated."""
import numpy as np
from classic import Classic

from graph_kit import GraphBuilder, tf
from images import pictures


def _images(size, count=8, scale=127.5):
    return pictures(1, count, size) / np.float32(scale) - 1


def _cases(images, name="input:0", batches=(1, 3)):
    return [{name: np.ascontiguousarray(np.resize(images, (b, *images.shape[1:])))} for b in batches]


def _act(net, function, x, kind):
    return net.apply(function, x, name=net.unique(kind))


def _conv_bn_relu(net, x, filters, kernel, stride=1, padding="SAME"):
    """Convolution, batch norm and ReLU; `kernel` is a number or a (height, width)."""
    return _act(net, tf.nn.relu, net.batch_norm(net.conv2d(x, filters, kernel, stride, padding), gamma=1.4), "Relu")


def _pool(net, x, kind, window, stride, padding="SAME"):
    function = tf.nn.max_pool2d if kind == "max" else tf.nn.avg_pool2d
    return net.apply(lambda a, name: function(a, window, stride, padding, name=name), x, name=net.unique(kind + "_pool"))


def _global_mean(net, x, keepdims=False):
    name = net.unique("Mean")
    axes = net.constant(np.array([1, 2], np.int32), name + "/reduction_indices")
    return net.apply(lambda a, i, name: tf.reduce_mean(a, i, keepdims=keepdims, name=name), x, axes, name=name)


def _swish(net, x):
    gate = _act(net, tf.sigmoid, x, "Sigmoid")
    return net.apply(tf.multiply, x, gate, name=net.unique("mul"))


# ---------------------------------------------------------------------------------------------------------------------
# EfficientNet

_EFFICIENTNET_B0 = (  # expansion, filters, repeats, stride, kernel: the table of the paper
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3))


def _squeeze_excite(net, x, squeezed):
    """x times a gate of its own channel means: Mean, 1x1, swish, 1x1, Sigmoid, as keras.applications exports it."""
    channels = int(x.value.shape[-1])
    gate = _global_mean(net, x, keepdims=True)
    gate = _swish(net, net.bias(net.conv2d(gate, squeezed, 1, 1, "SAME"), deviation=0.1))
    gate = net.bias(net.conv2d(gate, channels, 1, 1, "SAME"), deviation=0.5)
    return net.apply(tf.multiply, x, _act(net, tf.sigmoid, gate, "Sigmoid"), name=net.unique("mul"))


def efficientnet(small=False):
    """EfficientNet-B0: inverted residuals with squeeze-and-excite and swish."""
    size, classes = (64, 16) if small else (224, 1000)
    blocks = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 1, 2, 5)] if small else _EFFICIENTNET_B0
    net = GraphBuilder(64, "efficientnet")
    images = _images(size, 8 if small else 12)
    x = net.placeholder("input", [None, size, size, 3], images)
    x = _swish(net, net.batch_norm(net.conv2d(x, 32, 3, 2, "SAME")))
    for expansion, filters, repeats, stride, kernel in blocks:
        for i in range(repeats):
            shortcut, channels = x, int(x.value.shape[-1])
            if expansion > 1:
                x = _swish(net, net.batch_norm(net.conv2d(x, channels * expansion, 1, 1, "SAME"), gamma=1.5))
            x = _swish(net, net.batch_norm(net.depthwise(x, kernel, stride if i == 0 else 1), gamma=1.5))
            x = _squeeze_excite(net, x, max(1, channels // 4))
            x = net.batch_norm(net.conv2d(x, filters, 1, 1, "SAME"), gamma=0.6)
            if i > 0 and filters == channels:
                x = net.apply(tf.add, x, shortcut, name=net.unique("add"))
    x = _swish(net, net.batch_norm(net.conv2d(x, 128 if small else 1280, 1, 1, "SAME"), gamma=1.5))
    net.apply(tf.nn.softmax, net.classifier(_global_mean(net, x), classes), name="output")
    return Classic(net.graph_def(), _cases(images), ["output:0"])


# ---------------------------------------------------------------------------------------------------------------------
# U-Net


def unet(small=False, upsampling="transpose"):
    """U-Net with any height and width that its levels divide; upsampling: 'transpose' or 'bilinear' (its own 2x2 conv)."""
    base, levels, size = (8, 2, 32) if small else (32, 4, 256)
    net = GraphBuilder(1505, "unet", alignment=0.25)
    images = _images(size, 4)
    x = net.placeholder("input", [None, None, None, 3], images)
    skips = []
    for level in range(levels):
        x = _conv_bn_relu(net, _conv_bn_relu(net, x, base << level, 3), base << level, 3)
        skips.append(x)
        x = _pool(net, x, "max", 2, 2, "VALID")
    x = _conv_bn_relu(net, _conv_bn_relu(net, x, base << levels, 3), base << levels, 3)
    for level in reversed(range(levels)):
        if upsampling == "transpose":
            x = net.bias(net.conv2d_transpose(x, base << level, 2, 2))
        else:
            x = _conv_bn_relu(net, net.resize_bilinear(x, 2), base << level, 2)
        name = net.unique("concat")
        axis = net.constant(np.array(3, np.int32), name + "/axis")
        x = net.apply(lambda a, b, i, name: tf.concat([a, b], int(i) if hasattr(i, "numpy") else i, name=name), skips[level], x,
                      axis, name=name)
        x = _conv_bn_relu(net, _conv_bn_relu(net, x, base << level, 3), base << level, 3)
    logits = net.bias(net.conv2d(x, 2, 1, 1, "SAME"))
    net.apply(tf.nn.softmax, logits, name="output")
    step = 1 << levels
    other = np.ascontiguousarray(np.resize(images[1], (1, size + step, size - step if size > 2 * step else size, 3)))
    return Classic(net.graph_def(), [*_cases(images, batches=(1, 2)), {"input:0": other}], ["output:0"])


# ---------------------------------------------------------------------------------------------------------------------
# Inception-V3


def _branches(net, *branches):
    name = net.unique("concat")
    axis = net.constant(np.array(3, np.int32), name + "/axis")

    def join(*values, name):
        return tf.concat(list(values[:-1]), int(values[-1]) if hasattr(values[-1], "numpy") else values[-1], name=name)

    return net.apply(join, *branches, axis, name=name)


def _inception_a(net, x, pooled, width):
    w = width
    b1 = _conv_bn_relu(net, x, w(64), 1)
    b2 = _conv_bn_relu(net, _conv_bn_relu(net, x, w(48), 1), w(64), 5)
    b3 = _conv_bn_relu(net, _conv_bn_relu(net, _conv_bn_relu(net, x, w(64), 1), w(96), 3), w(96), 3)
    b4 = _conv_bn_relu(net, _pool(net, x, "avg", 3, 1), w(pooled), 1)
    return _branches(net, b1, b2, b3, b4)


def _reduction_a(net, x, width):
    w = width
    b1 = _conv_bn_relu(net, x, w(384), 3, 2, "VALID")
    b2 = _conv_bn_relu(net, _conv_bn_relu(net, x, w(64), 1), w(96), 3)
    return _branches(net, b1, _conv_bn_relu(net, b2, w(96), 3, 2, "VALID"), _pool(net, x, "max", 3, 2, "VALID"))


def _inception_b(net, x, inner, width):
    w, c = width, width(inner)
    b1 = _conv_bn_relu(net, x, w(192), 1)
    b2 = _conv_bn_relu(net, _conv_bn_relu(net, _conv_bn_relu(net, x, c, 1), c, (1, 7)), w(192), (7, 1))
    b3 = _conv_bn_relu(net, x, c, 1)
    for kernel, filters in (((7, 1), c), ((1, 7), c), ((7, 1), c), ((1, 7), w(192))):
        b3 = _conv_bn_relu(net, b3, filters, kernel)
    b4 = _conv_bn_relu(net, _pool(net, x, "avg", 3, 1), w(192), 1)
    return _branches(net, b1, b2, b3, b4)


def _reduction_b(net, x, width):
    w = width
    b1 = _conv_bn_relu(net, _conv_bn_relu(net, x, w(192), 1), w(320), 3, 2, "VALID")
    b2 = _conv_bn_relu(net, _conv_bn_relu(net, x, w(192), 1), w(192), (1, 7))
    b2 = _conv_bn_relu(net, _conv_bn_relu(net, b2, w(192), (7, 1)), w(192), 3, 2, "VALID")
    return _branches(net, b1, b2, _pool(net, x, "max", 3, 2, "VALID"))


def _inception_c(net, x, width):
    w = width
    b1 = _conv_bn_relu(net, x, w(320), 1)
    b2 = _conv_bn_relu(net, x, w(384), 1)
    b2 = _branches(net, _conv_bn_relu(net, b2, w(384), (1, 3)), _conv_bn_relu(net, b2, w(384), (3, 1)))
    b3 = _conv_bn_relu(net, _conv_bn_relu(net, x, w(448), 1), w(384), 3)
    b3 = _branches(net, _conv_bn_relu(net, b3, w(384), (1, 3)), _conv_bn_relu(net, b3, w(384), (3, 1)))
    b4 = _conv_bn_relu(net, _pool(net, x, "avg", 3, 1), w(192), 1)
    return _branches(net, b1, b2, b3, b4)


def inception_v3(small=False):
    """Inception-V3: factorized convolutions, parallel branches, average pools without the padding in the mean."""
    size, classes = (75, 16) if small else (299, 1001)
    repeats = (1, 1, 1) if small else (3, 4, 2)

    def width(filters):
        return max(4, filters // 16) if small else filters

    net = GraphBuilder(1512, "InceptionV3", alignment=0.12)
    images = _images(size, 6)
    x = net.placeholder("input", [None, size, size, 3], images)
    x = _conv_bn_relu(net, x, width(32), 3, 2, "VALID")
    x = _conv_bn_relu(net, _conv_bn_relu(net, x, width(32), 3, 1, "VALID"), width(64), 3)
    x = _pool(net, x, "max", 3, 2, "VALID")
    x = _conv_bn_relu(net, _conv_bn_relu(net, x, width(80), 1, 1, "VALID"), width(192), 3, 1, "VALID")
    x = _pool(net, x, "max", 3, 2, "VALID")
    for pooled in (32, 64, 64)[:repeats[0]]:
        x = _inception_a(net, x, pooled, width)
    x = _reduction_a(net, x, width)
    for inner in (128, 160, 160, 192)[:repeats[1]]:
        x = _inception_b(net, x, inner, width)
    x = _reduction_b(net, x, width)
    for _ in range(repeats[2]):
        x = _inception_c(net, x, width)
    net.apply(tf.nn.softmax, net.classifier(_global_mean(net, x), classes), name="output")
    return Classic(net.graph_def(), _cases(images), ["output:0"])


# ---------------------------------------------------------------------------------------------------------------------
# MobileNet-V2 (the full-size one is examples/mobilenet_v2)


def mobilenet_v2(small=True):
    """Inverted residuals with ReLU6 and linear bottlenecks."""
    size, blocks = (48, [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2)]) if small else (
        224, [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)])
    net = GraphBuilder(2018, "MobilenetV2")
    images = _images(size)
    x = net.placeholder("input", [None, size, size, 3], images)
    x = _act(net, tf.nn.relu6, net.batch_norm(net.conv2d(x, 32, 3, 2, "SAME")), "Relu6")
    for expansion, filters, repeats, stride in blocks:
        for i in range(repeats):
            shortcut, channels = x, int(x.value.shape[-1])
            if expansion > 1:
                x = _act(net, tf.nn.relu6, net.batch_norm(net.conv2d(x, channels * expansion, 1, 1, "SAME")), "Relu6")
            x = _act(net, tf.nn.relu6, net.batch_norm(net.depthwise(x, 3, stride if i == 0 else 1)), "Relu6")
            x = net.batch_norm(net.conv2d(x, filters, 1, 1, "SAME"), gamma=0.5)
            if i > 0:
                x = net.apply(tf.add, x, shortcut, name=net.unique("add"))
    net.apply(tf.nn.softmax, net.classifier(_global_mean(net, x), 16), name="output")
    return Classic(net.graph_def(), _cases(images), ["output:0"])


# ---------------------------------------------------------------------------------------------------------------------
# Hard swish, instance norm, generators


def mobilenet_v3(small=False):
    """MobileNet-V3 blocks as Keras exports them: hard swish in pieces (Relu6(x + 3) / 6 * x), hard-sigmoid gates."""
    size, width = (48, 16) if small else (224, 64)
    net = GraphBuilder(1905, "MobilenetV3")
    images = _images(size)

    def number(value):
        return net.constant(np.float32(value), net.unique("Const"))

    def hard_sigmoid(x):
        shifted = net.apply(tf.add, x, number(3), name=net.unique("add"))
        return net.apply(tf.multiply, _act(net, tf.nn.relu6, shifted, "Relu6"), number(1 / 6), name=net.unique("mul"))

    def hard_swish(x):
        return net.apply(tf.multiply, x, hard_sigmoid(x), name=net.unique("mul"))

    x = net.placeholder("input", [None, size, size, 3], images)
    x = hard_swish(net.batch_norm(net.conv2d(x, width, 3, 2, "SAME")))
    for stride in (2, 1, 2, 1):
        shortcut = x
        x = hard_swish(net.batch_norm(net.conv2d(x, 4 * width, 1, 1, "SAME")))
        x = hard_swish(net.batch_norm(net.depthwise(x, 5, stride)))
        gate = _act(net, tf.nn.relu, net.bias(net.conv2d(_global_mean(net, x, True), width, 1, 1, "SAME")), "Relu")
        gate = hard_sigmoid(net.bias(net.conv2d(gate, 4 * width, 1, 1, "SAME")))
        x = net.apply(tf.multiply, x, gate, name=net.unique("mul"))
        x = net.batch_norm(net.conv2d(x, width, 1, 1, "SAME"), gamma=0.5)
        if stride == 1:
            x = net.apply(tf.add, x, shortcut, name=net.unique("add"))
    net.apply(tf.nn.softmax, net.classifier(_global_mean(net, x), 16), name="output")
    return Classic(net.graph_def(), _cases(images), ["output:0"])


def style_transfer(small=False):
    """Fast style transfer: instance norm from tf.nn.moments, reflection padding, nearest upsampling; any picture size."""
    size, width = (32, 8) if small else (256, 32)
    net = GraphBuilder(1603, "transformer")
    images = _images(size, 2)

    def instance_norm(x):
        layer = net.unique("instance_norm")
        channels = int(x.value.shape[-1])
        scale = net.weight(net.rng.uniform(0.7, 1.3, channels).astype(np.float32), layer + "/scale")
        shift = net.weight(net.rng.normal(0, 0.2, channels).astype(np.float32), layer + "/shift")

        def normalize(a, g, b, name):
            mean, variance = tf.nn.moments(a, [1, 2], keepdims=True)
            return tf.add(g * ((a - mean) / tf.sqrt(variance + 1e-3)), b, name=name)

        return net.apply(normalize, x, scale, shift, name=layer + "/add_1")

    def conv(x, filters, kernel, stride=1):
        pad = kernel // 2
        x = net.apply(lambda a, name: tf.pad(a, [[0, 0], [pad, pad], [pad, pad], [0, 0]], "REFLECT", name=name), x,
                      name=net.unique("MirrorPad"))
        return instance_norm(net.conv2d(x, filters, kernel, stride, "VALID"))

    def relu(x):
        return _act(net, tf.nn.relu, x, "Relu")

    x = net.placeholder("input", [None, None, None, 3], images)
    x = relu(conv(x, width, 9))
    x = relu(conv(relu(conv(x, 2 * width, 3, 2)), 4 * width, 3, 2))
    for _ in range(1 if small else 5):
        x = net.apply(tf.add, x, conv(relu(conv(x, 4 * width, 3)), 4 * width, 3), name=net.unique("add"))
    for filters in (2 * width, width):
        x = relu(conv(net.resize_nearest(x, 2), filters, 3))
    x = net.apply(tf.tanh, conv(x, 3, 9), name=net.unique("Tanh"))
    name = net.unique("mul")
    x = net.apply(tf.multiply, x, net.constant(np.float32(150), name + "/x"), name=name)
    net.apply(tf.add, x, net.constant(np.float32(127.5), "output/x"), name="output")
    return Classic(net.graph_def(), [*_cases(images, batches=(1, 2)), {"input:0": np.resize(images, (1, 40, 24, 3))}], ["output:0"])


def gan_generator(small=False):
    """A DCGAN generator: dense, reshape, transposed convolutions with batch norm, tanh."""
    size, width, depth = (4, 16, 2) if small else (4, 512, 4)
    net = GraphBuilder(1511, "generator")
    noise = np.random.default_rng(5).standard_normal((16, 100)).astype(np.float32)
    x = net.placeholder("z", [None, 100], noise)
    x = net.dense(x, size * size * width)
    x = net.apply(lambda a, name: tf.reshape(a, [-1, size, size, width], name=name), x, name=net.unique("Reshape"))
    x = _act(net, tf.nn.relu, net.batch_norm(x), "Relu")
    for level in range(depth - 1):
        x = _act(net, tf.nn.relu, net.batch_norm(net.conv2d_transpose(x, width >> (level + 1), 5, 2)), "Relu")
    x = net.bias(net.conv2d_transpose(x, 3, 5, 2))
    net.apply(tf.tanh, x, name="image")
    return Classic(net.graph_def(), [{"z:0": noise[:b]} for b in (1, 4)], ["image:0"])


# ---------------------------------------------------------------------------------------------------------------------
# Exports with peculiarities


def nchw_cnn(small=True):
    """A residual net exported on a GPU: NCHW convolutions, batch norm, bias, pools and means over axes 2 and 3.

    TensorFlow has no CPU kernels for some of these; the twin has them between transposes.
    """
    size, width = (32, 16) if small else (224, 64)
    images = _images(size)

    def build(native):
        rng = np.random.default_rng(3)

        def weight(*shape):
            return tf.constant((rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[:-1]))).astype(np.float32))

        def vector(low, high, channels):
            return tf.constant(rng.uniform(low, high, channels).astype(np.float32))

        def channels_first(x, function):
            """function(x, data format, its strides or window of n): as it stands, or between transposes."""
            if native:
                return function(x, "NCHW", lambda n: [1, 1, n, n])
            return tf.transpose(function(tf.transpose(x, [0, 2, 3, 1]), "NHWC", lambda n: [1, n, n, 1]), [0, 3, 1, 2])

        def conv(x, filters, kernel, stride=1):
            w = weight(kernel, kernel, int(x.shape[1]), filters)
            vectors = [vector(*r, filters) for r in ((0.7, 1.3), (-0.3, 0.3), (-0.3, 0.3), (0.5, 1.5))]
            y = channels_first(x, lambda a, f, n: tf.nn.conv2d(a, w, n(stride), "SAME", data_format=f))
            y = channels_first(y, lambda a, f, n: tf.nn.bias_add(a, vectors[1], data_format=f))
            return channels_first(y, lambda a, f, n: tf.nn.fused_batch_norm(a, *vectors, is_training=False, data_format=f)[0])

        with tf.Graph().as_default() as graph:
            x = tf.placeholder(tf.float32, [None, 3, size, size], name="input")
            y = tf.nn.relu(conv(x, width, 3, 2))
            y = channels_first(y, lambda a, f, n: tf.nn.max_pool(a, n(3), n(2), "SAME", data_format=f))
            for filters, stride in ((width, 1), (2 * width, 2)):
                shortcut = y if stride == 1 else conv(y, filters, 1, stride)
                y = tf.nn.relu(conv(tf.nn.relu(conv(y, filters, 3, stride)), filters, 3) + shortcut)
            y = tf.reduce_mean(y, [2, 3])
            tf.nn.softmax(tf.nn.bias_add(tf.matmul(y, weight(2 * width, 10)), vector(-0.1, 0.1, 10)), name="output")
            return graph.as_graph_def()

    cases = [{"input:0": np.ascontiguousarray(images[:b].transpose(0, 3, 1, 2))} for b in (1, 3)]
    return Classic(build(native=True), cases, ["output:0"], build(native=False))


def quantization_aware(small=False):
    """A network trained with tf.contrib.quantize: FakeQuant on weights (per channel and per tensor) and activations."""
    size, width, blocks = (32, 8, 2) if small else (128, 32, 6)
    net = GraphBuilder(1712, "quantized")
    images = _images(size)

    def fake_quant(x):
        name = net.unique("act_quant") + "/FakeQuantWithMinMaxVars"
        data = x.value.numpy()
        low = net.weight(np.float32(min(0.0, data.min())), name + "_min")
        high = net.weight(np.float32(max(data.max(), 1e-3)), name + "_max")
        return net.apply(lambda a, lo, hi, name: tf.quantization.fake_quant_with_min_max_vars(a, lo, hi, name=name), x, low, high,
                         name=name)

    def conv(x, filters, kernel, stride, per_channel):
        layer = net.unique("conv2d")
        channels = int(x.value.shape[-1])
        w = (net.rng.standard_normal((kernel, kernel, channels, filters)) * np.sqrt(2 / (kernel * kernel * channels))).astype(np.float32)
        weights = net.weight(w, layer + "/kernel")
        name = layer + "/weights_quant"
        if per_channel:
            low, high = w.min((0, 1, 2)), w.max((0, 1, 2))
            function = tf.quantization.fake_quant_with_min_max_vars_per_channel
        else:
            low, high = np.float32(w.min()), np.float32(w.max())
            function = tf.quantization.fake_quant_with_min_max_vars
        weights = net.apply(lambda a, lo, hi, name: function(a, lo, hi, narrow_range=True, name=name), weights,
                            net.weight(low, name + "_min"), net.weight(high, name + "_max"), name=name)
        y = net.apply(lambda a, b, name: tf.nn.conv2d(a, b, [1, stride, stride, 1], "SAME", name=name), x, weights,
                      name=layer + "/Conv2D")
        return fake_quant(_act(net, tf.nn.relu6, net.bias(y, deviation=0.1), "Relu6"))

    x = fake_quant(net.placeholder("input", [None, size, size, 3], images))
    x = conv(x, width, 3, 2, False)
    for i in range(blocks):
        x = conv(x, width * (1 + i), 3, 1 + i % 2, i % 2 == 0)
    net.apply(tf.nn.softmax, net.classifier(_global_mean(net, x), 10), name="output")
    return Classic(net.graph_def(), _cases(images), ["output:0"])
