"""Arguments as the library takes them: of the type that is expected, or a sentence that says so."""
import numbers
import os

from blade.errors import InvalidArgumentError


def path_bytes(path):
    """`path` in the bytes of the file system, which need not be text."""
    try:
        name = os.fsencode(path)
    except (TypeError, UnicodeEncodeError) as error:
        raise InvalidArgumentError(f"{path!r:.80} is no path; expected that of a file or a directory") from error
    if b"\0" in name:
        raise InvalidArgumentError(f"the path {path!r:.80} holds a NUL character; expected the path of a file or a directory")
    return name


def text_path(path):
    """`path` as text that JSON can hold."""
    name = os.fsdecode(path_bytes(path))
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"the path {name!r:.80} is not UTF-8, as optimizing needs it; rename it, or link to it") from error
    return name


def checked_text(value, what, expected):
    """`value`, if it is a str."""
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{what} is {value!r:.80}; expected {expected}")
    return value


def integer(value, what):
    """`value` as an int of 32 bits."""
    if not isinstance(value, numbers.Integral) or not -2**31 < int(value) < 2**31:
        raise InvalidArgumentError(f"{what} is {value!r:.80}; expected an integer")
    return int(value)


def name_list(value, what):
    """One name, several, or None, as a list or None: names may be strings, paths, or TensorFlow's tensors."""
    if value is None:
        return None
    if isinstance(value, (str, bytes, os.PathLike)) or not hasattr(value, "__iter__"):
        value = [value]
    plain = [os.fspath(name) if isinstance(name, os.PathLike) else getattr(name, "name", name) for name in value]
    return [checked_text(name, f"a name in {what}", "a string") for name in plain]
