"""Cases of ops about shapes, and of ops that move, index and resize data."""

import numpy as np

from differential import BFLOAT16, SHAPES, Const, family, tf


@family
def shapes(c):
    for shape in SHAPES:
        c.op("Shape", input=c.real(shape))
        c.op("Shape", input=c.flags(shape), out_type=tf.int64)
        c.op("Size", input=c.whole(shape))
        c.op("Rank", input=c.real(shape))
        for name in ("Identity", "StopGradient", "Snapshot", "PreventGradient"):
            c.op(name, input=c.real(shape))
        c.op("CheckNumerics", tensor=c.real(shape), message="no")
        c.op("EnsureShape", input=c.real(shape), shape=list(shape))
        c.op("PlaceholderWithDefault", input=c.real(shape), shape=list(shape))
        c.op("IdentityN", input=[c.real(shape), c.whole(shape)])
    c.op("ShapeN", input=[c.real((3, 4)), c.real((5,))])
    for shape, to in (((3, 4), [2, -1]), ((0, 4), [4, 0]), ((6,), [1, 2, 3]), ((1,), []), ((2, 3, 4), [-1])):
        c.op("Reshape", tensor=c.real(shape), shape=Const(np.array(to, np.int32)))
        c.op("Reshape", tensor=c.whole(shape), shape=Const(np.array(to, np.int64), np.int64))
    for shape, axis in (((3, 4), 0), ((3, 4), -1), ((), 0), ((0,), 1)):
        c.op("ExpandDims", input=c.real(shape), dim=Const(axis, np.int32))
    c.op("Squeeze", input=c.real((1, 3, 1, 2)), squeeze_dims=[0])
    c.op("Squeeze", input=c.real((1, 3, 1, 2)), squeeze_dims=[-2, 0])
    with c.graph.as_default():
        fixed = tf.ensure_shape(c.input(c.real((1, 3, 1))), [1, 3, 1])
        c.add("Squeeze of every 1", [tf.squeeze(fixed)])
    for shape, to in (((1, 4), [3, 4]), ((), [2, 2]), ((3, 1), [2, 3, 5]), ((1,), [0])):
        c.op("BroadcastTo", input=c.real(shape), shape=Const(to))
    for dims in ([2, 3], [0], [1, 1, 1]):
        c.op("Fill", dims=Const(dims), value=c.real(()))
        c.op("Fill", dims=np.array(dims, np.int32), value=c.whole(()))
    c.op("Fill", dims=Const(np.array([], np.int32)), value=c.flags(()))
    scalar = np.int32
    for start, limit, delta in ((0, 7, 1), (3, -4, -2), (5, 5, 1), (-3, 8, 4)):
        c.op("Range", start=Const(start, scalar), limit=Const(limit, scalar), delta=Const(delta, scalar))
    c.op("Range", start=Const(0.5, np.float32), limit=Const(4, np.float32), delta=Const(0.75, np.float32))


@family
def extreme_segments(c):
    for name in ("UnsortedSegmentMax", "UnsortedSegmentMin"):
        for dtype in (np.float32, np.float16, BFLOAT16):
            ids = np.array([3, 0, 3], np.int32)
            c.op(name, data=c.real((3, 5), dtype=dtype), segment_ids=ids, num_segments=Const(5, np.int32))
            infinite = np.array([[-np.inf, np.inf, 1]] * 3, dtype)
            c.op(name, data=infinite, segment_ids=ids, num_segments=Const(5, np.int32))


@family
def moving(c):
    for shape, perm in (
        ((3, 4), [1, 0]),
        ((2, 3, 4, 5), [0, 3, 1, 2]),
        ((2, 3, 4, 5), [0, 2, 3, 1]),
        ((1, 7, 1), [2, 1, 0]),
        ((0, 3), [1, 0]),
        ((2, 3, 4), [0, 1, 2]),
        ((3, 2, 5, 4, 2), [4, 2, 0, 3, 1]),
        ((33, 65), [1, 0]),
    ):
        c.op("Transpose", x=c.real(shape), perm=Const(perm))
    for dtype in (np.int8, np.int64, np.float16):
        c.op("Transpose", x=c.whole((5, 6, 7), dtype=dtype), perm=Const([2, 0, 1]))
    c.op("ConjugateTranspose", x=c.real((3, 4)), perm=Const([1, 0]))
    for axis in (0, 1, -1):
        c.op("ConcatV2", values=[c.real((2, 3, 4)), c.real((2, 3, 4))], axis=Const(axis, np.int32))
        c.op("Concat", concat_dim=Const(axis % 3, np.int32), values=[c.whole((2, 3, 4)), c.whole((2, 3, 4))])
        c.op("Pack", values=[c.real((2, 3)), c.real((2, 3)), c.real((2, 3))], axis=axis)
        c.op("Unpack", value=c.real((3, 3, 3)), num=3, axis=axis)
    c.op("ConcatV2", values=[c.real((2, 0)), c.real((2, 5)), c.real((2, 1))], axis=Const(1, np.int32))
    c.op("Pack", values=[c.real(())], axis=0)
    c.op("Split", split_dim=Const(1, np.int32), value=c.real((2, 6, 3)), num_split=3)
    c.op("Split", split_dim=Const(-1, np.int32), value=c.whole((2, 4)), num_split=1)
    c.op("SplitV", value=c.real((2, 7)), size_splits=Const([3, 0, 4]), split_dim=Const(1, np.int32), num_split=3)
    c.op("SplitV", value=c.real((7, 2)), size_splits=Const([3, -1]), split_dim=Const(0, np.int32), num_split=2)
    for shape, begin, size in (
        ((3, 5), [1, 0], [2, 3]),
        ((3, 5), [0, 2], [-1, -1]),
        ((4,), [4], [0]),
        ((2, 3, 4), [1, 1, 1], [1, 1, 1]),
    ):
        c.op("Slice", input=c.real(shape), begin=Const(begin), size=Const(size))
        if -1 not in size:
            c.op("Slice", input=c.whole(shape), begin=np.array(begin, np.int32), size=Const(size))
        c.op(
            "Slice",
            input=c.whole(shape),
            begin=np.array(begin, np.int32),
            size=np.array(size, np.int32),
        )
    for repeats in ([1, 1], [2, 3], [0, 2]):
        c.op("Tile", input=c.real((2, 3)), multiples=Const(repeats))
    c.op("Tile", input=c.flags((2,)), multiples=np.array([3], np.int32))
    for paddings in ([[0, 0], [0, 0]], [[1, 2], [0, 3]], [[0, 1], [2, 0]]):
        c.op("Pad", input=c.real((3, 4)), paddings=Const(paddings))
        c.op("PadV2", input=c.whole((3, 4)), paddings=Const(paddings), constant_values=Const(7, np.int32))
    c.op("PadV2", input=c.real((0, 2)), paddings=Const([[1, 1], [0, 0]]), constant_values=Const(-1.5, np.float32))
    for mode in ("REFLECT", "SYMMETRIC"):
        c.op("MirrorPad", input=c.real((4, 5)), paddings=Const([[1, 2], [3, 0]]), mode=mode)
    for axes in ([0], [1, -1], []):
        c.op("ReverseV2", tensor=c.real((2, 3, 4)), axis=Const(np.array(axes, np.int32)))
    c.op("GuaranteeConst", input=c.real((2, 3)))
    c.op("InvertPermutation", x=np.array([3, 0, 1, 2], np.int32))


@family
def strided_slice(c):
    with c.graph.as_default():
        for label, cut in {
            "1:-1": np.s_[1:-1],
            "::2": np.s_[::2],
            "::-1": np.s_[::-1],
            "2": np.s_[2],
            "-1": np.s_[-1],
            "...,0": np.s_[..., 0],
            "new,...": np.s_[None],
            ":,1,new": np.s_[:, 1, None],
            "1:1": np.s_[1:1],
            "-9:9": np.s_[-9:9],
            "3:0:-2": np.s_[3:0:-2],
            ":,::3,1:": np.s_[:, ::3, 1:],
            "...,1:3": np.s_[..., 1:3],
            "0,...,new,-1": np.s_[0, ..., None, -1],
        }.items():
            c.add(f"StridedSlice real[{label}]", [c.input(c.real((4, 5, 6)))[cut]])
            c.add(f"StridedSlice whole[{label}]", [c.input(c.whole((5, 4, 3)))[cut]])


@family
def indexing(c):
    for axis, shape in ((0, (5, 3)), (1, (2, 5, 3)), (-1, (2, 3, 5))):
        for indices in (c.whole((4,), 0, 4), c.whole((2, 3), 0, 4, np.int64), c.whole((), 0, 4), c.whole((0,), 0, 4)):
            c.op("GatherV2", params=c.real(shape), indices=indices, axis=Const(axis, np.int32))
    c.op("GatherV2", params=c.real((2, 5, 3)), indices=c.whole((2, 4), 0, 4), axis=Const(1, np.int32), batch_dims=1)
    c.op("Gather", params=c.whole((5, 3)), indices=c.whole((4,), 0, 4))
    for depth in (1, 2, 3):
        c.op("GatherNd", params=c.real((3, 4, 5)), indices=c.whole((6, depth), 0, 2))
    c.op("GatherNd", params=c.real((3, 4)), indices=c.whole((0, 2), 0, 2))
    c.op("ScatterNd", indices=np.array([[0], [2], [0]], np.int32), updates=c.real((3, 4)), shape=Const([5, 4]))
    c.op("ScatterNd", indices=np.array([[0, 1], [2, 2]], np.int32), updates=c.whole((2,)), shape=Const([3, 3]))
    for axis in (-1, 0, 1):
        c.op(
            "OneHot",
            indices=np.array([[0, 2], [-1, 5]], np.int32),
            depth=Const(4, np.int32),
            on_value=Const(2.0, np.float32),
            off_value=Const(-1.0, np.float32),
            axis=axis,
        )
    c.op(
        "OneHot",
        indices=c.whole((3,), 0, 3, np.int64),
        depth=Const(3, np.int32),
        on_value=Const(1, np.int32),
        off_value=Const(0, np.int32),
    )
    for lower, upper in ((0, 0), (1, -1), (-1, 0), (2, 1)):
        c.op(
            "MatrixBandPart",
            input=c.real((2, 4, 5)),
            num_lower=Const(lower, np.int64),
            num_upper=Const(upper, np.int64),
        )
    for shape in ((3, 4), (5,), (0, 2), (2, 2, 2)):
        c.op("Where", input=c.flags(shape))
    c.op("Where", input=np.zeros((3,), bool))
    c.op("Where", input=c.real((3, 2)).round())


@family
def spatial_rearrangement(c):
    for shape, block in (((1, 2, 3, 8), 2), ((2, 1, 1, 9), 3), ((0, 2, 2, 4), 2)):
        c.op("DepthToSpace", input=c.real(shape), block_size=block)
    for shape, block in (((1, 4, 6, 3), 2), ((2, 3, 3, 1), 3), ((0, 2, 2, 4), 2)):
        c.op("SpaceToDepth", input=c.real(shape), block_size=block)
    c.op("SpaceToBatchND", input=c.real((1, 5, 6, 2)), block_shape=Const([2, 3]), paddings=Const([[0, 1], [2, 1]]))
    c.op("SpaceToBatchND", input=c.real((2, 4, 3)), block_shape=Const([2]), paddings=Const([[0, 0]]))
    c.op("BatchToSpaceND", input=c.real((6, 3, 3, 2)), block_shape=Const([2, 3]), crops=Const([[0, 1], [2, 1]]))
    c.op("BatchToSpaceND", input=c.real((4, 2, 3)), block_shape=Const([2]), crops=Const([[0, 0]]))
    c.op("SpaceToBatch", input=c.real((1, 4, 3, 2)), paddings=Const([[0, 0], [1, 0]]), block_size=2)
    c.op("BatchToSpace", input=c.real((4, 2, 2, 2)), crops=Const([[0, 0], [1, 0]]), block_size=2)


@family
def images(c):
    for name in ("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic"):
        for shape, size in (
            ((1, 4, 5, 3), [8, 10]),
            ((2, 7, 6, 1), [3, 5]),
            ((1, 3, 3, 4), [3, 3]),
            ((1, 1, 1, 2), [4, 3]),
            ((1, 5, 5, 2), [1, 1]),
        ):
            for corners, centers in ((False, False), (True, False), (False, True)):
                c.op(name, images=c.real(shape), size=Const(size), align_corners=corners, half_pixel_centers=centers)
        c.op(name, images=c.whole((1, 4, 4, 2), 0, 255, np.uint8), size=Const([6, 7]))


@family
def selection(c):
    for shape in ((9,), (0,), (1,)):
        for dtype in (np.int32, np.int64, np.uint8, np.float32):
            x = c.whole(shape, dtype=dtype) if dtype != np.float32 else c.real(shape).round()
            c.op("Unique", x=x)
            c.op("UniqueWithCounts", x=x, out_idx=tf.int64)
            c.op("ListDiff", x=x, y=np.array([0, 1, 2], dtype))
    rows = np.array([[1, 2], [3, 4], [1, 2], [0, 0]], np.int32)
    c.op("UniqueV2", x=rows, axis=Const([0]))
    c.op("UniqueWithCountsV2", x=rows, axis=Const([0]))
    c.op("UniqueV2", x=rows[:, 0], axis=Const(np.array([], np.int32)))
    for data, parts in ((c.real((6, 2)), (6,)), (c.whole((2, 3)), (2, 3)), (c.real((0, 4)), (0,))):
        partitions = np.arange(int(np.prod(parts)), dtype=np.int32).reshape(parts) % 3
        c.op("DynamicPartition", data=data, partitions=partitions, num_partitions=4)


@family
def non_max_suppression(c):
    def boxes(count):
        corner, size = c.real((count, 2), 0, 5), c.real((count, 2), 0.5, 3)
        return np.concatenate([corner, corner + size], 1)

    for count, wanted in ((20, 10), (1, 3), (0, 3), (50, 50)):
        iou, least = Const(0.4, np.float32), Const(0.3, np.float32)
        common = {"max_output_size": Const(wanted, np.int32), "iou_threshold": iou}

        def scored():
            return {"boxes": boxes(count), "scores": c.real((count,), 0, 1), **common}

        c.op("NonMaxSuppressionV2", **scored())
        c.op("NonMaxSuppressionV3", score_threshold=least, **scored())
        c.op("NonMaxSuppressionV4", take=[0], score_threshold=least, **scored())
        c.op("NonMaxSuppressionV4", score_threshold=least, pad_to_max_output_size=True, **scored())
        for sigma in (0.0, 0.5):
            sigma = Const(sigma, np.float32)
            c.op(
                "NonMaxSuppressionV5",
                score_threshold=least,
                soft_nms_sigma=sigma,
                pad_to_max_output_size=True,
                **scored(),
            )
