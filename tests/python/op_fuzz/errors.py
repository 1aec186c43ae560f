"""Runs that TensorFlow refuses: Blade must refuse them too, with a sentence, and never crash."""

import numpy as np

from . import runner
from .draw import Const

I32 = lambda *v: np.array(v if len(v) != 1 else v[0], np.int32)  # noqa: E731
I64 = lambda *v: np.array(v if len(v) != 1 else v[0], np.int64)  # noqa: E731
F32 = lambda *shape: np.ones(shape, np.float32)  # noqa: E731

# Operands are fed with unknown dims, so that nothing but the run can find what is wrong.
CASES = [
    ("Gather", dict(params=F32(3, 2), indices=I32(0, 3))),
    ("Gather", dict(params=F32(3, 2), indices=I32(-1, 0))),
    ("GatherV2", dict(params=F32(2, 3), indices=I32(0, 5), axis=Const(I32(1)))),
    ("GatherNd", dict(params=F32(3, 2), indices=I32([[0, 2]]))),
    ("ScatterNd", dict(indices=I32([[4]]), updates=F32(1), shape=Const(I32([3])))),
    ("TensorScatterAdd", dict(tensor=F32(3), indices=I32([[3]]), updates=F32(1))),
    ("TensorScatterUpdate", dict(tensor=F32(3), indices=I32([[-1]]), updates=F32(1))),
    ("UnsortedSegmentSum", dict(data=F32(3), segment_ids=I32(0, 1, 5), num_segments=Const(I32(2)))),
    ("SegmentSum", dict(data=F32(3), segment_ids=I32(1, 0, 2))),
    ("SparseToDense", dict(sparse_indices=I32([[2], [1]]), output_shape=Const(I32([3])), sparse_values=F32(2),
                           default_value=F32(), validate_indices=True)),
    ("SparseToDense", dict(sparse_indices=I32([[4]]), output_shape=Const(I32([3])), sparse_values=F32(1), default_value=F32())),
    ("Bincount", dict(arr=I32(0, -1), size=Const(I32(3)), weights=Const(F32(0)))),
    ("CropAndResize", dict(image=F32(1, 4, 4, 1), boxes=F32(1, 4), box_ind=I32([2]), crop_size=Const(I32(2, 2)))),
    ("FloorDiv", dict(x=I32(1, 2), y=I32(1, 0))),
    ("FloorMod", dict(x=I32(1, 2), y=I32(0, 1))),
    ("TruncateDiv", dict(x=I32(1, 2), y=I32(0, 1))),
    ("Div", dict(x=I32(7, 2), y=I32(0, 1))),
    ("Pow", dict(x=I32(2, 3), y=I32(1, -1))),
    ("TopKV2", dict(input=F32(2, 3), k=I32(4))),
    ("AddV2", dict(x=F32(2, 3), y=F32(2, 4))),
    ("MatMul", dict(a=F32(2, 3), b=F32(2, 4))),
    ("BatchMatMulV2", dict(x=F32(2, 2, 3), y=F32(3, 3, 4))),
    ("ConcatV2", dict(values=[F32(2, 3), F32(3, 4)], axis=Const(I32(0)))),
    ("Reshape", dict(tensor=F32(2, 3), shape=Const(I32(4, 2)))),
    ("Reshape", dict(tensor=F32(2, 3), shape=I32(-1, 4))),
    ("Split", dict(split_dim=Const(I32(1)), value=F32(2, 5), num_split=2)),
    ("SplitV", dict(value=F32(2, 5), size_splits=Const(I32(2, 2)), split_dim=Const(I32(1)), num_split=2)),
    ("Slice", dict(input=F32(3), begin=Const(I32([2])), size=Const(I32([2])))),
    ("Pack", dict(values=[F32(2), F32(3)])),
    ("Unpack", dict(value=F32(3, 2), num=2)),
    ("Squeeze", dict(input=F32(2, 3), squeeze_dims=[1])),
    ("BroadcastTo", dict(input=F32(2, 3), shape=Const(I32(2, 4)))),
    ("SelectV2", dict(condition=np.ones((2, 3), bool), t=F32(2, 3), e=F32(3, 3))),
    ("SpaceToDepth", dict(input=F32(1, 3, 4, 1), block_size=2)),
    ("DepthToSpace", dict(input=F32(1, 2, 2, 3), block_size=2)),
    ("SpaceToBatchND", dict(input=F32(1, 3, 1), block_shape=Const(I32([2])), paddings=Const(I32([[0, 0]])))),
    ("BiasAdd", dict(value=F32(2, 3), bias=F32(4))),
    ("Conv2D", dict(input=F32(1, 3, 3, 2), filter=F32(1, 1, 3, 4), strides=[1, 1, 1, 1], padding="SAME")),
    ("EnsureShape", dict(input=F32(2, 3), shape=[None, 4])),
    ("EnsureShape", dict(input=F32(2, 3), shape=[2, None, None])),
    ("SparseReshape", dict(input_indices=I64([[0, 1]]), input_shape=I64(2, 3), new_shape=I64(4, 2))),
    ("SparseReshape", dict(input_indices=I64([[0, 1]]), input_shape=I64(2, 3), new_shape=I64(4, -1))),
    ("SparseReshape", dict(input_indices=I64([[0, 1]]), input_shape=I64(2, 3), new_shape=I64(-1, -1))),
    ("RFFT", dict(input=F32(2, 14), fft_length=Const(I32([16])))),
    ("RFFT", dict(input=F32(2, 14), fft_length=I32([16]))),
    ("MirrorPad", dict(input=F32(2), paddings=Const(I32([[2, 0]])), mode="REFLECT")),
    ("AddN", dict(inputs=[F32(2), F32(3)])),
    ("ReverseSequence", dict(input=F32(2, 3), seq_lengths=I32(4, 1), seq_dim=1, batch_dim=0)),
    ("MatrixSetDiag", dict(input=F32(3, 3), diagonal=F32(2))),
    ("Einsum", dict(inputs=[F32(2, 3), F32(4, 5)], equation="ij,jk->ik")),
]  # fmt: skip


def run(seed):
    found = []
    for index, (op, arguments) in enumerate(CASES):
        case = runner.Case(op, arguments)
        batch = runner.Batch(hide=lambda: True)
        if not batch.add(case):
            continue
        expected, got = batch.tensorflow([case])[0], batch.blade([case])[0]
        if not isinstance(expected, str):
            found.append(f"error case {index} {case}: TensorFlow answers it, so it is no error case")
        elif not isinstance(got, str):
            found.append(f"{case}: answers, but TensorFlow says {expected}")
    return found
