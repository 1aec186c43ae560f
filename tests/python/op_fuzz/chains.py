"""Graphs of several ops: chains and branches in which fusion, layout, in-place sharing and memory planning meet."""

import pathlib
import tempfile

import numpy as np
import tensorflow.compat.v1 as tf

import blade

from . import draw, runner

UNARY = (tf.nn.relu, tf.nn.relu6, tf.tanh, tf.sigmoid, tf.nn.elu, tf.abs, tf.square, tf.negative, tf.nn.softplus, tf.math.softsign,
         lambda x: tf.nn.leaky_relu(x, 0.1), lambda x: x * tf.sigmoid(x), lambda x: tf.nn.relu6(x + 3) * x / 6,
         lambda x: tf.exp(-tf.abs(x)), lambda x: tf.math.log1p(tf.abs(x)), lambda x: tf.sqrt(tf.abs(x) + 0.1),
         lambda x: tf.clip_by_value(x, -0.7, 0.9), tf.math.erf, lambda x: 0.5 * x * (1 + tf.math.erf(x * 0.70710678)),
         lambda x: tf.nn.relu(x) - 0.25 * tf.nn.relu(-x), tf.identity, tf.stop_gradient)  # fmt: skip
BINARY = (tf.add, tf.subtract, tf.multiply, tf.maximum, tf.minimum, lambda a, b: a / (tf.abs(b) + 1), tf.math.squared_difference,
          lambda a, b: tf.where_v2(a > b, a, b * 0.5))  # fmt: skip
TYPES = ("float32", "float32", "float32", "float64", "float16", "bfloat16", "int32")


class Chain:
    """Grows a graph from placeholders whose batch may be unknown; `pool` holds what later ops may read."""

    def __init__(self, seed):
        self.d = draw.Draw(seed)
        self.log = []
        self.t = self.d.pick(TYPES)
        self.whole = self.t == "int32"
        self.graph = tf.Graph()
        self.batch = self.d.int(1, 4)
        self.shapes = []
        with self.graph.as_default():
            self.pool = [self.placeholder(i) for i in range(self.d.int(1, 2))]
            for _ in range(self.d.int(3, 14)):
                self.grow()
            self.outputs = self.finish()

    def placeholder(self, i):
        d = self.d
        dims = d.pick(((d.int(3, 9), d.int(3, 9), d.pick((1, 3, 8, 17))), (d.int(1, 9), d.pick((4, 8, 16, 33))), (d.pick((3, 8, 40)),)))
        self.shapes.append(dims)
        stored = "float32" if self.t == "bfloat16" else self.t
        x = tf.placeholder(tf.as_dtype(stored), [None if d.chance(0.7) else self.batch, *dims], name=f"in{i}")
        return tf.cast(x, tf.as_dtype(self.t))

    def constant(self, *shape):
        values = self.d.values(shape, -1, 1) if not self.whole else self.d.values(shape, -3, 3, t="int32")
        return tf.constant(values.astype(draw.numpy_type(self.t)))

    def add(self, name, value):
        self.log.append(f"{value.name.split(':')[0]} = {name}{value.shape.as_list()}")
        self.pool.append(value)

    def calm(self, x):
        """Keeps numbers in range, so that what differs is an error and not an overflow."""
        return tf.math.floormod(x, tf.constant(97)) if self.whole else tf.tanh(x)

    def grow(self):
        d = self.d
        x = self.pool[-1] if d.chance(0.6) else d.pick(self.pool)
        kinds = [self.elementwise, self.binary, self.binary, self.move, self.move, self.reduce]
        if not self.whole:
            kinds += [self.elementwise, self.weights, self.weights, self.weights, self.normalize]
        d.pick(kinds)(x)

    def elementwise(self, x):
        if self.whole:
            return self.add("int", self.d.pick((tf.abs, tf.negative, lambda v: self.calm(v) + 1))(x))
        self.add("unary", self.d.pick(UNARY)(x))

    def binary(self, x):
        d = self.d
        rank = x.shape.rank
        last = x.shape.as_list()[-1]
        same = [v for v in self.pool if v.shape.as_list() == x.shape.as_list() and v is not x]
        if same and d.chance(0.6):
            other = d.pick(same)
        else:
            other = d.pick((self.constant(), self.constant(last), self.constant(*([1] * (rank - 1)), last)))
        op = d.pick(BINARY[:5]) if self.whole else d.pick(BINARY)
        value = op(x, other) if d.chance(0.7) else op(other, x)
        self.add("binary", self.calm(value) if self.whole else value)

    def weights(self, x):
        d, rank, last = self.d, x.shape.rank, x.shape.as_list()[-1]
        if last is None:
            return self.elementwise(x)
        out = d.pick((1, 5, 8, 16, 32))
        scale = tf.cast(1.0 / np.sqrt(last * 4), x.dtype)
        if rank == 4:
            h, w = x.shape.as_list()[1:3]
            k = d.pick((1, 3))
            kind = d.pick(("conv", "conv", "depthwise", "pool", "transpose"))
            if kind == "conv":
                stride = d.pick((1, 1, 2))
                y = tf.nn.conv2d(x, self.constant(k, k, last, out) * scale, stride, "SAME")
            elif kind == "depthwise":
                y = tf.nn.depthwise_conv2d(x, self.constant(k, k, last, 1), [1, 1, 1, 1], "SAME")
            elif kind == "pool" and h and w and h > 1 and w > 1:
                y = d.pick((tf.nn.max_pool2d, tf.nn.avg_pool2d))(x, 2, d.pick((1, 2)), d.pick(("SAME", "VALID")))
            else:
                y = tf.nn.conv2d(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), self.constant(3, 3, last, out) * scale, 1, "VALID")
        elif rank == 2:
            y = tf.matmul(x, self.constant(last, out) * scale)
        else:
            y = tf.einsum("abc,cd->abd", x, self.constant(last, out) * scale) if rank == 3 else x
        if d.chance(0.7):
            y = y + self.constant(y.shape.as_list()[-1])
        if d.chance(0.6):
            y = d.pick(UNARY)(y)
        same = [v for v in self.pool if v.shape.as_list() == y.shape.as_list()]
        if same and d.chance(0.5):
            y = y + d.pick(same)
        self.add("weights", y)

    def normalize(self, x):
        d, last = self.d, x.shape.as_list()[-1]
        if last is None or x.shape.rank < 2:
            return self.elementwise(x)
        kind = d.pick(("softmax", "layer", "batch"))
        if kind == "softmax":
            return self.add("softmax", tf.nn.softmax(x))
        if kind == "layer":
            mean = tf.reduce_mean(x, -1, keepdims=True)
            centred = x - mean
            y = centred * tf.math.rsqrt(tf.reduce_mean(tf.square(centred), -1, keepdims=True) + 1e-2)
            return self.add("layer norm", y * self.constant(last) + self.constant(last))
        return self.add("affine", x * self.constant(last) + self.constant(last))

    def reduce(self, x):
        d, rank = self.d, x.shape.rank
        axes = [a for a in range(1, rank) if d.chance(0.5)]
        keep = d.chance(0.7)
        if not axes or (rank - len(axes) < 2 and not keep):
            return self.elementwise(x)
        op = d.pick((tf.reduce_max, tf.reduce_min, tf.reduce_sum) if self.whole else (tf.reduce_mean, tf.reduce_max, tf.reduce_sum))
        self.add("reduce", op(x, axes, keepdims=keep))

    def move(self, x):
        d, dims = self.d, x.shape.as_list()
        rank = len(dims)
        kind = d.pick(("transpose", "concat", "slice", "pad", "split", "reshape", "reverse", "gather", "tile", "expand"))
        if kind == "transpose" and rank > 2:
            perm = [0] + [int(p) + 1 for p in d.rng.permutation(rank - 1)]
            y = tf.transpose(x, perm)
            if d.chance(0.5):
                y = tf.transpose(self.calm(y), np.argsort(perm))
        elif kind == "concat":
            y = tf.concat([x, d.pick([v for v in self.pool if v.shape.as_list()[:-1] == dims[:-1]])], -1)
        elif kind == "slice" and dims[-1] and dims[-1] > 1:
            b = d.int(0, dims[-1] - 1)
            y = x[..., b:] if d.chance(0.5) else x[..., :b + 1]
        elif kind == "pad":
            y = tf.pad(x, [[0, 0]] + [[d.int(0, 1), d.int(0, 2)] for _ in dims[1:]])
        elif kind == "split" and dims[-1] and dims[-1] % 2 == 0:
            a, b = tf.split(x, 2, -1)
            self.add("split", a)
            y = b
        elif kind == "reshape" and all(dims[1:]):
            y = tf.reshape(x, [-1, int(np.prod(dims[1:]))])
        elif kind == "reverse" and rank > 1:
            y = tf.reverse(x, [d.int(1, rank - 1)])
        elif kind == "gather" and dims[-1]:
            y = tf.gather(x, d.rng.integers(0, dims[-1], d.int(1, 6)), axis=-1)
        elif kind == "tile" and np.prod([n or 1 for n in dims]) < 2000:
            y = tf.tile(x, [1] * (rank - 1) + [2])
        else:
            y = tf.squeeze(tf.expand_dims(x, 1), 1)
        self.add(kind, y)

    def finish(self):
        picks = {self.pool[-1].name: self.pool[-1]}
        for value in self.pool:
            if not value.consumers() or self.d.chance(0.15):
                picks[value.name] = value
        outputs = []
        for i, value in enumerate(picks.values()):
            if value.dtype == tf.bfloat16:
                value = tf.cast(value, tf.float32)
            outputs.append(tf.identity(value, name=f"out{i}"))
        return [o.name for o in outputs]

    def feed(self, batch):
        stored = "float32" if self.t == "bfloat16" else self.t
        d = draw.Draw(batch)
        return {f"in{i}:0": d.values((batch, *dims), -2, 2, t=stored) for i, dims in enumerate(self.shapes)}

    def fixed_batch(self):
        return any(op.get_attr("shape").dim[0].size >= 0 for op in self.graph.get_operations() if op.type == "Placeholder")


def plain_answers(session, chain, feed, batch):
    """TensorFlow's answers; None for an empty batch that it gets wrong: where its oneDNN kernels are on, transposes lose
    the dims of empty tensors, against TensorFlow's own shape functions."""
    try:
        expected = session.run(chain.outputs, feed)
    except tf.errors.InvalidArgumentError:
        if batch == 0:
            return None
        raise
    declared = [chain.graph.get_tensor_by_name(name).shape for name in chain.outputs]
    contradicts = any(not shape.is_compatible_with(value.shape) for shape, value in zip(declared, expected))
    return None if batch == 0 and contradicts else expected


def check(seed):
    """A sentence with the graph's log, or None."""
    chain = Chain(seed)
    case = runner.Case("chain", {})
    case.outputs = [(name, chain.t) for name in chain.outputs]
    # Rounding grows along a chain, most where a type is narrow.
    case.rtol = {"float32": 1e-4, "float64": 1e-9, "float16": 0.03, "bfloat16": 0.15}.get(chain.t)
    graph_def = chain.graph.as_graph_def()
    batches = [chain.batch] if chain.fixed_batch() else [chain.batch, chain.batch + 3, 1, 0]
    with tempfile.TemporaryDirectory() as folder, tf.Session(graph=chain.graph, config=runner.plain_config()) as session:
        path = pathlib.Path(folder, "chain.pb")
        path.write_bytes(graph_def.SerializeToString())
        try:
            engine = blade.Engine(str(path), outputs=chain.outputs)
            for batch in batches:
                feed = chain.feed(batch)
                expected = plain_answers(session, chain, feed, batch)
                got = engine.run(feed)
                if expected is None:
                    continue
                sentence = runner.check(case, expected, [got[name] for name in chain.outputs])
                if sentence:
                    return f"{chain.t} batch {batch}: {sentence}\n  " + "\n  ".join(chain.log)
        except blade.BladeError as error:
            return f"{chain.t}: refused: {error}\n  " + "\n  ".join(chain.log)
    return None


def run(seed, count):
    found = []
    for i in range(count):
        sentence = check([seed, i])
        if sentence:
            found.append(f"chain [{seed}, {i}] {sentence}\nfrom op_fuzz import chains; print(chains.check([{seed}, {i}]))\n")
    return found
