"""Builds seeded frozen graphs: every layer is added to a GraphDef and, at the same time, run on calibration data.

Running while building gives each batch norm the statistics that its input really has, so that an untrained
network keeps activations in the range that a trained one would.
"""
import hashlib
import json
import os
import shutil
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402


class Traced:
    """A tensor of the graph beside its value on the calibration data."""

    def __init__(self, node, value):
        self.node = node
        self.value = value


class GraphBuilder:
    """Adds frozen layers to `graph`; names follow what tf.layers wrote in TensorFlow 1.

    alignment: how much convolutions attend to what varies in their inputs. Gradients are sums of inputs, so training
    leaves weights along the directions in which inputs vary, and noise, which has no direction, fades from layer to
    layer. Independent weights (0) in a deep network of batch norms instead amplify any difference by a sixth with every
    activation: rounding to 8 bits comes out as half of the largest answer, in any engine.
    """

    def __init__(self, seed, scope, alignment=0.0):
        self.rng = np.random.default_rng(seed)
        self.graph = tf.Graph()
        self._alignment = alignment
        self._powers = {}  # covariance powers by the names of the tensors
        self._scope = scope
        self._used = {}

    def unique(self, kind):
        """tf.layers' numbering: conv2d, conv2d_1, conv2d_2, ..."""
        count = self._used.get(kind, 0)
        self._used[kind] = count + 1
        return f"{self._scope}/{kind}" + (f"_{count}" if count else "")

    def apply(self, function, *inputs, name):
        """function(*tensors, name), once in the graph and once on the calibration values."""
        with self.graph.as_default():
            node = function(*[t.node for t in inputs], name=name)
        return Traced(node, function(*[t.value for t in inputs], name=None))

    def placeholder(self, name, shape, calibration):
        with self.graph.as_default():
            node = tf.placeholder(tf.as_dtype(calibration.dtype), shape, name=name)
        return Traced(node, tf.constant(calibration))

    def weight(self, array, name):
        """A frozen variable: a Const and the Identity that freezing leaves in place of its read."""
        with self.graph.as_default():
            node = tf.identity(tf.constant(array, name=name), name=name + "/read")
        return Traced(node, tf.constant(array))

    def constant(self, array, name):
        """A plain Const, as paddings and axes are."""
        with self.graph.as_default():
            node = tf.constant(array, name=name)
        return Traced(node, tf.constant(array))

    def conv2d(self, x, filters, kernel, stride, padding):
        """Convolution without bias, He-initialised; NHWC, weights [height, width, in, filters]; kernel: one size or two."""
        layer = self.unique("conv2d")
        height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        channels = int(x.value.shape[-1])
        scale = np.sqrt(2.0 / (height * width * channels))
        w = self.rng.standard_normal((height, width, channels, filters), dtype=np.float32) * np.float32(scale)
        if self._alignment:
            w = np.matmul(self._covariance_power(x), w).astype(np.float32)
        return self.apply(
            lambda a, b, name: tf.nn.conv2d(a, b, strides=[1, stride, stride, 1], padding=padding, name=name),
            x, self.weight(w, layer + "/kernel"), name=layer + "/Conv2D")

    def _covariance_power(self, x):
        """[channels, channels]: the covariance of x over all pixels to the power of the alignment, trace kept."""
        if x.node.name in self._powers:
            return self._powers[x.node.name]
        data = x.value.numpy().reshape(-1, int(x.value.shape[-1])).astype(np.float64)
        data -= data.mean(0)
        variances, directions = np.linalg.eigh(round_bits(data.T @ data / len(data)))
        powers = np.maximum(variances, 0) ** self._alignment
        self._powers[x.node.name] = (directions * (powers / max(powers.mean(), 1e-30))) @ directions.T
        return self._powers[x.node.name]

    def conv2d_transpose(self, x, filters, kernel, stride):
        """Transposed convolution without bias, SAME, its output `stride` times the size, computed in the graph as Keras does."""
        layer = self.unique("conv2d_transpose")
        channels = int(x.value.shape[-1])
        scale = np.sqrt(2.0 * stride * stride / (kernel * kernel * channels))
        w = self.rng.standard_normal((kernel, kernel, filters, channels), dtype=np.float32) * np.float32(scale)

        def transposed(a, b, name):
            shape = tf.shape(a)
            size = tf.stack([shape[0], shape[1] * stride, shape[2] * stride, filters])
            return tf.nn.conv2d_transpose(a, b, size, [1, stride, stride, 1], "SAME", name=name)

        return self.apply(transposed, x, self.weight(w, layer + "/kernel"), name=layer + "/conv2d_transpose")

    def resize_bilinear(self, x, factor):
        """Upsampling as tf.keras writes it: the new size from Shape, half pixel centers."""
        return self.apply(
            lambda a, name: tf.image.resize_bilinear(a, tf.shape(a)[1:3] * factor, half_pixel_centers=True, name=name), x,
            name=self.unique("ResizeBilinear"))

    def resize_nearest(self, x, factor):
        return self.apply(
            lambda a, name: tf.image.resize_nearest_neighbor(a, tf.shape(a)[1:3] * factor, half_pixel_centers=True, name=name),
            x, name=self.unique("ResizeNearestNeighbor"))

    def bias(self, x, deviation=0.05):
        layer = self.unique("bias")
        b = (deviation * self.rng.standard_normal(int(x.value.shape[-1]))).astype(np.float32)
        return self.apply(tf.nn.bias_add, x, self.weight(b, layer + "/bias"), name=layer + "/BiasAdd")

    def dense(self, x, units):
        """MatMul without bias on [batch, channels], variance kept."""
        layer = self.unique("dense")
        channels = int(x.value.shape[-1])
        w = (self.rng.standard_normal((channels, units)) / np.sqrt(channels)).astype(np.float32)
        return self.apply(tf.matmul, x, self.weight(w, layer + "/kernel"), name=layer + "/MatMul")

    def depthwise(self, x, kernel, stride):
        """Depthwise convolution without bias, SAME; weights [kernel, kernel, channels, 1]."""
        layer = self.unique("depthwise_conv2d")
        channels = int(x.value.shape[-1])
        scale = np.float32(np.sqrt(2.0 / (kernel * kernel)))
        w = self.rng.standard_normal((kernel, kernel, channels, 1), dtype=np.float32) * scale
        return self.apply(
            lambda a, b, name: tf.nn.depthwise_conv2d_native(a, b, strides=[1, stride, stride, 1], padding="SAME",
                                                             name=name),
            x, self.weight(w, layer + "/depthwise_kernel"), name=layer + "/depthwise")

    def batch_norm(self, x, gamma=1.0, beta_deviation=0.2, epsilon=1e-5):
        """FusedBatchNormV3 for inference, its statistics those of the calibration data; gamma is the mean gain."""
        layer = self.unique("batch_normalization")
        data = x.value.numpy().astype(np.float64)
        axes = tuple(range(data.ndim - 1))
        channels = data.shape[-1]
        mean = round_bits(data.mean(axes))
        variance = np.maximum(round_bits(data.var(axes)), 1e-4)
        scale = (gamma * self.rng.uniform(0.7, 1.3, channels)).astype(np.float32)
        offset = (beta_deviation * self.rng.standard_normal(channels)).astype(np.float32)
        return self.apply(
            lambda a, g, b, m, v, name: tf.nn.fused_batch_norm(a, g, b, m, v, epsilon=epsilon, is_training=False,
                                                               name=name)[0],
            x, self.weight(scale, layer + "/gamma"), self.weight(offset, layer + "/beta"),
            self.weight(mean.astype(np.float32), layer + "/moving_mean"),
            self.weight(variance.astype(np.float32), layer + "/moving_variance"),
            name=layer + "/FusedBatchNormV3")

    def identity(self, x, name):
        return self.apply(tf.identity, x, name=name)

    def classifier(self, features, classes):
        """Dense layer fitted to the calibration data as training would: each sample has a class that stands out.

        The smallest weights that reach the wanted logits (ridge regression) amplify rounding no more than a trained
        head does; random weights of the same size would lift it into the probabilities.
        features: [batch, channels]. Returns the BiasAdd output [batch, classes].
        """
        layer = self.unique("dense")
        data = features.value.numpy().astype(np.float64)
        samples, channels = data.shape
        mean = round_bits(data.mean(0))
        centred = round_bits(data - mean)
        wanted = self.rng.standard_normal((samples, classes))
        wanted[np.arange(samples), self.rng.permutation(classes)[:samples]] = self.rng.uniform(6.0, 8.5, samples)
        spread = centred.std() * np.sqrt(channels)
        w = self.rng.standard_normal((channels, classes)) * (0.5 / spread)
        gram = centred @ centred.T
        ridge = 0.03 * np.trace(gram) / samples * np.eye(samples)
        w += centred.T @ np.linalg.solve(gram + ridge, wanted - centred @ w)
        bias = 0.1 * self.rng.standard_normal(classes) - mean @ w
        product = self.apply(tf.matmul, features, self.weight(w.astype(np.float32), layer + "/kernel"),
                             name=layer + "/MatMul")
        return self.apply(tf.nn.bias_add, product, self.weight(bias.astype(np.float32), layer + "/bias"),
                          name=layer + "/BiasAdd")

    def graph_def(self):
        return self.graph.as_graph_def()


def round_bits(values, bits=12):
    """Rounds to `bits` bits of mantissa: statistics then do not follow the last bits of a machine's kernels."""
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    return np.ldexp(np.round(mantissa * 2**bits) / 2**bits, exponent)


def initialize_tables(session):
    """Fills the lookup tables of the session's graph."""
    session.run([op for op in session.graph.get_operations()
                 if op.type.startswith(("InitializeTable", "LookupTableImport"))])


def run_session(graph_def, feeds, fetches, optimize=True):
    """fetches of the graph on feeds ({'name:0': array}); optimize=False judges the graph as written."""
    config = tf.ConfigProto()
    if not optimize:
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        config.graph_options.optimizer_options.opt_level = tf.OptimizerOptions.L0
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    with tf.Session(graph=graph, config=config) as session:
        initialize_tables(session)
        return session.run(fetches, feeds)


def save_cases(path, graph_def, cases, outputs):
    """Writes an .npz of cases and TensorFlow's answers: in{i}:NAME:0 fed, out{i}:NAME:0 answered."""
    arrays = {}
    for i, feeds in enumerate(cases):
        answers = run_session(graph_def, feeds, list(outputs), optimize=False)
        arrays.update({f"in{i}:{name}": value for name, value in feeds.items()})
        arrays.update({f"out{i}:{name}": value for name, value in zip(outputs, answers)})
    np.savez(path, **arrays)


def weight_count(graph_def):
    """Number of floating-point weights stored in the graph."""
    total = 0
    for node in graph_def.node:
        if node.op == "Const" and node.attr["dtype"].type == tf.float32.as_datatype_enum:
            total += int(np.prod([d.size for d in node.attr["value"].tensor.tensor_shape.dim], dtype=np.int64))
    return total


def _stamp(sources, options):
    """What the folder's content depends on: generators, versions, options."""
    digest = hashlib.sha256()
    here = os.path.dirname(os.path.abspath(__file__))
    for source in [os.path.join(here, n) for n in ("graph_kit.py", "images.py")] + list(sources):
        with open(source, "rb") as f:
            digest.update(f.read())
    return {"generators": digest.hexdigest(), "tensorflow": tf.__version__, "numpy": np.__version__,
            "options": options}


def write_folder(folder, sources, options, write):
    """Calls write(temporary folder) and moves it to `folder`, unless one with the same stamp is there already."""
    stamp = _stamp(sources, options)
    stamp_path = os.path.join(folder, "stamp.json")
    if os.path.exists(stamp_path):
        with open(stamp_path) as f:
            if json.load(f) == stamp:
                print(f"{folder} is up to date", file=sys.stderr)
                return
        shutil.rmtree(folder)
    elif os.path.isdir(folder) and os.listdir(folder):
        sys.exit(f"{folder} exists and was not written by this script; remove it or choose another --out.")
    parent = os.path.dirname(os.path.abspath(folder))
    os.makedirs(parent, exist_ok=True)
    temporary = tempfile.mkdtemp(prefix=".making-", dir=parent)
    try:
        write(temporary)
        with open(os.path.join(temporary, "stamp.json"), "w") as f:
            json.dump(stamp, f, indent=1)
        os.chmod(temporary, 0o755)
        if os.path.isdir(folder):
            os.rmdir(folder)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print(f"wrote {folder}", file=sys.stderr)
