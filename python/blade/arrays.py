"""Arrays as the library takes them."""
import numpy as np

from blade.errors import InvalidArgumentError


def native_array(value, what, dtype=None):
    """`value` as a row-major array of numbers or booleans in the machine's byte order; `what` names it in errors."""
    try:
        # Python numbers and lists have no dtype of their own: they take the one that is expected.
        array = np.asarray(value) if hasattr(value, "dtype") else np.asarray(value, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{what} is a {type(value).__name__} that is no array ({error}); give a NumPy array") from None
    if array.dtype.kind in "OSUMm" or array.dtype.fields:
        raise InvalidArgumentError(f"{what} has the dtype {array.dtype}; expected numbers or booleans")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return np.require(array, requirements="C")


def checked_feed(feed, what):
    """`feed`, if it is a feed dict."""
    if not isinstance(feed, dict):
        raise InvalidArgumentError(f"{what} is a {type(feed).__name__}; expected a feed dict {{'input:0': array}}")
    return feed
