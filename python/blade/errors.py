"""Errors that Blade raises: each message is one sentence saying what was found, what was expected and what to do."""


class BladeError(Exception):
    """Anything Blade could not do."""


class InvalidArgumentError(BladeError, ValueError):
    """The caller's input is wrong."""


class NotFoundError(BladeError, FileNotFoundError):
    """A file, node, input or output does not exist."""

    def __str__(self):
        return self.args[0] if self.args else ""


class UnavailableError(BladeError, RuntimeError):
    """Something optional (TensorFlow, a GPU) is absent."""


_BY_STATUS = {1: InvalidArgumentError, 2: NotFoundError, 7: UnavailableError, 10: InvalidArgumentError}


def from_status(status, message):
    """The exception for a status of the C interface (blade.h's blade_status)."""
    return _BY_STATUS.get(status, BladeError)(message)
