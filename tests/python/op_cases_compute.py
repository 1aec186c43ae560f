"""Cases of ops that compute: elementwise, convolutions, normalization, pooling, matrices, reductions."""

import numpy as np

from differential import BFLOAT16, SHAPES, Const, family, tf

PAIRS = [
    ((3, 5), (3, 5)),
    ((2, 3, 17), (17,)),
    ((4, 1, 6), (3, 1)),
    ((), (2, 2)),
    ((0, 3), (1, 3)),
    ((5, 1), (1, 33)),
    ((1,), (1,)),
]
SPECIALS = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e30, -1e30, 0.5, -2.5, 88.0, -104.0], np.float32)
# Domain, and whether NaN, infinities and huge values are cases too.
REAL_UNARY = {
    "Sqrt": (0, 9, True), "Rsqrt": (0.1, 9, False), "Exp": (-9, 9, True),
    "Expm1": (-2, 2, False), "Log": (0.01, 9, False),
    "Log1p": (-0.9, 9, False), "Sin": (-9, 9, False), "Cos": (-9, 9, False), "Tan": (-1.4, 1.4, False),
    "Asin": (-1, 1, False), "Acos": (-1, 1, False),
    "Atan": (-9, 9, True), "Sinh": (-4, 4, False), "Cosh": (-4, 4, False),
    "Asinh": (-9, 9, False), "Acosh": (1, 9, False), "Atanh": (-0.9, 0.9, False), "Tanh": (-4, 4, True),
    "Sigmoid": (-9, 9, True), "Erf": (-3, 3, True), "Erfc": (-3, 3, False),
    "Floor": (-9, 9, True), "Ceil": (-9, 9, True),
    "Rint": (-9, 9, True), "Elu": (-4, 4, True), "Selu": (-4, 4, True), "Softplus": (-30, 30, False),
    "Softsign": (-9, 9, False), "IsNan": (-1, 1, True), "IsInf": (-1, 1, True), "IsFinite": (-1, 1, True),
    "LeakyRelu": (-3, 3, True),
}  # fmt: skip
NO_HALF_KERNEL = ["Rint"]  # in TensorFlow
ANY_UNARY = ["Neg", "Abs", "Square", "Reciprocal", "Sign", "Relu", "Relu6", "Inv", "Round"]


def operand_name(name):
    return "features" if name in ("Relu", "Relu6", "Elu", "Selu", "Softplus", "Softsign", "LeakyRelu") else "x"


@family
def real_unary(c):
    for name, (low, high, specials) in REAL_UNARY.items():
        key = operand_name(name)
        for shape in SHAPES:
            c.op(name, **{key: c.real(shape, low, high)})
        c.op(name, **{key: c.real((33,), low, high, np.float64)})
        if name not in NO_HALF_KERNEL:
            c.op(name, **{key: c.real((9, 5), low, high, np.float16)})
            c.op(name, **{key: c.real((9, 5), low, high, BFLOAT16)})
        if specials:
            c.op(name, **{key: SPECIALS})
    c.op("LeakyRelu", features=c.real((4, 5)), alpha=0.3)
    c.op("LeakyRelu", features=c.real((4, 5)), alpha=1.5)


@family
def any_unary(c):
    for name in ANY_UNARY:
        key = operand_name(name)
        low = 0.2 if name in ("Reciprocal", "Inv") else -9
        for shape in SHAPES:
            c.op(name, **{key: c.real(shape, low, 9)})
        c.op(name, **{key: np.array([np.inf, -np.inf, 0.5, 1.5, 2.5, -0.5, -1.5, 7], np.float32)})
        for dtype in (np.float64, np.float16, BFLOAT16):
            c.op(name, **{key: c.real((9, 5), low, 9, dtype)})
        if name not in ("Reciprocal", "Inv", "Round"):  # TensorFlow rounds integers to 0
            for dtype in (np.int32, np.int64):
                c.op(name, **{key: c.whole((3, 11), dtype=dtype)})
    for dtype in (np.int8, np.uint8, np.int16):
        c.op("Relu", features=c.whole((40,), 0, 120, dtype))
    for shape in SHAPES:
        c.op("LogicalNot", x=c.flags(shape))
    for dtype in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64):
        c.op("Invert", x=c.whole((13,), 0, 100, dtype))


REAL_BINARY = [
    "Sub",
    "Mul",
    "Maximum",
    "Minimum",
    "SquaredDifference",
    "Less",
    "LessEqual",
    "Greater",
    "GreaterEqual",
    "Add",
    "AddV2",
    "Equal",
    "NotEqual",
]
DIVIDING = ["FloorDiv", "FloorMod", "RealDiv", "Div", "Mod", "TruncateMod", "DivNoNan", "Xdivy"]


@family
def binary(c):
    for name in REAL_BINARY:
        for x, y in PAIRS:
            c.op(name, x=c.real(x).round(1), y=c.real(y).round(1))
        for dtype in (np.float64, np.float16, BFLOAT16):
            c.op(name, x=c.real((3, 7), dtype=dtype), y=c.real((7,), dtype=dtype))
        for dtype in (np.int32, np.int64):
            c.op(name, x=c.whole((3, 7), dtype=dtype), y=c.whole((3, 1), dtype=dtype))
    for name in ("Maximum", "Less", "Equal"):
        c.op(name, x=np.array([np.nan, 1, np.inf, -np.inf], np.float32), y=np.array([1, 2, np.inf, 3], np.float32))
    for x, y in PAIRS:
        c.op("Equal", x=c.flags(x), y=c.flags(y))
        c.op("NotEqual", x=c.flags(x), y=c.flags(y))
        c.op("LogicalAnd", x=c.flags(x), y=c.flags(y))
        c.op("LogicalOr", x=c.flags(x), y=c.flags(y))
        c.op("ApproximateEqual", x=np.ones(x, np.float32), y=np.ones(x, np.float32) + c.real(x, -2e-5, 2e-5))


@family
def dividing(c):
    for name in DIVIDING:
        for x, y in PAIRS:
            signs = np.where(c.flags(y), 1, -1).astype(np.float32)
            c.op(name, x=c.real(x, -9, 9).round(1), y=signs * c.real(y, 0.5, 4))
        if name not in ("RealDiv", "DivNoNan", "Xdivy"):
            for dtype in (np.int32, np.int64):
                divisors = np.array([1, -1, 2, -2, 3, -3, 7, -7], dtype)
                c.op(name, x=c.whole((9, 8), dtype=dtype), y=divisors)
    c.op("TruncateDiv", x=c.whole((9, 4)), y=np.array([2, -2, 7, -7], np.int32))
    c.op("TruncateDiv", x=c.whole((9, 4), dtype=np.int64), y=np.array([2, -2, 7, -7], np.int64))
    zeros = np.array([0, 1, -1, 0], np.float32)
    for name in ("RealDiv", "Div", "DivNoNan", "MulNoNan"):
        c.op(name, x=np.array([0, 1, 2, -3], np.float32), y=zeros)
    c.op("MulNoNan", x=np.array([np.inf, np.nan, 3, np.inf], np.float32), y=zeros)
    c.op("Xdivy", x=zeros, y=np.array([0, 2, 4, 0], np.float32))
    c.op("Xlogy", x=zeros, y=np.array([0, 2, 4, 1], np.float32))
    for x, y in PAIRS:
        c.op("MulNoNan", x=c.real(x), y=c.real(y))
        c.op("Xlogy", x=c.real(x), y=c.real(y, 0.1, 5))
        c.op("Atan2", y=c.real(x), x=c.real(y))
        c.op("Pow", x=c.real(x, 0.1, 3), y=c.real(y))
    c.op("Pow", x=np.array([-2, -1, 0, 2, -3], np.float32), y=np.array([3, 2, 0, -1, 0.5], np.float32))
    c.op("Pow", x=c.whole((9,), -5, 5), y=c.whole((9,), 0, 5))
    c.op("Atan2", y=np.array([0, 0, -0.0, 1, -1], np.float32), x=np.array([1, -1, -1, 0, 0], np.float32))


@family
def bits(c):
    for dtype in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64):
        for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
            c.op(name, x=c.whole((3, 9), 0, 120, dtype), y=c.whole((9,), 0, 120, dtype))
        c.op("LeftShift", x=c.whole((3, 9), 0, 100, dtype), y=c.whole((9,), 0, 6, dtype))
        c.op("RightShift", x=c.whole((3, 9), 0, 100, dtype), y=c.whole((9,), 0, 6, dtype))
    c.op("RightShift", x=c.whole((9,), -100, -1), y=c.whole((9,), 0, 6))


@family
def more_operands(c):
    for shape in SHAPES:
        c.op("Select", condition=c.flags(shape), t=c.real(shape), e=c.real(shape))
        c.op("ZerosLike", x=c.real(shape))
        c.op("OnesLike", x=c.whole(shape))
        c.op(
            "ClipByValue",
            t=c.real(shape),
            clip_value_min=np.float32(-1) * np.ones((), np.float32),
            clip_value_max=np.ones((), np.float32),
        )
    c.op("Select", condition=c.flags((4,)), t=c.real((4, 3, 2)), e=c.real((4, 3, 2)))
    c.op("Select", condition=c.flags(()), t=c.real((4, 3)), e=c.real((4, 3)))
    c.op("Select", condition=c.flags((5,)), t=c.whole((5,)), e=c.whole((5,)))
    for x, y in PAIRS:
        c.op("SelectV2", condition=c.flags(x), t=c.real(y), e=c.real(x))
        c.op("SelectV2", condition=c.flags(y), t=c.whole(x), e=c.whole(()))
    for count in (1, 2, 5):
        c.op("AddN", inputs=[c.real((3, 7)) for _ in range(count)])
        c.op("AccumulateNV2", inputs=[c.real((3, 7)) for _ in range(count)], shape=[3, 7])
    c.op("AddN", inputs=[c.whole((3,)), c.whole((3,)), c.whole((3,))])
    c.op("ZerosLike", x=c.flags((3,)))
    c.op("OnesLike", x=c.real((3,), dtype=np.float16))
    c.op("Bitcast", input=c.real((3, 2)), type=tf.float32)
    for name in ("BiasAdd", "BiasAddV1"):
        for shape in ((3, 5), (2, 4, 4, 3), (0, 7), (1, 1)):
            c.op(name, value=c.real(shape), bias=c.real(shape[-1:]))
    c.op("BiasAdd", value=c.real((2, 3, 4, 5)), bias=c.real((3,)), data_format="NCHW")
    c.op("BiasAdd", value=c.real((2, 3, 7, 2, 5)), bias=c.real((3,)), data_format="NCHW")


@family
def cast(c):
    types = [
        np.float32,
        np.float64,
        np.float16,
        BFLOAT16,
        np.int8,
        np.int16,
        np.int32,
        np.int64,
        np.uint8,
        np.uint16,
        np.uint32,
        np.uint64,
        np.bool_,
    ]
    for source in types:
        for target in types:
            signed = all(np.dtype(t).kind != "u" for t in (source, target)) and np.bool_ not in (source, target)
            c.op("Cast", x=c.real((19,), -90 if signed else 0, 90).astype(source), DstT=tf.as_dtype(target))
    for shape in SHAPES:
        c.op("Cast", x=c.real(shape), DstT=tf.int32)
    c.op("Cast", x=np.array([0.0, -0.0, 0.3, np.nan], np.float32), DstT=tf.bool)
    c.op("Cast", x=np.array([70000, 1e-8, 1 + 2**-11, np.inf], np.float32), DstT=tf.float16)
    c.op("Cast", x=np.array([300, -1, 256], np.int32), DstT=tf.uint8)


@family
def convolution(c):
    c.last_dim_is_known = True  # channels

    def weights(*shape):
        return Const(c.real(shape, -0.5, 0.5))

    for size, kernel, strides, padding, dilation in [
        ((1, 8, 8, 3), (3, 3), 1, "SAME", 1),
        ((2, 9, 7, 5), (3, 3), 2, "SAME", 1),
        ((1, 9, 7, 4), (3, 3), 2, "VALID", 1),
        ((1, 5, 5, 17), (1, 1), 1, "VALID", 1),
        ((1, 6, 6, 16), (1, 1), 2, "SAME", 1),
        ((1, 15, 13, 3), (7, 7), 2, "SAME", 1),
        ((1, 12, 12, 4), (3, 3), 1, "SAME", 2),
        ((1, 4, 9, 2), (1, 5), 1, "SAME", 1),
        ((3, 1, 1, 8), (1, 1), 1, "SAME", 1),
        ((1, 2, 2, 3), (3, 3), 1, "SAME", 1),
    ]:
        c.op(
            "Conv2D",
            input=c.real(size),
            filter=weights(*kernel, size[-1], 19),
            strides=[1, strides, strides, 1],
            padding=padding,
            dilations=[1, dilation, dilation, 1],
        )
    c.op(
        "Conv2D",
        input=c.real((1, 6, 6, 3)),
        filter=weights(3, 3, 3, 8),
        strides=[1, 1, 2, 1],
        padding="EXPLICIT",
        explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0],
    )
    c.op(
        "Conv2D", input=c.real((1, 6, 6, 8)), filter=weights(3, 3, 4, 6), strides=[1, 1, 1, 1], padding="SAME"
    )  # two groups
    c.op(
        "Conv2D",
        input=c.real((1, 5, 5, 3), dtype=np.float64),
        filter=Const(c.real((3, 3, 3, 4), dtype=np.float64)),
        strides=[1, 1, 1, 1],
        padding="SAME",
    )
    for size, multiplier, stride, padding in [
        ((1, 8, 8, 3), 1, 1, "SAME"),
        ((2, 9, 7, 17), 1, 2, "SAME"),
        ((1, 9, 7, 4), 2, 1, "VALID"),
        ((1, 5, 5, 32), 1, 2, "VALID"),
        ((0, 5, 5, 2), 1, 1, "SAME"),
    ]:
        c.op(
            "DepthwiseConv2dNative",
            input=c.real(size),
            filter=weights(3, 3, size[-1], multiplier),
            strides=[1, stride, stride, 1],
            padding=padding,
        )
    for size, stride, padding in [
        ((1, 5, 6, 7, 2), 1, "SAME"),
        ((2, 5, 6, 7, 3), 2, "VALID"),
        ((1, 4, 4, 4, 1), 2, "SAME"),
    ]:
        c.op(
            "Conv3D",
            input=c.real(size),
            filter=weights(3, 3, 2, size[-1], 5),
            strides=[1, stride, stride, stride, 1],
            padding=padding,
        )
    for size, stride, padding, kernel in [
        ((1, 8, 8, 3), 2, "SAME", 3),
        ((2, 9, 9, 3), 2, "VALID", 3),
        ((1, 5, 5, 4), 1, "SAME", 2),
    ]:
        out = -(-size[1] // stride) if padding == "SAME" else (size[1] - kernel) // stride + 1
        c.op(
            "Conv2DBackpropInput",
            input_sizes=Const(list(size)),
            filter=weights(kernel, kernel, size[-1], 6),
            out_backprop=c.real((size[0], out, out, 6)),
            strides=[1, stride, stride, 1],
            padding=padding,
        )
    c.op(
        "Conv3DBackpropInputV2",
        input_sizes=Const([1, 4, 6, 4, 2]),
        filter=weights(3, 3, 3, 2, 5),
        out_backprop=c.real((1, 2, 3, 2, 5)),
        strides=[1, 2, 2, 2, 1],
        padding="SAME",
    )
    for fused in (["BiasAdd"], ["BiasAdd", "Relu"], ["BiasAdd", "Relu6"], ["BiasAdd", "Elu"]):
        c.op(
            "_FusedConv2D",
            input=c.real((1, 6, 6, 3)),
            filter=weights(3, 3, 3, 8),
            args=[Const(c.real((8,)))],
            host_args=[],
            num_args=1,
            strides=[1, 1, 1, 1],
            padding="SAME",
            fused_ops=fused,
        )


@family
def normalization_and_pooling(c):
    for name in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"):
        for shape in ((1, 4, 4, 3), (2, 3, 5, 17), (0, 2, 2, 4), (1, 1, 1, 1)):
            channels = shape[-1:]
            c.op(
                name,
                take=[0, 5] if name == "FusedBatchNormV3" else [0],
                x=c.real(shape),
                scale=c.real(channels),
                offset=c.real(channels),
                mean=c.real(channels),
                variance=c.real(channels, 0.1, 3),
                is_training=False,
                epsilon=1e-3,
            )
    for radius, bias, alpha, beta in ((5, 1.0, 1.0, 0.5), (2, 1.0, 1e-1, 0.75), (1, 2.0, 0.5, 1.0)):
        c.op("LRN", input=c.real((2, 3, 4, 13)), depth_radius=radius, bias=bias, alpha=alpha, beta=beta)
    for size, kernel, stride, padding in [
        ((1, 8, 8, 3), 2, 2, "VALID"),
        ((2, 9, 7, 17), 3, 2, "SAME"),
        ((1, 5, 5, 4), 3, 1, "SAME"),
        ((1, 4, 4, 1), 4, 4, "VALID"),
        ((0, 4, 4, 3), 2, 2, "SAME"),
    ]:
        window = {"ksize": [1, kernel, kernel, 1], "strides": [1, stride, stride, 1], "padding": padding}
        c.op("MaxPool", input=c.real(size), **window)
        c.op("AvgPool", value=c.real(size), **window)
        c.op(
            "MaxPoolV2",
            input=c.real(size),
            ksize=Const(window["ksize"]),
            strides=Const(window["strides"]),
            padding=padding,
        )
    for padding in ("SAME", "VALID"):
        window = {"ksize": [1, 2, 3, 2, 1], "strides": [1, 2, 1, 2, 1], "padding": padding}
        c.op("MaxPool3D", input=c.real((1, 5, 6, 7, 3)), **window)
        c.op("AvgPool3D", input=c.real((1, 5, 6, 7, 3)), **window)
    for name, output in (("Softmax", "logits"), ("LogSoftmax", "logits")):
        for shape in ((3, 5), (1, 1), (7, 129), (0, 4), (2, 3, 4)):
            c.op(name, **{output: c.real(shape, -9, 9)})
        c.op(name, **{output: c.real((3, 5), 80, 100)})
        c.op(name, **{output: c.real((3, 5), dtype=np.float64)})


@family
def matrices(c):
    for m, k, n in ((3, 5, 7), (1, 1, 1), (1, 33, 65), (17, 64, 31), (4, 0, 3), (0, 3, 2)):
        c.op("MatMul", a=c.real((m, k)), b=c.real((k, n)))
        c.op("MatMul", a=c.real((m, k)), b=Const(c.real((k, n))))
        c.op("MatMul", a=c.real((k, m)), b=c.real((n, k)), transpose_a=True, transpose_b=True)
        c.op("MatMul", a=c.real((m, k)), b=c.real((n, k)), transpose_b=True)
    c.op("MatMul", a=c.real((3, 4), dtype=np.float64), b=c.real((4, 5), dtype=np.float64))
    c.op("MatMul", a=c.whole((3, 4)), b=c.whole((4, 5)))
    c.op("MatMul", a=c.whole((3, 4), dtype=np.int64), b=c.whole((4, 5), dtype=np.int64))
    for fused in (["BiasAdd"], ["BiasAdd", "Relu"]):
        c.op("_FusedMatMul", a=c.real((3, 4)), b=Const(c.real((4, 5))), args=[Const(c.real((5,)))], fused_ops=fused)
    for name in ("BatchMatMul", "BatchMatMulV2"):
        c.op(name, x=c.real((2, 3, 4, 5)), y=c.real((2, 3, 5, 6)))
        c.op(name, x=c.real((2, 5, 4)), y=c.real((2, 6, 5)), adj_x=True, adj_y=True)
        c.op(name, x=c.real((0, 3, 4)), y=c.real((0, 4, 2)))
        c.op(name, x=c.real((1, 1, 1)), y=c.real((1, 1, 1)))
    c.op("BatchMatMulV2", x=c.real((2, 1, 4, 5)), y=c.real((3, 5, 6)))
    c.op("BatchMatMulV2", x=c.real((4, 5)), y=c.real((3, 5, 6)))
    for equation, shapes in [
        ("ij,jk->ik", ((3, 4), (4, 5))),
        ("bij,bkj->bik", ((2, 3, 4), (2, 5, 4))),
        ("abc,cd->abd", ((2, 3, 4), (4, 5))),
        ("bnth,bnsh->bnts", ((1, 2, 3, 4), (1, 2, 5, 4))),
        ("ij->ji", ((3, 4),)),
        ("ij->i", ((3, 4),)),
        ("i,j->ij", ((3,), (4,))),
        ("bfnh,nhd->bfd", ((2, 3, 2, 4), (2, 4, 5))),
    ]:
        c.op("Einsum", inputs=[c.real(s) for s in shapes], equation=equation)


AXES = [
    ((3, 5), [0]),
    ((3, 5), [1]),
    ((3, 5), [-1]),
    ((2, 3, 17), [0, 2]),
    ((2, 3, 17), [0, 1, 2]),
    ((2, 3, 17), []),
    ((0, 4), [0]),
    ((1,), [0]),
    ((2, 5, 6, 7), [1, 2]),
]


@family
def reductions(c):
    for name in ("Sum", "Mean", "Prod", "Max", "Min"):
        for number, (shape, axes) in enumerate(AXES):
            c.op(
                name,
                input=c.real(shape, 0.5, 1.5),
                reduction_indices=Const(np.array(axes, np.int32)),
                keep_dims=number % 2 == 1,
            )
        for dtype in (np.int32, np.int64):
            c.op(name, input=c.whole((3, 4), -3, 3, dtype), reduction_indices=Const([1]))
        c.op(name, input=c.real((3, 4), dtype=np.float64), reduction_indices=Const(np.array([0], np.int64), np.int64))
        c.op(name, input=c.real((), 1, 2), reduction_indices=Const(np.array([], np.int32)))
    for name in ("All", "Any"):
        for number, (shape, axes) in enumerate(AXES):
            c.op(
                name, input=c.flags(shape), reduction_indices=Const(np.array(axes, np.int32)), keep_dims=number % 2 == 1
            )
    for shape, axes in AXES:
        c.op("EuclideanNorm", input=c.real(shape), reduction_indices=Const(np.array(axes, np.int32)))
        c.op("L2Loss", t=c.real(shape))
    for name in ("ArgMax", "ArgMin"):
        for shape, axis in (((3, 5), 0), ((3, 5), -1), ((2, 3, 17), 1), ((1,), 0), ((0, 4), 1), ((4, 300), 1)):
            c.op(
                name,
                input=c.real(shape).round(),
                dimension=Const(axis, np.int32),
                output_type=tf.int32 if axis else tf.int64,
            )
        c.op(name, input=c.whole((4, 9), 0, 3), dimension=Const(1, np.int32))
        inf, nan, most = np.inf, np.nan, np.finfo(np.float32).max
        pairs = [[nan, inf], [nan, -inf], [-inf, -most], [inf, most], [nan, most], [nan, -most], [nan, nan], [nan, 1]]
        for repeated in (1, 3, 40):
            ends = np.repeat(np.array(pairs, np.float32), repeated, 1)
            c.op(name, input=ends, dimension=Const(1, np.int32))
            c.op(name, input=ends.T.copy(), dimension=Const(0, np.int32))
            c.op(name, input=ends.astype(np.float64), dimension=Const(1, np.int32))
    for exclusive in (False, True):
        for reverse in (False, True):
            c.op("Cumsum", x=c.real((3, 5, 2)), axis=Const(1, np.int32), exclusive=exclusive, reverse=reverse)
            c.op("Cumsum", x=c.whole((7,)), axis=Const(-1, np.int32), exclusive=exclusive, reverse=reverse)
    c.op("Cumsum", x=c.real((0, 3)), axis=Const(0, np.int32))
    for shape, k in (((3, 9), 4), ((5,), 5), ((2, 3, 7), 1), ((4, 3), 0), ((1, 1), 1)):
        c.op("TopKV2", input=c.real(shape), k=Const(k, np.int32))
    c.op("TopKV2", input=c.whole((4, 20), 0, 3), k=Const(6, np.int32))
