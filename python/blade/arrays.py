"""Arrays as the library takes them."""
import collections.abc

import numpy as np

from blade.errors import InvalidArgumentError


_NUMBERS = "numbers or booleans"


def as_array(value, what, dtype=None):
    """`value` as an array; Python's numbers and lists have no dtype of their own: they take `dtype`, where it is given."""
    try:
        return np.asarray(value) if isinstance(value, np.ndarray) else np.asarray(value, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{what} was given what is no array of {dtype or _NUMBERS}: {error}") from error


def native_array(value, what, dtype=None):
    """`value` as a row-major array of numbers or booleans in the machine's byte order; `what` names it in errors."""
    array = as_array(value, what, dtype)
    if array.dtype.kind in "OSUMmc" or array.dtype.fields:
        raise InvalidArgumentError(f"{what} was given {array.dtype} data, expected {dtype or _NUMBERS}: convert it.")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return np.require(array, requirements="C")


def tensor_name(key):
    """The name in a feed's key: text, bytes (which old archives hold) or one of TensorFlow's tensors."""
    return key.decode() if isinstance(key, bytes) else str(getattr(key, "name", key))


def checked_feed(feed, what):
    """`feed`, if it is a feed dict."""
    if not isinstance(feed, collections.abc.Mapping):
        raise InvalidArgumentError(f"{what} is {feed!r:.80}; expected a dict of arrays by the names of the inputs")
    return feed
