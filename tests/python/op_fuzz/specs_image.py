"""Convolutions, pooling, normalization, resizing and other ops on images."""

import numpy as np
import tensorflow.compat.v1 as tf

from .draw import FLOATS, INTEGERS, Const
from .specs import loose, spec

NUMBERS = FLOATS + INTEGERS


def spatial(values, first):
    return [1, 1, *values] if first else [1, *values, 1]


def geometry(d, dims, window, explicit=True, dilated=True, transposed=False):
    """Strides, dilations, padding and explicit paddings of channels-last windows over `dims`."""
    rank = len(window)
    dilations = [d.pick((1, 1, 2, 3)) if dilated and d.chance(0.3) else 1 for _ in range(rank)]
    strides = [d.pick((1, 1, 2, 3)) if max(dilations) == 1 else 1 for _ in range(rank)]
    reach = [(w - 1) * e + 1 for w, e in zip(window, dilations)]
    kinds = ["SAME"] + (["VALID"] if all(r <= n for r, n in zip(reach, dims)) else [])
    if explicit and rank == 2:
        kinds.append("EXPLICIT")
    padding = d.pick(kinds)
    pads = []
    if padding == "EXPLICIT":
        for n, r, w in zip(dims, reach, window):
            low, high = d.int(0, w - 1), d.int(0, w - 1)
            pads += [low, max(high, r - n - low)]
        pads = [0, 0, *pads, 0, 0]
    return dict(strides=spatial(strides, False), dilations=spatial(dilations, False), padding=padding), pads


def conv(d, rank=2):
    dims = [d.int(1, 9) for _ in range(rank)]
    window = [d.int(1, 5) for _ in range(rank)]
    groups = d.pick((1, 1, 2, 3)) if rank == 2 and d.t in ("float32", "float64") else 1
    depth, out = d.int(1, 5), groups * d.int(1, 6)
    attributes, pads = geometry(d, dims, window, dilated=rank == 2)
    if depth * groups == 1:  # TensorFlow's oneDNN kernel is wrong by strides of 1 and 3, say, where results have one column
        attributes["strides"] = spatial([attributes["strides"][1]] * rank, False)
    if pads:
        attributes["explicit_paddings"] = pads
    x = d.values((d.int(1, 3), *dims, depth * groups), -2, 2)
    return dict(input=x, filter=d.maybe_const(d.values((*window, depth, out), -2, 2), 0.8), **attributes)


spec("Conv2D", conv, rtol=loose(4))


def conv3d(d):
    """Without gaps between SAME windows, which TensorFlow places by whether its oneDNN kernels are on: Blade leaves those."""
    out = conv(d, 3)
    weights = out["filter"].value if isinstance(out["filter"], Const) else out["filter"]
    if out["padding"] == "SAME":
        strides = [min(s, w) for s, w in zip(out["strides"][1:-1], weights.shape)]
        if weights.shape[-2] == 1:  # as in conv(): one stride, now that these differ again
            strides = [min(strides)] * 3
        out["strides"] = [1, *strides, 1]
    return out


spec("Conv3D", conv3d, rtol=loose(4))


def depthwise(d):
    dims, window = [d.int(1, 9), d.int(1, 9)], [d.int(1, 4), d.int(1, 4)]
    attributes, pads = geometry(d, dims, window)
    attributes["strides"] = [1, s := attributes["strides"][1], s, 1]
    if pads:
        attributes["explicit_paddings"] = pads
    channels, multiplier = d.int(1, 9), d.pick((1, 1, 2, 3))
    return dict(input=d.values((d.int(1, 3), *dims, channels), -2, 2),
                filter=d.maybe_const(d.values((*window, channels, multiplier), -2, 2), 0.8), **attributes)  # fmt: skip


spec("DepthwiseConv2dNative", depthwise, rtol=loose(4))


def transposed(d, rank=2, depthwise=False):
    dims, window = [d.int(1, 12) for _ in range(rank)], [d.int(1, 4) for _ in range(rank)]
    attributes, pads = geometry(d, dims, window, explicit=rank == 2, dilated=False)  # TensorFlow's CPU kernels have none
    if depthwise:
        attributes["strides"] = [1, s := attributes["strides"][1], s, 1]
    if pads:
        attributes["explicit_paddings"] = pads
    outs = []
    for i, (n, w) in enumerate(zip(dims, window)):
        s, e = attributes["strides"][i + 1], attributes["dilations"][i + 1]
        reach = (w - 1) * e + 1
        total = n + (pads[2 * i + 2] + pads[2 * i + 3] if pads else 0)
        outs.append(-(-n // s) if attributes["padding"] == "SAME" else (total - reach) // s + 1)
    batch, c_in, c_out = d.int(1, 3), d.int(1, 6), d.int(1, 6)
    grad = c_out * d.int(1, 2) if depthwise else c_in
    weights = (*window, c_out, grad // c_out) if depthwise else (*window, c_out, c_in)
    return dict(input_sizes=Const(np.array([batch, *dims, c_out], np.int32)), filter=d.maybe_const(d.values(weights, -2, 2), 0.8),
                out_backprop=d.values((batch, *outs, grad), -2, 2), **attributes)  # fmt: skip


spec("Conv2DBackpropInput", transposed, types=("float32", "float64", "float16", "bfloat16"), rtol=loose(4))
spec("Conv3DBackpropInputV2", lambda d: transposed(d, 3), rtol=loose(4))
spec("DepthwiseConv2dNativeBackpropInput", lambda d: transposed(d, 2, True), types=("float32", "float64"), rtol=loose(4))


def fused_conv(d, op="_FusedConv2D"):
    out = conv(d) if op == "_FusedConv2D" else conv(d, 3)
    out.pop("explicit_paddings", None)
    if out["padding"] == "EXPLICIT":
        out["padding"] = "SAME"
    weights = out["filter"].value if isinstance(out["filter"], Const) else out["filter"]
    out["input"] = out["input"][..., : weights.shape[-2]]
    activation = d.pick(("", "Relu", "Relu6", "Elu", "LeakyRelu"))
    out.update(args=[d.values(weights.shape[-1:], -2, 2)], fused_ops=["BiasAdd"] + ([activation] if activation else []),
               epsilon=0.0001, leakyrelu_alpha=0.2)  # fmt: skip
    out["num_args"] = 1
    if op == "_FusedConv2D":
        out.update(host_args=[], num_host_args=0)
    return out


spec("_FusedConv2D", fused_conv, types=("float32",), rtol=loose(4))


def pad_conv(d, resize=False):
    dims, mode = [d.int(4, 9), d.int(4, 9)], d.pick(("REFLECT", "SYMMETRIC"))
    channels, window = d.int(1, 4), [d.int(1, 3), d.int(1, 3)]
    stride = d.int(1, 2)
    out = dict(input=d.values((1, *dims, channels), -2, 2), filter=Const(d.values((*window, channels, d.int(1, 5)), -2, 2)),
               paddings=Const(np.array([[0, 0], [d.int(0, 2), d.int(0, 2)], [d.int(0, 2), d.int(0, 2)], [0, 0]], np.int32)),
               mode=mode, strides=[1, stride, stride, 1], padding=d.pick(("SAME", "VALID")))  # fmt: skip
    if resize:
        out.update(size=Const(np.array([d.int(4, 9), d.int(4, 9)], np.int32)), resize_align_corners=d.chance(0.5))
    return out


spec("FusedPadConv2D", pad_conv, types=("float32", "float64"), rtol=loose(4))
spec("FusedResizeAndPadConv2D", lambda d: pad_conv(d, True), types=("float32",), rtol=loose(4))


def pool(d, rank=2, key="input", explicit=True):
    dims = [d.int(1, 9) for _ in range(rank)]
    window = [d.int(1, min(4, n)) for n in dims]
    padding = d.pick(("SAME", "VALID") + (("EXPLICIT",) if explicit else ()))
    # In 3-D without gaps between SAME windows, as in conv3d().
    strides = [d.int(1, w if rank == 3 and padding == "SAME" else 3) for w in window]
    out = {key: d.values((d.int(1, 3), *dims, d.dim()), -9, 9), "ksize": spatial(window, False), "strides": spatial(strides, False),
           "padding": padding}  # fmt: skip
    if padding == "EXPLICIT":
        out["explicit_paddings"] = [0, 0] + [d.int(0, w // 2) for w in window for _ in range(2)] + [0, 0]
    return out


spec("MaxPool", pool)
spec("AvgPool", lambda d: pool(d, key="value", explicit=False), rtol=loose(2))
spec("MaxPool3D", lambda d: pool(d, 3, explicit=False))
spec("AvgPool3D", lambda d: pool(d, 3, explicit=False), rtol=loose(2))
spec("MaxPoolV2", lambda d: (lambda a: {**a, "ksize": Const(np.array(a["ksize"], np.int32)),
                                        "strides": Const(np.array(a["strides"], np.int32))})(pool(d, explicit=False)))  # fmt: skip


def pool_argmax(d):
    out = pool(d, explicit=False)
    shape = out["input"].shape
    if d.t in FLOATS:  # equal elements may come in any order
        out["input"] = (d.rng.permutation(int(np.prod(shape))).reshape(shape) / 7.0 - 3).astype(out["input"].dtype)
    return {**out, "Targmax": d.pick((tf.int32, tf.int64)), "include_batch_in_index": d.chance(0.5)}


spec("MaxPoolWithArgmax", pool_argmax, types=("float32", "float64"))


def pool_grad(d):
    """Of what MaxPool gives: TensorFlow's gradient is of that, and of no other. Equal elements: the first has it all."""
    a = pool(d)
    if d.chance(0.5):
        a["input"] = np.maximum(a["input"], a["input"].dtype.type(0))
    x = a["input"].astype(np.float64)  # TensorFlow's MaxPool has fewer types than its gradient
    with tf.Graph().as_default(), tf.Session() as session:
        pooled = session.run(tf.raw_ops.MaxPool(**{**a, "input": x})).astype(a["input"].dtype)
    return dict(orig_input=a.pop("input"), orig_output=pooled, grad=d.values(pooled.shape, -2, 2), **a)


spec("MaxPoolGrad", pool_grad)


def with_edges(d, values, edges):
    """Some of the elements are one of `edges`, where the type has it."""
    if values.dtype.name in INTEGERS:
        edges = [e for e in edges if np.isfinite(e)]
    values, at = np.array(values), np.asarray(d.rng.random(values.shape) < 0.2)
    values[at] = d.rng.choice(edges, int(at.sum())).astype(values.dtype)
    return values


def gradient(of, gradients, low, high, edges):
    """NaN and infinities in half of the cases, also where nothing is passed on."""
    def draw(d):
        shape, special = d.shape(), [np.nan, np.inf, -np.inf] if d.chance(0.5) else []
        return {gradients: with_edges(d, d.values(shape, -2, 2), [0, *special]),
                of: with_edges(d, d.values(shape, low, high), [*edges, *special])}
    return draw


spec("ReluGrad", gradient("features", "gradients", -2, 2, (0,)))
spec("Relu6Grad", gradient("features", "gradients", -2, 8, (0, 6)))
spec("SigmoidGrad", gradient("y", "dy", 0, 1, (0, 1)), types=FLOATS)
spec("TanhGrad", gradient("y", "dy", -1, 1, (-1, 1)), types=FLOATS)
spec("EluGrad", gradient("outputs", "gradients", -1, 2, (-1, 0)), types=FLOATS)
spec("SeluGrad", gradient("outputs", "gradients", -1.7, 2, (0,)), types=FLOATS)
spec("LeakyReluGrad", lambda d: {**gradient("features", "gradients", -2, 2, (0,))(d), "alpha": d.pick((0.01, 0.2, 2.0))},
     types=FLOATS)
spec("SoftplusGrad", gradient("features", "gradients", -9, 9, (0,)), types=FLOATS, rtol=loose(2))
spec("SoftsignGrad", gradient("features", "gradients", -3, 3, (0,)), types=FLOATS, rtol=loose(2))
spec("ReciprocalGrad", gradient("y", "dy", -3, 3, (0,)), types=FLOATS, rtol=loose(2))
spec("InvGrad", gradient("y", "dy", -3, 3, (0,)), types=FLOATS, rtol=loose(2))
spec("SqrtGrad", gradient("y", "dy", 0.1, 3, (0,)), types=FLOATS, rtol=loose(2))
spec("RsqrtGrad", gradient("y", "dy", 0.1, 3, (0,)), types=FLOATS, rtol=loose(2))


def batch_norm_grad(d):
    shape = d.shape(3, 3, 0, most=6) + (d.int(1, 5),)
    channels = shape[-1:]
    return dict(y_backprop=d.values(shape, -2, 2), x=d.values(shape, -2, 2), scale=d.values(channels, -2, 2),
                reserve_space_1=d.values(channels, -1, 1), reserve_space_2=d.values(channels, 0.1, 2),
                reserve_space_3=d.values((0,), 0, 1), is_training=False, epsilon=0.001)


spec("FusedBatchNormGradV3", batch_norm_grad, types=("float32",), take=(0,), rtol=loose(4))


def batch_norm(d, version, training=False):
    shape = (d.int(1, 3), d.int(1, 5), d.int(1, 5), d.int(1, 9))
    statistics = "float32"
    v = lambda low, high: d.values(shape[-1:], low, high, t=statistics)  # noqa: E731
    empty = np.zeros(0, np.float32)
    out = dict(x=d.values(shape, -3, 3), scale=v(0.5, 2), offset=v(-1, 1), mean=empty if training else v(-1, 1),
               variance=empty if training else v(0.2, 2), is_training=training, epsilon=d.pick((1e-3, 1e-5)))  # fmt: skip
    return {k: d.maybe_const(a, 0.8) if isinstance(a, np.ndarray) and k != "x" else a for k, a in out.items()}


spec("FusedBatchNorm", lambda d: batch_norm(d, 1), types=("float32",), take=[0], rtol=loose(2))
spec("FusedBatchNormV2", lambda d: batch_norm(d, 2, d.chance(0.4)), take=[0], rtol=loose(8))
spec("FusedBatchNormV3", lambda d: batch_norm(d, 3, d.chance(0.4)), take=[0], rtol=loose(8))
spec("LRN", lambda d: dict(input=d.values((d.int(1, 2), d.int(1, 4), d.int(1, 4), d.int(1, 17)), -3, 3), depth_radius=d.int(1, 5),
                           bias=1.0, alpha=d.pick((0.1, 1.0)), beta=d.pick((0.5, 0.75))), rtol=loose(8))  # fmt: skip


def resize(d, low=None, high=None):
    shape = (d.int(1, 2), d.int(1, 9), d.int(1, 9), d.int(1, 5))
    align = d.chance(0.4)
    return dict(images=d.values(shape, -9, 9), size=d.maybe_const(np.array([d.int(1, 13), d.int(1, 13)], np.int32)),
                align_corners=align, half_pixel_centers=not align and d.chance(0.5))  # fmt: skip


spec("ResizeBilinear", resize)
spec("ResizeNearestNeighbor", resize)
spec("ResizeBicubic", resize, rtol=loose(10))
spec("ResizeArea", lambda d: {k: v for k, v in resize(d).items() if k != "half_pixel_centers"}, rtol=loose(4))


def scale_and_translate(d):
    shape = (d.int(1, 2), d.int(1, 14), d.int(1, 14), d.int(1, 5))
    size = np.array([d.int(1, 17), d.int(1, 17)], np.int32)
    fit = d.chance(0.5)
    scale = size / np.array(shape[1:3]) if fit else d.rng.uniform(0.3, 3, 2)
    return dict(images=d.values(shape, -9, 9), size=d.maybe_const(size), scale=d.maybe_const(scale.astype(np.float32)),
                translation=d.maybe_const((np.zeros(2) if fit else d.rng.uniform(-4, 4, 2)).astype(np.float32)),
                kernel_type=d.pick(("lanczos1", "lanczos3", "lanczos5", "gaussian", "box", "triangle", "keyscubic", "mitchellcubic")),
                antialias=d.chance(0.7))  # fmt: skip


# Where a sample falls on the edge of a kernel its weight is a matter of the last bit.
spec("ScaleAndTranslate", scale_and_translate, rtol=loose(100))


def crop(d):
    n, count = d.int(1, 3), d.int(0, 5)
    image = d.values((n, d.int(2, 9), d.int(2, 9), d.int(1, 4)), -9, 9)
    return dict(image=image, boxes=d.rng.uniform(-0.2, 1.2, (count, 4)).astype(np.float32),
                box_ind=d.rng.integers(0, n, count).astype(np.int32), crop_size=Const(np.array([d.int(1, 6), d.int(1, 6)], np.int32)),
                method=d.pick(("bilinear", "nearest")), extrapolation_value=d.pick((0.0, -1.5)))  # fmt: skip


spec("CropAndResize", crop, rtol=loose(20))


def combined(d):
    n, boxes, classes = d.int(1, 2), d.int(1, 12), d.int(1, 4)
    corners = d.rng.uniform(0, 0.6, (n, boxes, d.pick((1, classes)), 2))
    both = np.concatenate([corners, corners + d.rng.uniform(0.1, 0.5, corners.shape)], -1).astype(np.float32)
    scores = (d.rng.permutation(n * boxes * classes).reshape(n, boxes, classes) / (n * boxes * classes)).astype(np.float32)
    return dict(boxes=both, scores=scores, max_output_size_per_class=Const(np.int32(d.int(1, 5))),
                max_total_size=Const(np.int32(d.int(1, 9))), iou_threshold=Const(np.float32(d.pick((0.3, 0.5)))),
                score_threshold=Const(np.float32(0.2)), pad_per_class=d.chance(0.5), clip_boxes=d.chance(0.5))  # fmt: skip


spec("CombinedNonMaxSuppression", combined, attr=None)
spec("AdjustContrastv2", lambda d: dict(images=d.values((*d.shape(0, 2), d.int(1, 6), d.int(1, 6), 3), -9, 9),
                                        contrast_factor=d.maybe_const(np.float32(d.rng.uniform(0, 2)))), rtol=loose(2))  # fmt: skip


def patches(d, rank=2):
    dims = [d.int(3, 9) for _ in range(rank)]
    out = {"images" if rank == 2 else "input": d.values((d.int(1, 2), *dims, d.int(1, 3)), -9, 9),
           "ksizes": spatial(window := [d.int(1, 2 if rank == 3 else 3) for _ in dims], False),
           "strides": spatial([d.int(1, w if rank == 3 else 3) for w in window], False), "padding": d.pick(("SAME", "VALID"))}  # fmt: skip
    return {**out, "rates": [1, d.int(1, 2), d.int(1, 2), 1] if out["padding"] == "SAME" else [1, 1, 1, 1]} if rank == 2 else out


spec("ExtractImagePatches", patches)
spec("ExtractVolumePatches", lambda d: patches(d, 3))


def dilation(d):
    dims, channels = [d.int(3, 9), d.int(3, 9)], d.int(1, 4)
    rate = d.int(1, 2)
    return dict(input=d.values((d.int(1, 2), *dims, channels), -9, 9), filter=d.values((d.int(1, 2), d.int(1, 2), channels), -3, 3),
                strides=[1, d.int(1, 2), d.int(1, 2), 1], rates=[1, rate, rate, 1], padding=d.pick(("SAME", "VALID")))  # fmt: skip


spec("Dilation2D", dilation)


def block(d, to_depth):
    size = d.int(2, 3)
    h, w, c = d.int(1, 4), d.int(1, 4), d.int(1, 4)
    shape = (d.int(1, 2), h * size, w * size, c) if to_depth else (d.int(1, 2), h, w, c * size * size)
    return dict(input=d.values(shape), block_size=size)


spec("SpaceToDepth", lambda d: block(d, True))
spec("DepthToSpace", lambda d: block(d, False))


def to_batch(d):
    sizes = [d.int(1, 3), d.int(1, 3)]
    dims, pads = [], []
    for b in sizes:
        low = d.int(0, 2)
        n = d.int(1, 6)
        dims.append(n)
        pads.append([low, -(n + low) % b])
    return dict(input=d.values((d.int(1, 2), *dims, d.int(1, 3))), block_shape=d.ints(sizes), paddings=Const(np.array(pads, np.int32)))


def to_space(d):
    sizes = [d.int(1, 3), d.int(1, 3)]
    dims = [d.int(2, 5), d.int(2, 5)]
    crops = [[d.int(0, b // 2), d.int(0, b // 2)] for b in sizes]
    return dict(input=d.values((d.int(1, 2) * sizes[0] * sizes[1], *dims, d.int(1, 3))), block_shape=d.ints(sizes),
                crops=Const(np.array(crops, np.int32)))  # fmt: skip


spec("SpaceToBatchND", to_batch)
spec("BatchToSpaceND", to_space)
spec("SpaceToBatch", lambda d: dict(input=d.values((1, 4, 6, d.int(1, 3))), block_size=2,
                                    paddings=Const(np.array([[0, 0], [1, 1]], np.int32))))  # fmt: skip
spec("BatchToSpace", lambda d: dict(input=d.values((4, 2, 3, d.int(1, 3))), block_size=2,
                                    crops=Const(np.array([[0, 1], [1, 0]], np.int32))))  # fmt: skip
