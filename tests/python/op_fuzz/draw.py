"""Random shapes, values and attributes with the edges that break kernels: empty, scalar, one, prime, extreme."""

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import kernels, op_def_registry

BFLOAT16 = tf.bfloat16.as_numpy_dtype
FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
# Every element type that Blade has.
TYPES = FLOATS + INTEGERS + ("bool",)
PRIMES = (2, 3, 5, 7, 13, 17, 31)


def numpy_type(name):
    return np.dtype(BFLOAT16 if name == "bfloat16" else name)


def kernel_types(op, attr="T"):
    """Element types that TensorFlow's CPU kernels of `op` take for a type attribute and Blade has; all that the op's
    definition allows where the kernels do not say."""
    definition = {a.name: a for a in op_def_registry.get(op).attr}.get(attr)
    listed = [tf.as_dtype(t).name for t in definition.allowed_values.list.type] if definition else []
    allowed = set()
    anything = False
    for kernel in kernels.get_registered_kernels_for_op(op).kernel:
        if kernel.device_type != "CPU":
            continue
        mine = [c for c in kernel.constraint if c.name == attr]
        anything = anything or not mine
        for constraint in mine:
            allowed.update(tf.as_dtype(t).name for t in constraint.allowed_values.list.type)
    if anything:
        allowed.update(listed or TYPES)
    return [t for t in TYPES if t in allowed and (not listed or t in listed)]


class Const:
    """An operand that stands in the graph instead of being fed, also as a quantized type that NumPy has not."""

    def __init__(self, value, dtype=None, quantized=None):
        self.value = np.asarray(value, dtype)
        self.quantized = quantized


class Draw:
    """A seeded source of random operands; `t` is the element type drawn for the case at hand."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.t = "float32"
        self.denormals = True

    def chance(self, p):
        return bool(self.rng.random() < p)

    def pick(self, items):
        return items[int(self.rng.integers(len(items)))]

    def int(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def dim(self, most=9):
        return self.pick((1, 1, self.int(1, most), self.int(1, most), min(self.pick(PRIMES), 4 * most)))

    def shape(self, low=0, high=5, zero=0.05, most=9):
        rank = self.int(low, min(high, self.pick((2, 3, 4, high))) if high > low else high)
        dims = [self.dim(most if rank < 4 else 5) for _ in range(max(rank, low))]
        if dims and self.chance(zero):
            dims[self.int(0, len(dims) - 1)] = 0
        if rank <= 2 and dims and self.chance(0.1):
            dims[-1] = self.pick((64, 65, 127, 257))
        return tuple(dims)

    def pair(self, most_rank=4):
        """Two shapes that broadcast."""
        out = list(self.shape(0, most_rank))

        def thin():
            cut = out[self.int(0, len(out)):] if self.chance(0.3) else list(out)
            return tuple(1 if self.chance(0.2) else d for d in cut)

        return (tuple(out), thin()) if self.chance(0.5) else (thin(), thin() if self.chance(0.2) else tuple(out))

    def values(self, shape, low=None, high=None, specials=0.1, t=None):
        """Elements of type `t` (of the case where not given): within [low, high] where given, else of any size, and
        with NaN, infinities, denormals and the type's own extremes for some tensors."""
        name = t or self.t
        dtype = numpy_type(name)
        if name == "bool":
            return self.rng.integers(0, 2, shape).astype(bool)
        if name in INTEGERS:
            info = np.iinfo(dtype)
            extreme = low is None and high is None and self.chance(specials)
            lo = info.min if extreme else max(info.min, -20 if low is None else int(np.ceil(low)))
            hi = info.max if extreme else min(info.max, 20 if high is None else int(np.floor(high)))
            return self.rng.integers(lo, hi, shape, dtype=dtype, endpoint=True)
        free = low is None and high is None
        low, high = (-3 if low is None else low), (3 if high is None else high)
        values = np.asarray(self.rng.uniform(low, high, shape))
        if free and self.chance(specials) and values.size:
            edges = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e4, -1e4, 0.5, -0.5, 1.5, 2.5] + [1e-40, -1e-40] * self.denormals
            flat = values.reshape(-1)
            for _ in range(self.int(1, 4)):
                flat[self.int(0, flat.size - 1)] = self.pick(edges)
        return values.astype(dtype)

    def nonzero(self, shape, low=0.3, high=4.0):
        """Divisors."""
        if self.t in FLOATS:
            sign = np.where(self.rng.integers(0, 2, shape), 1.0, -1.0)
            return (sign * self.rng.uniform(low, high, shape)).astype(numpy_type(self.t))
        signed = not self.t.startswith("u")
        values = self.rng.integers(1, 9, shape)
        if signed:
            values = np.where(self.rng.integers(0, 2, shape), values, -values)
        return np.asarray(values).astype(numpy_type(self.t))

    def axis(self, rank):
        return self.int(-rank, rank - 1)

    def ints(self, values, t=None):
        """An index operand of int32 or int64, mostly constant."""
        return self.maybe_const(np.asarray(values, t or self.pick(("int32", "int64"))))

    def maybe_const(self, value, p=0.7):
        return Const(value) if self.chance(p) else value
