"""Elementwise ops, reductions, matrix products and what works on rows."""

import numpy as np
import tensorflow.compat.v1 as tf

from .draw import FLOATS, INTEGERS, Const
from .specs import loose, spec

# Of real functions: where they are smooth. None: everywhere, with NaN, infinities and denormals.
DOMAINS = {
    "Neg": None, "Abs": None, "Square": (-9, 9), "Sign": None, "Relu": None, "Relu6": None, "Round": None, "Rint": None,
    "Floor": None, "Ceil": None, "IsNan": None, "IsInf": None, "IsFinite": None, "Elu": None, "Selu": None,
    "Softsign": (-9, 9), "Softplus": (-15, 15), "LeakyRelu": None, "Sqrt": (0, 9), "Rsqrt": (0.1, 9), "Exp": (-6, 6),
    "Expm1": (-3, 3), "Log": (0.05, 9), "Log1p": (-0.8, 9), "Sin": (-6, 6), "Cos": (-6, 6), "Tan": (-1.2, 1.2),
    "Asin": (-1, 1), "Acos": (-1, 1), "Atan": (-9, 9), "Sinh": (-4, 4), "Cosh": (-4, 4), "Asinh": (-9, 9),
    "Acosh": (1, 9), "Atanh": (-0.9, 0.9), "Tanh": None, "Sigmoid": None, "Erf": (-4, 4), "Erfc": (-3, 3),
    "Reciprocal": (0.3, 9), "Inv": (0.3, 9), "Lgamma": (0.1, 9), "Digamma": (0.2, 9), "Erfinv": (-0.95, 0.95),
    "Ndtri": (0.02, 0.98),
}  # fmt: skip
# TensorFlow takes denormals for zeros, so these jump elsewhere.
STEPS = ("Floor", "Ceil", "Sign")
FEATURES = ("Relu", "Relu6", "Elu", "Selu", "Softplus", "Softsign", "LeakyRelu")


def unary(op, domain):
    key = "features" if op in FEATURES else "x"

    def arguments(d):
        low, high = domain or (None, None)
        d.denormals = op not in STEPS
        out = {key: d.values(d.shape(), low, high)}
        d.denormals = True
        if op == "LeakyRelu":
            out["alpha"] = d.pick((0.2, 0.01, 0.5, 1.5))
        return out

    types = FLOATS if op in ("Acos",) else FLOATS + ("int32", "int64", "int8", "int16", "uint8", "uint16", "uint32", "uint64")
    if op == "Round":  # TensorFlow's integer Round gives zeros
        types = FLOATS
    return dict(draw_arguments=arguments, types=types)


for op, domain in DOMAINS.items():
    spec(op, **unary(op, domain), rtol=loose(4) if op in ("Lgamma", "Digamma", "Erfinv", "Ndtri", "Tan") else None)
spec("LogicalNot", lambda d: dict(x=d.values(d.shape(), t="bool")), attr=None)
for op in ("Invert", "PopulationCount"):
    spec(op, lambda d: dict(x=d.values(d.shape(), specials=0.4)))


def binary(op, first="x", second="y", low=None, high=None, specials=0.1):
    def arguments(d):
        x, y = d.pair()
        a, b = d.values(x, low, high, specials), d.values(y, low, high, specials)
        if d.t in FLOATS and d.chance(0.3):
            a, b = np.round(a.astype(np.float32)).astype(a.dtype), np.round(b.astype(np.float32)).astype(b.dtype)
        return {first: d.maybe_const(a, 0.2), second: d.maybe_const(b, 0.3)}

    return arguments


for op in ("Add", "AddV2", "Sub", "Maximum", "Minimum", "Less", "LessEqual", "Greater", "GreaterEqual", "Equal", "NotEqual",
           "SquaredDifference", "MulNoNan"):  # fmt: skip
    spec(op, binary(op))
spec("Mul", binary("Mul", low=-9, high=9))
for op in ("LogicalAnd", "LogicalOr"):
    spec(op, binary(op), attr=None, types=["bool"])
for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
    spec(op, binary(op, specials=0.4))


def shifts(d):
    x, y = d.pair()
    bits = 8 * np.dtype(d.t).itemsize
    return dict(x=d.values(x, specials=0.4), y=d.values(y, 0, bits - 1))


spec("LeftShift", shifts)
spec("RightShift", shifts)


def divide(d):
    x, y = d.pair()
    return dict(x=d.values(x, -20, 20), y=d.nonzero(y))


for op in ("Div", "RealDiv", "TruncateDiv", "FloorDiv", "FloorMod", "Mod", "TruncateMod"):
    spec(op, divide, types=(FLOATS[:2] + INTEGERS) if op in ("FloorMod", "FloorDiv", "TruncateDiv") else None)


def divide_some_zero(d):
    arguments = divide(d)
    y = arguments["y"]
    if y.size and d.chance(0.5):
        y.reshape(-1)[d.int(0, y.size - 1)] = 0
    return arguments


spec("DivNoNan", divide_some_zero)


def x_times(d, low, high):
    x, y = d.pair()
    first = d.values(x, -3, 3)
    if first.size:
        first.reshape(-1)[0] = 0
    return dict(x=first, y=d.values(y, low, high))


spec("Xdivy", lambda d: x_times(d, 0.3, 4))
spec("Xlogy", lambda d: x_times(d, 0.1, 6))
spec("Xlog1py", lambda d: x_times(d, -0.7, 6))
spec("NextAfter", binary("NextAfter", "x1", "x2"), rtol=0)
spec("Atan2", lambda d: (lambda p: dict(y=d.values(p[0], -5, 5), x=d.values(p[1], 0.2, 5)))(d.pair()))
spec("ApproximateEqual", lambda d: (lambda s: dict(x=d.values(s, 0, 1), y=d.values(s, 0, 1), tolerance=0.3))(d.shape()))


def power(d):
    x, y = d.pair()
    if d.t in FLOATS:
        return dict(x=d.values(x, 0.2, 3), y=d.values(y, -2.5, 2.5))
    return dict(x=d.values(x, -4, 4), y=d.values(y, 0, 5))


spec("Pow", power, rtol=loose(4))


def select_v2(d):
    x, y = d.pair(3)
    condition, _ = (x, y) if d.chance(0.5) else (y, x)
    return dict(condition=d.values(condition, t="bool"), t=d.values(x), e=d.values(y))


def select(d):
    shape = d.shape(0, 4)
    condition = shape if d.chance(0.5) or not shape else shape[:1]
    return dict(condition=d.values(condition, t="bool"), t=d.values(shape), e=d.values(shape))


spec("SelectV2", select_v2)
spec("Select", select)
spec("AddN", lambda d: (lambda s: dict(inputs=[d.values(s, -9, 9) for _ in range(d.int(1, 5))]))(d.shape()))


def clip(d):
    shape = d.shape()
    return dict(t=d.values(shape), clip_value_min=d.values((), -2, 0), clip_value_max=d.values((), 1, 2))


spec("ClipByValue", clip)


def cast(d):
    to = d.pick(FLOATS + INTEGERS + ("bool",))
    unsigned = to.startswith("u") or d.t.startswith("u")
    return dict(x=d.values(d.shape(), 0 if unsigned else -20, 20), DstT=tf.as_dtype(to), Truncate=False)


spec("Cast", cast, types=FLOATS + INTEGERS + ("bool",), attr=None)


def bitcast(d):
    size = np.dtype(d.t).itemsize if d.t != "bfloat16" else 2
    to = d.pick([t for t in FLOATS[:3] + INTEGERS])
    wide = np.dtype(to).itemsize
    shape = d.shape(1, 3) + ((wide // size,) if wide > size else ())
    return dict(input=d.values(shape, 0, 100), type=tf.as_dtype(to))


spec("Bitcast", bitcast, types=INTEGERS + ("float32", "float64", "float16"), rtol=0)
for op in ("ZerosLike", "OnesLike"):
    spec(op, lambda d: dict(x=d.values(d.shape())))


def bias(d):
    shape = d.shape(2, 5)
    first = len(shape) > 2 and d.chance(0.4)
    channels = shape[1 if first else -1]
    return dict(value=d.values(shape, -9, 9), bias=d.maybe_const(d.values((channels,), -9, 9)),
                data_format="NCHW" if first else "NHWC")  # fmt: skip


spec("BiasAdd", bias)
spec("BiasAddV1", lambda d: (lambda s: dict(value=d.values(s, -9, 9), bias=d.values(s[-1:], -9, 9)))(d.shape(2, 4)))

# --- reductions


def axes_of(d, rank):
    if rank == 0:
        return np.zeros(0, np.int32)
    count = d.int(0, rank) if d.chance(0.3) else d.int(1, rank)
    axes = [int(a) for a in d.rng.permutation(rank)[:count]]
    return np.array([a - rank if d.chance(0.3) else a for a in axes], np.int32)


def reduction(low=None, high=None, key="input", zero=0.04, t=None):
    def arguments(d):
        shape = d.shape(0, 5, zero)
        return {key: d.values(shape, low, high, t=t), "reduction_indices": Const(axes_of(d, len(shape))),
                "keep_dims": d.chance(0.5)}  # fmt: skip

    return arguments


spec("Sum", reduction(-3, 3), rtol=loose(2))
# Sums of integers that overflow before they are divided are TensorFlow's own business.
spec("Mean", reduction(-3, 3, zero=0), types=FLOATS + ("int32", "int64"), rtol=loose(2))
spec("Prod", reduction(0.8, 1.25), rtol=loose(4))
for op in ("Max", "Min"):
    spec(op, reduction(zero=0.04))
for op in ("All", "Any"):
    spec(op, reduction(t="bool"), attr=None)
spec("EuclideanNorm", reduction(-3, 3), types=FLOATS, rtol=loose(2))
spec("L2Loss", lambda d: dict(t=d.values(d.shape(), -3, 3)), rtol=loose(2))


def arg_reduce(d):
    shape = d.shape(1, 4, 0)
    return dict(input=d.values(shape, specials=0), dimension=Const(np.int32(d.axis(len(shape)))),
                output_type=d.pick((tf.int32, tf.int64)))  # fmt: skip


spec("ArgMax", arg_reduce, types=FLOATS + INTEGERS)
spec("ArgMin", arg_reduce, types=FLOATS + INTEGERS)


def cumulative(low, high):
    def arguments(d):
        shape = d.shape(1, 4)
        return dict(x=d.values(shape, low, high), axis=Const(np.int32(d.axis(len(shape)))), exclusive=d.chance(0.4),
                    reverse=d.chance(0.4))  # fmt: skip

    return arguments


spec("Cumsum", cumulative(-3, 3), rtol=loose(4))
spec("Cumprod", cumulative(0.8, 1.25), rtol=loose(8))
spec("CumulativeLogsumexp", cumulative(-3, 3), rtol=loose(8))
spec("Softmax", lambda d: dict(logits=d.values(d.shape(1, 4), -9, 9)), rtol=loose(2))
spec("LogSoftmax", lambda d: dict(logits=d.values(d.shape(1, 4), -9, 9)), rtol=loose(2))


def cross_entropy(d):
    """One row of scores or labels may stand for all."""
    rows, classes = d.int(1, 5), d.int(1, 9)
    labels = d.values((d.pick((1, rows)), classes), 0, 1)
    return dict(features=d.values((rows if labels.shape[0] == 1 else d.pick((1, rows)), classes), -9, 9), labels=labels)


def sparse_cross_entropy(d):
    rows, classes = d.int(1, 5), d.int(1, 9)
    labels = d.rng.integers(0, classes, rows).astype(d.pick(("int32", "int64")))
    return dict(features=d.values((rows, classes), -9, 9), labels=labels)


spec("SoftmaxCrossEntropyWithLogits", cross_entropy, rtol=loose(8))
spec("SparseSoftmaxCrossEntropyWithLogits", sparse_cross_entropy, rtol=loose(8))


def top_k(d):
    shape = d.shape(1, 3, 0)
    return dict(input=d.values(shape, specials=0), k=d.maybe_const(np.int32(d.int(0, shape[-1])) * np.ones((), np.int32)),
                sorted=True, index_type=d.pick((tf.int32, tf.int64)))  # fmt: skip


spec("TopKV2", top_k)


def in_top_k(d):
    rows, classes = d.int(1, 7), d.int(1, 9)
    targets = d.values((rows,), 0, classes - 1)
    return dict(predictions=d.values((rows, classes), t="float32"), targets=targets, k=d.maybe_const(d.values((), 1, classes)))


spec("InTopKV2", in_top_k)
spec("InTopK", lambda d: (lambda a: {**a, "k": d.int(1, 5)})(in_top_k(d)))

# --- matrix products


def matmul(d):
    m, k, n = d.dim(), d.pick((0, 1, 7, 16, 33)), d.dim(17)
    ta, tb = d.chance(0.3), d.chance(0.3)
    a, b = ((k, m) if ta else (m, k)), ((n, k) if tb else (k, n))
    return dict(a=d.values(a, -3, 3), b=d.maybe_const(d.values(b, -3, 3)), transpose_a=ta, transpose_b=tb)


def batch_matmul(d, broadcast=True, second=None):
    m, k, n = d.dim(), d.int(1, 17), d.dim(17)
    ta, tb = d.chance(0.3), d.chance(0.3)
    x, y = d.pair(2) if broadcast else (d.shape(0, 2),) * 2
    a, b = ((k, m) if ta else (m, k)), ((n, k) if tb else (k, n))
    return dict(x=d.values(x + a, -3, 3), y=d.maybe_const(d.values(y + b, -3, 3, t=second)), adj_x=ta, adj_y=tb)


def einsum(d):
    sizes = {c: d.int(1, 5) for c in "abcdij"}
    equation = d.pick(("ij,jc->ic", "aij,ajc->aic", "abij,abcj->abic", "bic,cd->bid", "ij->ji", "aij->a", "ij,ij->", "abc,bcd->ad",
                       "bij,bjc->bic", "abcd,acij->abcij"))  # fmt: skip
    terms = equation.split("->")[0].split(",")
    return dict(inputs=[d.values(tuple(sizes[c] for c in t), -3, 3) for t in terms], equation=equation)


spec("MatMul", matmul, rtol=loose(4))
spec("BatchMatMul", lambda d: batch_matmul(d, False), rtol=loose(4))
spec("BatchMatMulV2", batch_matmul, rtol=loose(4))
spec("BatchMatMulV3", lambda d: {**batch_matmul(d), "Tout": tf.as_dtype("int32" if d.t in ("int8", "uint8") else d.t)},
     attr="Ta", types=("float32", "float64", "int8", "uint8", "int32", "int64", "bfloat16"), rtol=loose(4))  # fmt: skip
spec("Einsum", einsum, rtol=loose(4))


def fused_matmul(d):
    m, k, n = d.int(1, 9), d.int(1, 17), d.int(1, 17)
    ops = ["BiasAdd"] + ([d.pick(("Relu", "Relu6", "Elu", "Tanh", "Sigmoid", "LeakyRelu", "GeluExact"))] if d.chance(0.7) else [])
    return dict(a=d.values((m, k), -2, 2), b=d.maybe_const(d.values((k, n), -2, 2)), args=[d.values((n,), -2, 2)],
                transpose_a=False, transpose_b=False, fused_ops=ops, epsilon=0.0001, leakyrelu_alpha=0.2)  # fmt: skip


spec("_FusedMatMul", fused_matmul, types=("float32",), rtol=loose(4))


def sparse_matmul(d):
    rows, inner, columns, count = d.int(1, 7), d.int(1, 7), d.int(1, 9), d.int(0, 9)
    indices = np.stack([d.rng.integers(0, rows, count), d.rng.integers(0, inner, count)], 1).astype(d.pick(("int32", "int64")))
    aa, ab = d.chance(0.3), d.chance(0.3)
    height = rows if aa else inner
    b = (columns, height) if ab else (height, columns)
    return dict(a_indices=indices, a_values=d.values((count,), -3, 3), a_shape=Const(np.array([rows, inner], np.int64)),
                b=d.values(b, -3, 3), adjoint_a=aa, adjoint_b=ab)  # fmt: skip


spec("SparseTensorDenseMatMul", sparse_matmul, rtol=loose(4))

# --- recurrent


def lstm(d, op):
    steps, batch, inputs, cells = d.int(1, 5), d.int(1, 4), d.int(1, 7), d.int(1, 9)
    v = lambda *s: d.values(s, -1, 1)  # noqa: E731
    out = dict(x=v(steps, batch, inputs) if op != "LSTMBlockCell" else v(batch, inputs), cs_prev=v(batch, cells),
               h_prev=v(batch, cells), w=v(inputs + cells, 4 * cells), wci=v(cells), wcf=v(cells), wco=v(cells),
               b=v(4 * cells), use_peephole=d.chance(0.5), cell_clip=d.pick((0.5, 3.0)))  # fmt: skip
    if op != "BlockLSTMV2":
        out["forget_bias"] = d.pick((0.0, 1.0))
    if op != "LSTMBlockCell":
        out["seq_len_max"] = d.maybe_const(np.array(steps, np.int64))
    return out


for op in ("BlockLSTM", "BlockLSTMV2", "LSTMBlockCell"):
    spec(op, lambda d, op=op: lstm(d, op), types=("float32",), rtol=loose(4))


def gru(d):
    batch, inputs, cells = d.int(1, 4), d.int(1, 7), d.int(1, 9)
    v = lambda *s: d.values(s, -1, 1)  # noqa: E731
    return dict(x=v(batch, inputs), h_prev=v(batch, cells), w_ru=v(inputs + cells, 2 * cells), w_c=v(inputs + cells, cells),
                b_ru=v(2 * cells), b_c=v(cells))  # fmt: skip


spec("GRUBlockCell", gru, rtol=loose(4))

# --- quantization


def fake_quant(d, channels=False):
    shape = d.shape(1, 4)
    size = shape[-1:] if channels else ()
    low, high = d.values(size, -4, -0.1), d.values(size, 0.1, 4)
    return dict(inputs=d.values(shape, -4, 4), min=d.maybe_const(low), max=d.maybe_const(high), num_bits=d.pick((8, 4, 16)),
                narrow_range=d.chance(0.3))  # fmt: skip


# A rounding that falls the other way moves a value by one level.
spec("FakeQuantWithMinMaxVars", fake_quant, attr=None, rtol=0.1)
spec("FakeQuantWithMinMaxVarsPerChannel", lambda d: fake_quant(d, True), attr=None, rtol=0.1)
spec("FakeQuantWithMinMaxArgs", lambda d: dict(inputs=d.values(d.shape(), -4, 4), min=-float(d.int(1, 6)), max=float(d.int(1, 6)),
                                               num_bits=8, narrow_range=d.chance(0.3)), attr=None, rtol=0.05)  # fmt: skip


def quantize_and_dequantize(d, version):
    shape = d.shape(1, 3, 0)
    axis = d.int(0, len(shape) - 1) if d.chance(0.3) else -1
    size = () if axis < 0 else (shape[axis],)
    signed = d.chance(0.7)
    out = dict(input=d.values(shape, -3, 3), input_min=d.values(size, -3, -1) if signed else d.values(size, 0, 0.1),
               input_max=d.values(size, 1, 3), signed_input=signed, range_given=axis < 0 and d.chance(0.5), narrow_range=d.chance(0.3),
               axis=axis)  # fmt: skip
    if version == 3:
        out["num_bits"] = Const(np.int32(8))
    else:
        out.update(num_bits=8, round_mode=d.pick(("HALF_TO_EVEN", "HALF_UP")))
    return out


for version in (2, 3, 4):
    spec(f"QuantizeAndDequantizeV{version}", lambda d, v=version: quantize_and_dequantize(d, v), rtol=0.02)


def dequantize(d):
    """Stored weights, the one form that Blade takes."""
    stored, quantized = d.pick((("uint8", "quint8"), ("int8", "qint8")))
    low = float(d.rng.uniform(-5, 1))
    return dict(input=Const(d.values(d.shape(1, 4, 0), t=stored), quantized=quantized), min_range=Const(np.float32(low)),
                max_range=Const(np.float32(low + d.rng.uniform(0.1, 6))), mode=d.pick(("MIN_COMBINED", "MIN_FIRST", "SCALED")),
                narrow_range=d.chance(0.3))  # fmt: skip


spec("Dequantize", dequantize, attr=None)
