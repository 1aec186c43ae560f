"""Runs many drawn cases as one graph in TensorFlow and in Blade, compares, and prints what reproduces a difference."""

import os
import pathlib
import re
import tempfile

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow_ops import apply_op

import blade

from . import draw

# Allowed difference, relative to the largest finite expected value.
RTOL = {"float32": 2e-5, "float64": 1e-10, "float16": 4e-3, "bfloat16": 3e-2}


class Case:
    """One op with its operands. `rtol` widens the tolerance; `take` names the outputs that are compared."""

    def __init__(self, op, arguments, rtol=None, take=None, label=""):
        self.op, self.arguments, self.rtol, self.take, self.label = op, arguments, rtol, take, label
        self.outputs, self.fed = [], []

    def __str__(self):
        return f"{self.label}{self.op}(" + ", ".join(f"{k}={show(v)}" for k, v in self.arguments.items()) + ")"


def show(value, whole=False):
    if isinstance(value, draw.Const):
        return "Const(" + show(value.value, whole) + ")"
    if isinstance(value, list) and value and isinstance(value[0], (np.ndarray, draw.Const)):
        return "[" + ", ".join(show(v, whole) for v in value) + "]"
    if isinstance(value, np.ndarray):
        if whole or value.size <= 6:
            return f"np.array({value.tolist()}, '{value.dtype.name}')"
        return f"{value.dtype.name}{list(value.shape)}"
    return getattr(value, "name", None) or repr(value)


class Batch:
    """Cases that share a graph."""

    def __init__(self, hide=None):
        self.graph = tf.Graph()
        self.feed = {}
        self.cases = []
        self.hide = hide or (lambda: False)

    def operand(self, value, case):
        if isinstance(value, draw.Const):
            return tf.constant(value.value, dtype=value.quantized)
        if isinstance(value, list) and value and isinstance(value[0], (np.ndarray, draw.Const)):
            return [self.operand(v, case) for v in value]
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype == np.complex64:  # Blade has none outside of an engine
            return tf.complex(self.operand(np.real(value), case), self.operand(np.imag(value), case))
        half = value.dtype == draw.BFLOAT16  # NumPy has none that can be fed: it is made inside the graph
        fed = value.astype(np.float32) if half else value
        shape = [None if self.hide() else d for d in fed.shape]
        tensor = tf.placeholder(tf.as_dtype(fed.dtype), shape, name=f"in{len(self.feed)}")
        self.feed[tensor.name] = fed
        case.fed.append(tensor.name)
        return tf.cast(tensor, tf.bfloat16) if half else tensor

    def add(self, case):
        """False where TensorFlow refuses to build it."""
        case.outputs, case.fed = [], []
        with self.graph.as_default():
            try:
                operands = {k: self.operand(v, case) for k, v in case.arguments.items()}
                results = apply_op(case.op, operands)
            except (ValueError, TypeError, tf.errors.OpError) as error:
                case.build_error = str(error)
                return False
            results = list(results) if isinstance(results, (list, tuple)) else [results]
            for index, result in enumerate(results):
                if case.take is not None and index not in case.take:
                    continue
                for part in fetchable(result):
                    name = tf.cast(part, tf.float32).name if part.dtype == tf.bfloat16 else part.name
                    case.outputs.append((name, part.dtype.base_dtype.name))
        self.cases.append(case)
        return True

    def tensorflow(self, cases):
        """Lists of answers, one a case; the error's words where a run fails."""
        names = [name for case in cases for name, _ in case.outputs]
        with tf.Session(graph=self.graph, config=plain_config()) as session:
            try:
                flat = session.run(names, {k: self.feed[k] for case in cases for k in case.fed})
            except tf.errors.OpError as error:
                if len(cases) == 1:
                    return [f"{type(error).__name__}: " + " ".join(str(error).split(" [[")[0].split())[-300:]]
                half = len(cases) // 2
                return self.tensorflow(cases[:half]) + self.tensorflow(cases[half:])
        return regroup(cases, flat)

    def blade(self, cases):
        names = [name for case in cases for name, _ in case.outputs]
        kept = tf.graph_util.extract_sub_graph(self.graph_def(), [name.split(":")[0] for name in names])
        present = {node.name + ":0" for node in kept.node}
        feed = {k: self.feed[k] for case in cases for k in case.fed if k in present}
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "cases.pb")
            path.write_bytes(kept.SerializeToString())
            try:
                results = blade.Engine(str(path), outputs=names).run(feed)
            except blade.BladeError as error:
                if len(cases) == 1:
                    return [f"refused: {error}"]
                half = len(cases) // 2
                return self.blade(cases[:half]) + self.blade(cases[half:])
        return regroup(cases, [results[name] for name in names])

    def graph_def(self):
        if getattr(self, "_graph_def", None) is None:
            self._graph_def = self.graph.as_graph_def()
        return self._graph_def


def fetchable(result):
    """Complex numbers as two tensors, quantized numbers as integers: engines hand out no others."""
    if result.dtype.is_complex:
        return [tf.math.real(result), tf.math.imag(result)]
    if result.dtype.is_quantized:
        return [tf.bitcast(result, tf.as_dtype(result.dtype.name[1:]))]
    return [result]


def plain_config():
    """TensorFlow runs the graph as written."""
    config = tf.ConfigProto(intra_op_parallelism_threads=2, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    return config


def regroup(cases, flat):
    answers, at = [], 0
    for case in cases:
        answers.append(flat[at:at + len(case.outputs)])
        at += len(case.outputs)
    return answers


def difference(expected, got, dtype, rtol=None):
    """A sentence, or None where the answers agree."""
    expected, got = np.asarray(expected), np.asarray(got)
    stored = np.float32 if dtype == "bfloat16" else expected.dtype
    if expected.shape != got.shape or got.dtype != stored:
        return f"is {got.dtype}{list(got.shape)}, expected {expected.dtype}{list(expected.shape)}"
    if dtype not in RTOL:
        wrong = np.flatnonzero(expected.ravel() != got.ravel())
        if not wrong.size:
            return None
        at = wrong[0]
        return f"{wrong.size} elements differ, [{at}] is {got.ravel()[at]}, expected {expected.ravel()[at]}"
    e, g = expected.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    finite = np.isfinite(e)
    scale = np.abs(e[finite]).max(initial=0)
    limit = max(rtol or 0, RTOL[dtype])
    with np.errstate(invalid="ignore"):
        good = (e == g) | (np.isnan(e) & np.isnan(g)) | (finite & (np.abs(e - g) <= limit * scale + 1e-37))
    wrong = np.flatnonzero(~good)
    if not wrong.size:
        return None
    at = wrong[0]
    return f"{wrong.size} of {e.size} elements differ, [{at}] is {g[at]!r}, expected {e[at]!r} (largest {scale:.4g})"


# A form that Blade leaves to TensorFlow and says why, because nothing is known of an operand before the run.
NOT_KNOWN = re.compile(r"is not a constant|not known")
# What TensorFlow's CPU kernels lack, though the op's definition has it.
NO_KERNEL = re.compile(r"Unimplemented|do not yet support|not supported")


def check(case, expected, got):
    """A sentence about the first output that differs; both sides refusing agree."""
    if isinstance(expected, str):
        return None if isinstance(got, str) or NO_KERNEL.search(expected) else f"answers, but TensorFlow says {expected}"
    if isinstance(got, str):
        return None if NOT_KNOWN.search(got) else got
    for (_, dtype), e, g in zip(case.outputs, expected, got):
        sentence = difference(e, g, dtype, case.rtol)
        if sentence:
            return sentence
    return None


def in_float32(case):
    """The same op on the same numbers in float32: what a 16-bit kernel should be near to."""
    def wider(value):
        if isinstance(value, draw.Const):
            return draw.Const(wider(value.value), quantized=value.quantized)
        if isinstance(value, list):
            return [wider(v) for v in value]
        if isinstance(value, np.ndarray) and value.dtype in (draw.BFLOAT16, np.float16):
            return value.astype(np.float32)
        if isinstance(value, tf.DType) and value in (tf.float16, tf.bfloat16):
            return tf.float32
        return value

    return Case(case.op, {k: wider(v) for k, v in case.arguments.items()}, case.rtol, case.take)


def near_float32(case, got):
    """Whether a 16-bit answer is the rounded float32 one, although TensorFlow's own differs."""
    if isinstance(got, str) or not any(dtype in ("float16", "bfloat16") for _, dtype in case.outputs):
        return False
    batch, wide = Batch(), in_float32(case)
    if not batch.add(wide):
        return False
    expected = batch.tensorflow([wide])[0]
    if isinstance(expected, str):
        return False
    for (_, dtype), e, g in zip(case.outputs, expected, got):
        with np.errstate(over="ignore"):
            e = np.asarray(e)
            e = e.astype(draw.numpy_type(dtype)) if dtype in RTOL else e
        e = e.astype(np.float32) if dtype == "bfloat16" else e
        if difference(e, g, dtype, case.rtol):
            return False
    return True


def run(cases, hide=None):
    """Sentences, one a case in which Blade does not do what TensorFlow does."""
    batch = Batch(hide)
    built = [case for case in cases if batch.add(case)]
    if not built:
        return [], 0
    expected, got = batch.tensorflow(built), batch.blade(built)
    found = []
    for case, e, g in zip(built, expected, got):
        sentence = check(case, e, g)
        if sentence and not near_float32(case, g):
            found.append((case, sentence))
    return found, len(built)


def reproducer(case):
    """Lines of Python that run this case alone."""
    lines = ["from op_fuzz.draw import Const", "from op_fuzz.runner import Case, run", "import numpy as np"]
    arguments = ", ".join(f"{k}={show(v, True)}" for k, v in case.arguments.items())
    lines.append(f"print(run([Case({case.op!r}, dict({arguments}))]))")
    return "\n".join(lines).replace("'bfloat16'", "BFLOAT16").replace("nan", "np.nan").replace("inf", "np.inf")


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
