"""Shapes, movement, indexing, scatters and segments."""

import numpy as np
import tensorflow.compat.v1 as tf

from .draw import FLOATS, INTEGERS, Const
from .specs import loose, spec

ANY = FLOATS + INTEGERS + ("bool",)


def of_shape(key="input", **attributes):
    return lambda d: {key: d.values(d.shape()), **{k: v(d) for k, v in attributes.items()}}


INDEX = lambda d: d.pick((tf.int32, tf.int64))  # noqa: E731
spec("Shape", of_shape(out_type=INDEX), types=ANY)
spec("Size", of_shape(out_type=INDEX), types=ANY)
spec("Rank", of_shape(), types=ANY)
spec("ShapeN", lambda d: dict(input=[d.values(d.shape()) for _ in range(d.int(1, 3))], out_type=INDEX(d)), types=ANY)
for op in ("Identity", "StopGradient", "Snapshot", "PreventGradient", "GuaranteeConst"):
    spec(op, of_shape(), types=ANY)
spec("DeepCopy", of_shape("x"), types=FLOATS + INTEGERS)
spec("IdentityN", lambda d: dict(input=[d.values(d.shape()), d.values(d.shape(), t="int32")]), attr=None)
spec("CheckNumerics", lambda d: dict(tensor=d.values(d.shape(), -3, 3), message="m"))
spec("CheckNumericsV2", lambda d: dict(tensor=d.values(d.shape(), -3, 3), message="m"))
spec("EnsureShape", lambda d: (lambda s: dict(input=d.values(s), shape=[None if d.chance(0.4) else x for x in s]))(d.shape()),
     types=ANY)  # fmt: skip
spec("PlaceholderWithDefault", lambda d: (lambda s: dict(input=Const(d.values(s)), shape=list(s)))(d.shape()), attr="dtype", types=ANY)


def reshape(d):
    shape = d.shape()
    count = int(np.prod(shape))
    parts, left = [], count
    while left > 1 and len(parts) < 4:
        divisors = [p for p in range(1, left + 1) if left % p == 0]
        p = d.pick(divisors)
        parts.append(p)
        left //= p
    parts = parts + [left] if left != 1 or not parts else parts
    if count and d.chance(0.5):
        parts[d.int(0, len(parts) - 1)] = -1
    return dict(tensor=d.values(shape), shape=d.ints(parts))


spec("Reshape", reshape, types=ANY)
spec("ExpandDims", lambda d: (lambda s: dict(input=d.values(s), dim=Const(np.int32(d.int(-len(s) - 1, len(s))))))(d.shape(0, 4)), types=ANY)


def squeeze(d):
    shape = tuple(1 if d.chance(0.4) else n for n in d.shape())
    ones = [i for i, n in enumerate(shape) if n == 1]
    dims = [i - len(shape) if d.chance(0.3) else i for i in ones if d.chance(0.6)]
    return dict(input=d.values(shape), squeeze_dims=dims)


spec("Squeeze", squeeze, types=ANY)


def broadcast_to(d):
    out = d.shape(0, 5)
    cut = out[d.int(0, len(out)):]
    return dict(input=d.values(tuple(1 if d.chance(0.3) else n for n in cut)), shape=d.ints(np.array(out, int)))


spec("BroadcastTo", broadcast_to)
spec("Fill", lambda d: dict(dims=d.ints(np.array(d.shape(), int)), value=d.values(())), types=ANY)
spec("Empty", lambda d: dict(shape=Const(np.array(d.shape(), np.int32)), dtype=tf.as_dtype(d.t), init=True), attr="dtype",
     types=ANY)  # fmt: skip


def arange(d):
    whole = d.t not in FLOATS
    delta = d.pick((1, 2, 3, -1, -2)) if whole else d.pick((0.25, 0.5, 1.5, -0.5))
    start = d.int(-5, 5)
    limit = start + delta * d.int(0, 9) + (0 if whole else delta * 0.4)
    scalar = lambda v: Const(np.array(v).astype("float32" if d.t == "bfloat16" else d.t))  # noqa: E731
    return dict(start=scalar(start), limit=scalar(limit), delta=scalar(delta))


spec("Range", arange, attr="Tidx", types=("float32", "float64", "int32", "int64"))
spec("LinSpace", lambda d: dict(start=d.values((), -3, 0), stop=d.values((), 1, 9), num=Const(np.int32(d.int(1, 20)))))
spec("BroadcastArgs", lambda d: (lambda p: dict(s0=d.maybe_const(np.array(p[0], d.t)), s1=d.maybe_const(np.array(p[1], d.t))))(d.pair()))


def transpose(d, least=0):
    shape = d.shape(least, 5)
    perm = np.array(d.rng.permutation(len(shape)), int)
    return dict(x=d.values(shape), perm=Const(perm.astype(d.pick(("int32", "int64")))))


spec("Transpose", transpose)
spec("ConjugateTranspose", lambda d: transpose(d, 1))  # of a scalar, TensorFlow stops the process where oneDNN is on


def pieces(d, rank_low=1):
    shape = list(d.shape(rank_low, 4))
    axis = d.int(0, len(shape) - 1)
    out = []
    for _ in range(d.int(2, 4)):
        shape[axis] = d.int(0, 5)
        out.append(d.values(tuple(shape)))
    return out, axis - len(shape) if d.chance(0.3) else axis


def concat(d, key="axis"):
    values, axis = pieces(d)
    return dict(values=values, **{key: Const(np.int32(axis))})


spec("ConcatV2", concat, types=ANY)
spec("Concat", lambda d: concat(d, "concat_dim"), types=ANY)


def split(d):
    shape, parts = list(d.shape(1, 4)), d.int(1, 4)
    axis = d.int(0, len(shape) - 1)
    shape[axis] = parts * d.int(0, 4)
    return dict(split_dim=Const(np.int32(axis - len(shape) if d.chance(0.3) else axis)), value=d.values(tuple(shape)), num_split=parts)


def split_v(d):
    shape = list(d.shape(1, 4))
    axis = d.int(0, len(shape) - 1)
    sizes = [d.int(0, 4) for _ in range(d.int(1, 4))]
    shape[axis] = sum(sizes)
    if len(sizes) > 1 and d.chance(0.3):
        sizes[d.int(0, len(sizes) - 1)] = -1
    return dict(value=d.values(tuple(shape)), size_splits=Const(np.array(sizes, d.pick(("int32", "int64")))),
                split_dim=Const(np.int32(axis)), num_split=len(sizes))  # fmt: skip


spec("Split", split, types=ANY)
spec("SplitV", split_v, types=ANY)


def cut(d):
    shape = d.shape(0, 5)
    begin = np.array([d.int(0, n) for n in shape], int)
    size = np.array([-1 if d.chance(0.2) else d.int(0, n - b) for n, b in zip(shape, begin)], int)
    t = d.pick(("int32", "int64"))
    return dict(input=d.values(shape), begin=d.maybe_const(begin.astype(t)), size=Const(size.astype(t)))


def strided_slice(d):
    shape = d.shape(1, 5)
    count = d.int(1, len(shape) + 1)
    begin, end, strides = [], [], []
    masks = dict(begin_mask=0, end_mask=0, ellipsis_mask=0, new_axis_mask=0, shrink_axis_mask=0)
    axis = 0
    ellipsis = d.int(0, count - 1) if d.chance(0.2) else -1
    for i in range(count):
        b, e, s = 0, 0, 1
        if i == ellipsis:
            masks["ellipsis_mask"] |= 1 << i
            axis = max(axis, len(shape) - (count - 1 - i))
        elif d.chance(0.15) or axis >= len(shape):
            masks["new_axis_mask"] |= 1 << i
        else:
            n = shape[axis]
            axis += 1
            if d.chance(0.2) and n:
                masks["shrink_axis_mask"] |= 1 << i
                b = d.int(-n, n - 1)
                e = b + 1
            else:
                s = d.pick((1, 1, 2, 3, -1, -2))
                b, e = d.int(-n - 2, n + 2), d.int(-n - 2, n + 2)
                masks["begin_mask"] |= int(d.chance(0.25)) << i
                masks["end_mask"] |= int(d.chance(0.25)) << i
        begin.append(b), end.append(e), strides.append(s)
    t = d.pick(("int32", "int64"))
    c = lambda v: Const(np.array(v, t))  # noqa: E731
    return dict(input=d.values(shape), begin=c(begin), end=c(end), strides=c(strides), **masks)


spec("Slice", cut, types=ANY)
spec("StridedSlice", strided_slice, types=ANY)


def pack(d):
    shape = d.shape(0, 4)
    return dict(values=[d.values(shape) for _ in range(d.int(1, 4))], axis=d.int(-len(shape) - 1, len(shape)))


def unpack(d):
    shape = d.shape(1, 4, 0)
    axis = d.int(0, len(shape) - 1)
    return dict(value=d.values(shape), num=shape[axis], axis=axis - len(shape) if d.chance(0.3) else axis)


spec("Pack", pack, types=ANY)
spec("Unpack", unpack, types=ANY)


def padding(d, mirror=None):
    shape = d.shape(1, 4, 0 if mirror else 0.05)
    less = 1 if mirror == "REFLECT" else 0
    most = [max(n - less, 0) if mirror else 3 for n in shape]
    return shape, np.array([[d.int(0, min(m, 3)), d.int(0, min(m, 3))] for m in most], d.pick(("int32", "int64")))


def pad(d, value=False):
    shape, paddings = padding(d)
    out = dict(input=d.values(shape), paddings=d.maybe_const(paddings))
    return {**out, "constant_values": d.values(())} if value else out


def mirror_pad(d):
    mode = d.pick(("REFLECT", "SYMMETRIC"))
    shape, paddings = padding(d, mode)
    return dict(input=d.values(shape), paddings=d.maybe_const(paddings), mode=mode)


spec("Pad", pad)
spec("PadV2", lambda d: pad(d, True))
spec("MirrorPad", mirror_pad)


def tile(d):
    shape = d.shape(0, 4)
    return dict(input=d.values(shape), multiples=d.ints(np.array([d.int(0, 3) if d.chance(0.1) else d.int(1, 3) for _ in shape], int)))


spec("Tile", tile, types=ANY)


def gather(d, version):
    shape = d.shape(1, 4, 0)
    batch = d.int(0, min(2, len(shape) - 1)) if version == 2 and d.chance(0.4) else 0
    axis = d.int(batch, len(shape) - 1) if version == 2 else 0
    index_shape = shape[:batch] + d.shape(0, 2)
    indices = d.rng.integers(0, shape[axis], index_shape).astype(d.pick(("int32", "int64")))
    out = dict(params=d.values(shape), indices=d.maybe_const(indices, 0.4))
    if version == 1:
        return out
    return {**out, "axis": Const(np.int32(axis - len(shape) if d.chance(0.3) else axis)), "batch_dims": batch}


spec("Gather", lambda d: gather(d, 1), attr="Tparams", types=ANY)
spec("GatherV2", lambda d: gather(d, 2), attr="Tparams", types=ANY)


def coordinates(d, shape):
    depth = d.int(1, len(shape))
    outer = d.shape(1, 2)
    indices = np.stack([d.rng.integers(0, n, outer) for n in shape[:depth]], -1).astype(d.pick(("int32", "int64")))
    return indices, outer + tuple(shape[depth:])


def gather_nd(d):
    shape = d.shape(1, 4, 0)
    indices, _ = coordinates(d, shape)
    return dict(params=d.values(shape), indices=d.maybe_const(indices, 0.4))


def scatter_nd(d):
    shape = d.shape(1, 3, 0)
    indices, update_shape = coordinates(d, shape)
    return dict(indices=indices, updates=d.values(update_shape, -3, 3), shape=Const(np.array(shape, indices.dtype)))


def tensor_scatter(d, unique=False, key="tensor"):
    shape = d.shape(1, 3, 0)
    if unique:  # the order of writes to one place is TensorFlow's own business
        count = d.int(0, shape[0])
        indices = d.rng.permutation(shape[0])[:count, None].astype(d.pick(("int32", "int64")))
        update_shape = (count,) + shape[1:]
    else:
        indices, update_shape = coordinates(d, shape)
    return {key: d.values(shape, -3, 3), "indices": indices, "updates": d.values(update_shape, -3, 3)}


spec("GatherNd", gather_nd, attr="Tparams", types=ANY)
spec("ScatterNd", scatter_nd, types=FLOATS + INTEGERS, rtol=loose(2))


def inplace_update(d):
    """Rows that do not repeat; counted from either end, and beyond."""
    shape = d.shape(1, 3, 0)
    count = d.int(1, shape[0])
    rows = d.rng.permutation(shape[0])[:count] + shape[0] * d.rng.integers(-1, 2, count)
    return dict(x=d.values(shape, -3, 3), i=rows.astype("int32"), v=d.values((count,) + shape[1:], -3, 3))


spec("InplaceUpdate", inplace_update, types=FLOATS + INTEGERS)
spec("TensorScatterUpdate", lambda d: tensor_scatter(d, True), types=FLOATS + INTEGERS)
for op in ("Add", "Sub", "Max", "Min"):
    spec("TensorScatter" + op, tensor_scatter, rtol=loose(4))
spec("ScatterNdNonAliasingAdd", lambda d: tensor_scatter(d, key="input"), types=FLOATS + INTEGERS, rtol=loose(4))


def sparse_to_dense(d):
    shape = d.shape(1, 3, 0)
    places = np.sort(d.rng.permutation(int(np.prod(shape)))[: d.int(0, 6)])
    t = d.pick(("int32", "int64"))
    indices = np.stack(np.unravel_index(places, shape), -1).astype(t)
    one = d.chance(0.3)
    return dict(sparse_indices=indices[:, 0] if len(shape) == 1 and d.chance(0.5) else indices,
                output_shape=Const(np.array(shape, t)), sparse_values=d.values(() if one else (len(places),)),
                default_value=d.values(()), validate_indices=d.chance(0.5))  # fmt: skip


spec("SparseToDense", sparse_to_dense, types=ANY)


def sparse_reduce(d):
    shape = d.shape(1, 3, 0)
    places = np.sort(d.rng.permutation(int(np.prod(shape)))[: d.int(0, 9)])
    axes = [a - len(shape) * d.chance(0.3) for a in range(len(shape)) if d.chance(0.5)]
    return dict(input_indices=np.stack(np.unravel_index(places, shape), -1).astype(np.int64), input_values=d.values((len(places),), -9, 9),
                input_shape=d.maybe_const(np.array(shape, np.int64)), reduction_axes=Const(np.array(axes, np.int32)),
                keep_dims=d.chance(0.3))  # fmt: skip


for op in ("Sum", "Max"):
    spec("SparseReduce" + op, sparse_reduce, types=FLOATS + INTEGERS, rtol=loose(2))


def sparse_reorder(d):
    shape = d.shape(1, 4, 0)
    places = d.rng.permutation(int(np.prod(shape)))[: d.int(0, 40)]
    return dict(input_indices=np.stack(np.unravel_index(places, shape), -1).astype(np.int64), input_values=d.values((len(places),)),
                input_shape=d.maybe_const(np.array(shape, np.int64)))  # fmt: skip


spec("SparseReorder", sparse_reorder, types=ANY)


def sparse_reshape(d):
    dims = [d.int(1, 6) for _ in range(d.int(1, 4))]
    places = d.rng.integers(0, int(np.prod(dims)), d.int(0, 9))
    wanted = d.pick([[-1], [1, -1], dims[:-1] + [-1], [int(np.prod(dims[:-1])), dims[-1]], [-1, dims[-1]], list(dims)])
    return dict(input_indices=np.stack(np.unravel_index(places, dims), -1).astype(np.int64),
                input_shape=d.maybe_const(np.array(dims, np.int64)), new_shape=d.maybe_const(np.array(wanted, np.int64)))  # fmt: skip


def sparse_fill_empty_rows(d):
    rows, columns, count = d.int(1, 8), d.int(1, 4), d.int(0, 9)
    places = np.stack([d.rng.integers(0, rows, count), d.rng.integers(0, columns, count)], -1).astype(np.int64)
    order = np.lexsort(places.T[::-1]) if d.chance(0.7) else np.arange(count)
    return dict(indices=places[order], values=d.values((count,)), dense_shape=d.maybe_const(np.array([rows, columns], np.int64)),
                default_value=d.values(()))  # fmt: skip


spec("SparseReshape", sparse_reshape, attr=None)
spec("SparseFillEmptyRows", sparse_fill_empty_rows, types=ANY)


def one_hot(d):
    shape = d.shape(0, 3)
    indices = d.values(shape, -1, 5, t=d.pick(("int32", "int64")))
    return dict(indices=indices, depth=Const(np.int32(d.int(0, 5))), on_value=d.values(()), off_value=d.values(()),
                axis=d.int(-1, len(shape)))  # fmt: skip


def reverse(d):
    shape = d.shape(0, 5)
    axes = [int(a) for a in d.rng.permutation(len(shape))[: d.int(0, len(shape))]]
    return dict(tensor=d.values(shape), axis=Const(np.array(axes, d.pick(("int32", "int64")))))


spec("OneHot", one_hot, types=ANY)
spec("ReverseV2", reverse, types=ANY)


def roll(d):
    shape = d.shape(1, 4)
    count = d.int(1, len(shape))
    axes = np.array([d.axis(len(shape)) for _ in range(count)], np.int32)
    return dict(input=d.values(shape), shift=d.ints(np.array([d.int(-9, 9) for _ in range(count)])), axis=Const(axes))


def reverse_sequence(d):
    shape = d.shape(2, 4)
    seq, batch = (int(a) for a in d.rng.permutation(len(shape))[:2])
    lengths = d.rng.integers(0, shape[seq] + 1, shape[batch]).astype(d.pick(("int32", "int64")))
    return dict(input=d.values(shape), seq_lengths=lengths, seq_dim=seq, batch_dim=batch)


def dynamic_slice(d):
    shape = d.shape(1, 4)
    sizes = np.array([d.int(1, n) if n else 0 for n in shape])
    kind = d.pick(("int32", "int64"))
    starts = d.ints([d.int(-3, n + 2) for n in shape], kind)
    return dict(input=d.values(shape), start_indices=starts, size_indices=Const(sizes.astype(kind)))


def dynamic_update_slice(d):
    shape = d.shape(1, 4)
    sizes = [n if d.int(0, 1) or not n else d.int(1, n) for n in shape]
    return dict(input=d.values(shape), update=d.values(sizes), indices=d.ints(np.array([d.int(-3, n + 2) for n in shape])))


spec("Roll", roll, types=ANY)
spec("XlaDynamicSlice", dynamic_slice, types=ANY)
spec("XlaDynamicUpdateSlice", dynamic_update_slice, types=ANY)
spec("ReverseSequence", reverse_sequence, types=ANY)


def stitch(d):
    rest = d.shape(0, 2)
    total = d.int(1, 9)
    order = d.rng.permutation(total)
    cuts = sorted(d.int(0, total) for _ in range(d.int(0, 2)))
    parts = np.split(order, cuts)
    return dict(indices=[Const(p.astype(np.int32)) for p in parts], data=[d.values((len(p),) + rest) for p in parts])


spec("DynamicStitch", stitch, types=ANY)
spec("ParallelDynamicStitch", stitch, types=ANY)


spec("InvertPermutation", lambda d: dict(x=d.rng.permutation(d.int(0, 20)).astype(d.t)))
spec("MatrixBandPart", lambda d: (lambda s: dict(input=d.values(s), num_lower=Const(np.int64(d.int(-1, s[-2]))),
                                                 num_upper=Const(np.int64(d.int(-1, s[-1])))))(d.shape(2, 4)), types=ANY)  # fmt: skip

# --- diagonals


def band_of(d, rows, columns):
    low = d.int(-rows + 1, columns - 1)
    return (low, low) if d.chance(0.4) else (low, d.int(low, columns - 1))


def longest(low, high, rows, columns):
    return min(rows + min(high, 0), columns - max(low, 0))


def k_operand(low, high):
    return Const(np.int32(low) if low == high else np.array([low, high], np.int32))


def align(d, version):
    return {"align": d.pick(("RIGHT_LEFT", "LEFT_RIGHT", "LEFT_LEFT", "RIGHT_RIGHT"))} if version == 3 else {}


def diag_part(d, version):
    shape = d.shape(2, 4, 0)
    if version == 1:
        return dict(input=d.values(shape))
    low, high = band_of(d, *shape[-2:])
    return dict(input=d.values(shape), k=k_operand(low, high), padding_value=d.values(()), **align(d, version))


def set_diag(d, version):
    shape = d.shape(2, 4, 0)
    low, high = band_of(d, *shape[-2:]) if version > 1 else (0, 0)
    packed = shape[:-2] + ((high - low + 1,) if low != high else ()) + (longest(low, high, *shape[-2:]),)
    out = dict(input=d.values(shape), diagonal=d.values(packed))
    return out if version == 1 else {**out, "k": k_operand(low, high), **align(d, version)}


def diag(d, version):
    shape = d.shape(1, 3, 0)
    if version == 1:
        return dict(diagonal=d.values(shape))
    rows, columns = d.int(1, 7), d.int(1, 7)
    low, high = band_of(d, rows, columns)
    packed = shape[:-1] + ((high - low + 1,) if low != high else ()) + (longest(low, high, rows, columns),)
    return dict(diagonal=d.values(packed), k=k_operand(low, high), num_rows=Const(np.int32(rows)), num_cols=Const(np.int32(columns)),
                padding_value=d.values(()), **align(d, version))  # fmt: skip


for version, suffix in ((1, ""), (2, "V2"), (3, "V3")):
    spec("MatrixDiag" + suffix, lambda d, v=version: diag(d, v), types=ANY)
    spec("MatrixDiagPart" + suffix, lambda d, v=version: diag_part(d, v), types=ANY)
    spec("MatrixSetDiag" + suffix, lambda d, v=version: set_diag(d, v), types=ANY)
spec("Diag", lambda d: dict(diagonal=d.values(d.shape(1, 3, 0, 4))))
spec("DiagPart", lambda d: (lambda s: dict(input=Const(d.values(s + s))))(d.shape(1, 2, 0, 4)))

# --- segments


def unsorted_segment(low=None, high=None):
    def arguments(d):
        shape = d.shape(1, 3, 0.03)
        count, used = d.int(1, 5), d.int(1, len(shape))
        ids = d.rng.integers(-1, count, shape[:used]).astype(d.pick(("int32", "int64")))
        return dict(data=d.values(shape, low, high), segment_ids=d.maybe_const(ids, 0.4), num_segments=Const(np.int32(count)))

    return arguments


spec("UnsortedSegmentSum", unsorted_segment(-3, 3), rtol=loose(4))
spec("UnsortedSegmentProd", unsorted_segment(0.8, 1.25), rtol=loose(4))
spec("UnsortedSegmentMax", unsorted_segment())
spec("UnsortedSegmentMin", unsorted_segment())


def segment(d, low=-3, high=3):
    shape = d.shape(1, 3, 0)
    ids = np.sort(d.rng.integers(0, 4, shape[0])).astype(d.pick(("int32", "int64")))
    return dict(data=d.values(shape, low, high), segment_ids=Const(ids))


for op in ("Sum", "Mean", "Max", "Min"):
    spec("Segment" + op, segment, rtol=loose(4))
spec("SegmentProd", lambda d: segment(d, 0.8, 1.25), rtol=loose(4))


def sparse_segment(d, given):
    shape = d.shape(2, 3, 0)
    count = d.int(1, 7)
    ids = np.sort(d.rng.integers(0, 4, count)).astype(np.int32)
    indices = d.rng.integers(0, shape[0], count).astype(d.pick(("int32", "int64")))
    out = dict(data=d.values(shape, -3, 3), indices=indices, segment_ids=Const(ids))
    return {**out, "num_segments": Const(np.int32(int(ids[-1]) + d.int(1, 3)))} if given else out


for op in ("Sum", "Mean", "SqrtN"):
    spec("SparseSegment" + op, lambda d: sparse_segment(d, False), types=("float32", "float64", "bfloat16", "float16"), rtol=loose(4))
    spec(f"SparseSegment{op}WithNumSegments", lambda d: sparse_segment(d, True), types=("float32", "float64", "bfloat16", "float16"),
         rtol=loose(4))  # fmt: skip


def bincount(d, dense):
    size = d.int(1, 9)
    shape = d.shape(1, 2 if dense else 1)
    numbers = d.rng.integers(0, size + 3, shape).astype(d.pick(("int32", "int64")) if dense else np.int32)
    weighted = d.chance(0.5)
    out = {"input" if dense else "arr": numbers, "size": Const(np.array(size, numbers.dtype)),
           "weights": d.values(shape if weighted else (0,), 0, 3)}  # fmt: skip
    return {**out, "binary_output": d.chance(0.3)} if dense else out


spec("Bincount", lambda d: bincount(d, False), types=("float32", "float64", "int32", "int64"), rtol=loose(4))
spec("DenseBincount", lambda d: bincount(d, True), types=("float32", "float64", "int32", "int64"), rtol=loose(4))


def bound(d):
    rows, n, m = d.int(1, 4), d.int(1, 9), d.int(1, 9)
    return dict(sorted_inputs=np.sort(d.values((rows, n), -9, 9), -1), values=d.values((rows, m), -9, 9), out_type=INDEX(d))


spec("LowerBound", bound, types=("float32", "float64", "int32", "int64", "int16", "uint8"))
spec("UpperBound", bound, types=("float32", "float64", "int32", "int64", "int16", "uint8"))
spec("Bucketize", lambda d: dict(input=d.values(d.shape(), -20, 20), boundaries=sorted(float(d.int(-9, 9)) for _ in range(d.int(0, 5)))))
spec("Cross", lambda d: (lambda s: dict(a=d.values(s, -9, 9), b=d.values(s, -9, 9)))(d.shape(0, 3) + (3,)), rtol=loose(2))

# --- results whose size follows from data


def unique(d, axis=False):
    shape = d.shape(1, 2, 0.03) if axis else (d.int(0, 20),)
    out = dict(x=d.values(shape, 0, 3), out_idx=INDEX(d))
    return {**out, "axis": Const(np.zeros(1, np.int64))} if axis else out


spec("Unique", unique)
spec("UniqueWithCounts", unique)
spec("UniqueV2", lambda d: unique(d, True), types=FLOATS[:2] + INTEGERS)
spec("UniqueWithCountsV2", lambda d: unique(d, True), types=FLOATS[:2] + INTEGERS)
spec("ListDiff", lambda d: dict(x=d.values((d.int(0, 20),), 0, 9), y=d.values((d.int(0, 9),), 0, 9), out_idx=INDEX(d)))


def where(d):
    values = d.values(d.shape(1, 4), specials=0)
    return dict(input=np.where(d.rng.random(values.shape) < 0.5, values, np.zeros((), values.dtype)).astype(values.dtype))


def dynamic_partition(d):
    shape, parts = d.shape(1, 3), d.int(1, 4)
    used = d.int(1, len(shape))
    return dict(data=d.values(shape), partitions=d.rng.integers(0, parts, shape[:used]).astype(np.int32), num_partitions=parts)


def suppression(d, version):
    count = d.int(0, 15)
    corners = d.rng.uniform(0, 0.6, (count, 2))
    boxes = np.concatenate([corners, corners + d.rng.uniform(0.1, 0.5, corners.shape)], -1).astype(np.float32)
    out = dict(boxes=boxes, scores=(d.rng.permutation(count) / max(count, 1)).astype(np.float32),
               max_output_size=d.maybe_const(np.array(d.int(0, 9), np.int32)), iou_threshold=Const(np.float32(d.pick((0.3, 0.5)))))  # fmt: skip
    if version > 2:
        out["score_threshold"] = Const(np.float32(0.2))
    if version > 4:
        out["soft_nms_sigma"] = Const(np.float32(d.pick((0, 0.3, 0.7))))
    return {**out, "pad_to_max_output_size": d.chance(0.5)} if version > 3 else out


spec("Where", where, types=FLOATS + INTEGERS + ("bool",))
spec("DynamicPartition", dynamic_partition, types=ANY)
for version in (2, 3, 4, 5):
    spec(f"NonMaxSuppressionV{version}", lambda d, v=version: suppression(d, v), attr=None)
