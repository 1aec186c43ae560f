"""Graphs of many small cases that are run by TensorFlow (as written) and by Blade without TensorFlow, and compared."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow.compat.v1")
from tensorflow_ops import apply_op  # noqa: E402

import blade  # noqa: E402

BFLOAT16 = tf.bfloat16.as_numpy_dtype
# Largest difference allowed, relative to the largest expected value of the case.
RTOL = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-11, np.dtype(np.float16): 2e-3, np.dtype(BFLOAT16): 2e-2}

# Of single operands; 65 is no multiple of a vector.
SHAPES = [(2, 3, 17), (), (0, 4), (1,), (65,)]
FAMILIES = {}


def family(build):
    """Registers a function that adds the cases of one family of ops."""
    FAMILIES[build.__name__] = build
    return build


class Const:
    """An operand that stands in the graph instead of being fed."""

    def __init__(self, value, dtype=None):
        self.value = np.asarray(value, dtype or (np.int32 if np.asarray(value).dtype == np.int64 else None))


class Cases:
    """One TensorFlow graph with a case an output."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.graph = tf.Graph()
        self.feed = {}
        self.cases = []  # (label, output tensor name, placeholder names, dtype that sets the tolerance)
        self.refusals = []  # (label, output tensor name, placeholder names, words of the reason)
        self.ops = set()
        self._fed = []
        self.last_dim_is_known = False

    def real(self, shape, low=-3, high=3, dtype=np.float32):
        return self.rng.uniform(low, high, shape).astype(dtype)

    def whole(self, shape, low=-20, high=20, dtype=np.int32):
        return self.rng.integers(low, high, shape, endpoint=True).astype(dtype)

    def flags(self, shape):
        return self.rng.integers(0, 2, shape).astype(bool)

    def input(self, value):
        """A fed tensor; every second one hides its dims, so that both ways of planning are met."""
        if value.dtype == BFLOAT16:  # NumPy has none: it stays inside the graph
            return tf.cast(self.input(value.astype(np.float32)), tf.bfloat16)
        with self.graph.as_default():
            hidden = len(self.feed) % 2 == 1
            shape = [None] * value.ndim if hidden else list(value.shape)
            if self.last_dim_is_known and shape:
                shape[-1] = value.shape[-1]
            tensor = tf.placeholder(tf.as_dtype(value.dtype), shape, name=f"in{len(self.feed)}")
        self.feed[tensor.name] = value
        self._fed.append(tensor.name)
        return tensor

    def _operand(self, value):
        if isinstance(value, Const):
            return tf.constant(value.value)
        if isinstance(value, np.ndarray):
            return self.input(value)
        if isinstance(value, list) and value and isinstance(value[0], (np.ndarray, Const)):
            return [self._operand(v) for v in value]
        return value

    def op(self, name, take=None, refused=None, **arguments):
        """One op as a case. Arrays are fed, Const stand in the graph, the rest are attributes. `take`: outputs
        compared; `refused`: words of the reason why Blade leaves this one to TensorFlow."""
        with self.graph.as_default():
            label = f"{name}(" + ", ".join(f"{k}={describe(v)}" for k, v in arguments.items()) + ")"
            operands = {key: self._operand(value) for key, value in arguments.items()}
            results = apply_op(name, operands)
        self.ops.add(name)
        results = list(results) if isinstance(results, (list, tuple)) else [results]
        self.add(label, [r for i, r in enumerate(results) if take is None or i in take], refused)

    def add(self, label, tensors, refused=None):
        for tensor in tensors:
            self.ops.add(tensor.op.type)
            dtype = np.dtype(tensor.dtype.as_numpy_dtype)
            if tensor.dtype == tf.bfloat16:
                with self.graph.as_default():
                    tensor = tf.cast(tensor, tf.float32)
            (self.refusals if refused else self.cases).append((label, tensor.name, tuple(self._fed), refused or dtype))
        self._fed = []

    def tensorflow_answers(self):
        config = tf.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        config.graph_options.optimizer_options.opt_level = -1
        with tf.Session(graph=self.graph, config=config) as session:
            return session.run([case[1] for case in self.cases], self.feed)

    def differences(self, tmp_path):
        """Sentences, one a case in which Blade does not answer as TensorFlow does."""
        path = tmp_path / "cases.pb"
        names = [case[1] for case in self.cases]
        graph_def = tf.graph_util.extract_sub_graph(self.graph.as_graph_def(), [name.split(":")[0] for name in names])
        path.write_bytes(graph_def.SerializeToString())
        present = {node.name + ":0" for node in graph_def.node}
        expected = self.tensorflow_answers()
        got = blade_answers(path, names, {key: value for key, value in self.feed.items() if key in present})
        if isinstance(got, str):  # then which cases are to blame?
            got = [self._alone(tmp_path, case) for case in self.cases]
        found = [compare(case[0], e, g, case[3]) for case, e, g in zip(self.cases, expected, got)]
        for case in self.refusals:
            answer = self._alone(tmp_path, case)
            if not isinstance(answer, str) or case[3] not in answer:
                found.append(f"{case[0]}: {answer}; it should be refused because '{case[3]}'")
        return [sentence for sentence in found if sentence]

    def _alone(self, tmp_path, case):
        _, name, fed, _ = case
        path = tmp_path / "case.pb"
        kept = tf.graph_util.extract_sub_graph(self.graph.as_graph_def(), [name.split(":")[0]])
        path.write_bytes(kept.SerializeToString())
        present = {node.name + ":0" for node in kept.node}
        answers = blade_answers(path, [name], {key: self.feed[key] for key in fed if key in present})
        return answers if isinstance(answers, str) else answers[0]


def blade_answers(path, names, feed):
    try:
        results = blade.Engine(str(path), outputs=names).run(feed)
    except blade.BladeError as error:
        return f"refused: {error}"
    return [results[name] for name in names]


def describe(value):
    if isinstance(value, Const):
        return f"const {value.value.tolist()}" if value.value.size < 9 else f"const {value.value.shape}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, list) and value and isinstance(value[0], (np.ndarray, Const)):
        return "[" + ", ".join(describe(v) for v in value) + "]"
    return getattr(value, "name", None) or repr(value)


def compare(label, expected, got, dtype):
    if isinstance(got, str):
        return f"{label}: {got}"
    expected = np.asarray(expected)
    if expected.dtype != got.dtype or expected.shape != got.shape:
        return f"{label}: {got.dtype}{list(got.shape)}, expected {expected.dtype}{list(expected.shape)}"
    if dtype not in RTOL:
        wrong = np.flatnonzero(expected.ravel() != got.ravel())
        if wrong.size == 0:
            return None
        at = wrong[0]
        return f"{label}: {wrong.size} elements differ, [{at}] is {got.ravel()[at]}, expected {expected.ravel()[at]}"
    wide_expected, wide_got = expected.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    finite = np.isfinite(wide_expected)
    same = finite | (wide_expected == wide_got) | (np.isnan(wide_expected) & np.isnan(wide_got))
    scale = np.abs(wide_expected[finite]).max(initial=0)
    with np.errstate(invalid="ignore"):
        close = ~finite | (np.abs(wide_expected - wide_got) <= RTOL[dtype] * scale + 1e-30)
    wrong = np.flatnonzero(~(same & close))
    if wrong.size == 0:
        return None
    at = wrong[0]
    found = f"[{at}] is {wide_got[at]}, expected {wide_expected[at]} (largest {scale})"
    return f"{label}: {wrong.size} elements differ, {found}"
