"""Arrays as the library takes them."""
import collections.abc
import functools

import numpy as np

from blade.errors import InvalidArgumentError


_NUMBERS = "numbers or booleans"
_BFLOAT16 = "bfloat16 (floats are rounded, uint16 are its bits)"


def as_array(value, what, dtype=None):
    """`value` as an array; `dtype` is what errors say was expected."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{what} was given what is no array of {dtype or _NUMBERS}: {error}") from error


def is_plain(array):
    """Whether an array lies in memory as the library takes it: row-major, at a multiple of its elements' size."""
    flags = array.flags
    return flags.c_contiguous and flags.aligned


def native_array(value, what, dtype=None):
    """`value` as an aligned row-major array of numbers or booleans in the machine's byte order; `what` names it in errors."""
    array = as_array(value, what, dtype)
    if array.dtype.kind in "OSUMmc" or array.dtype.fields or array.dtype == np.longdouble:
        raise InvalidArgumentError(f"{what} was given {array.dtype} data, expected {dtype or _NUMBERS}: convert it.")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return np.require(array, requirements="CA")


def bfloat16_array(value, what):
    """`value` for a tensor of bfloat16, which NumPy has not of its own: floats as float32, which the library rounds to the
    nearest; arrays of ml_dtypes.bfloat16, and those of two bytes without a type, as which numpy.load gives them without
    that package, as uint16; and uint16, which are bits already."""
    array = native_array(value, what, _BFLOAT16)
    if not has_type(value):
        array = array.astype(np.float32)
    if array.dtype.itemsize == 2 and array.dtype.kind in "uV":
        return array.view(np.uint16)
    if array.dtype.kind != "f":
        raise InvalidArgumentError(f"{what} was given {array.dtype} data, expected {_BFLOAT16}: convert it.")
    return array.astype(np.float32, copy=False)


@functools.cache
def _bfloat16():
    """The dtype of ml_dtypes, or None where that package is not installed."""
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        return None
    return np.dtype(bfloat16)


def from_bfloat16_bits(bits):
    """uint16 as an array of ml_dtypes.bfloat16, or of float32, which holds the same numbers, where that package is absent."""
    if _bfloat16() is not None:
        return bits.view(_bfloat16())
    return np.asarray(bits.astype(np.uint32) << 16, np.uint32).view(np.float32)


def has_type(value):
    """Whether a value of a feed has a dtype that counts: Python's numbers and lists have none."""
    return isinstance(value, np.ndarray)


def of_dtype(value, what, dtype):
    """`value` as an array of `dtype`, where nothing but precision is lost by that; else as it is."""
    if dtype == "bfloat16":
        return bfloat16_array(value, what)
    array = native_array(value, what, None if has_type(value) else dtype)
    if array.dtype.name == dtype:
        return array
    with np.errstate(invalid="ignore", over="ignore"):
        converted = array.astype(dtype)
    are_numbers = array.dtype.kind in "fiu" and converted.dtype.kind == "f"
    return converted if are_numbers or np.array_equal(converted, array) else array


def tensor_name(key):
    """The name in a feed's key: text, bytes (which old archives hold) or one of TensorFlow's tensors."""
    name = key.decode(errors="backslashreplace") if isinstance(key, bytes) else str(getattr(key, "name", key))
    return name.encode(errors="backslashreplace").decode().replace("\0", "\\0")  # as C takes it


def checked_feed(feed, what):
    """`feed`, if it is a feed dict."""
    if not isinstance(feed, collections.abc.Mapping):
        raise InvalidArgumentError(f"{what} is {feed!r:.80}; expected a dict of arrays by the names of the inputs")
    return feed
