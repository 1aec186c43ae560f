"""``import blade.runtime.tensorflow`` makes optimized graphs run in this process's TensorFlow; nothing else is needed.

BLADE_REGION, BLADE_TOKEN and BLADE_AUTH_USE_COUNTING may be set and change nothing.
"""
import importlib
import os
import threading

from blade import _core
from blade.errors import UnavailableError

_LIBRARY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "libblade_tf.so")
_lock = threading.Lock()
_loaded = None


def load():
    """Registers Blade's ops with TensorFlow, once a process. Called by importing this module."""
    global _loaded
    with _lock:
        if _loaded is None:
            try:
                tf = importlib.import_module("tensorflow")
            except ImportError as error:
                raise UnavailableError(
                    "TensorFlow is not installed, so there is nothing to run optimized graphs in; "
                    "install tensorflow or tensorflow-cpu, or use blade.Engine, which needs none"
                ) from error
            if not os.path.exists(_LIBRARY):
                raise UnavailableError(
                    f"{_LIBRARY} is not there: this Blade was built without TensorFlow's headers; "
                    "install TensorFlow first, then Blade again"
                )
            _loaded = tf.load_op_library(_LIBRARY)
    return _loaded


def counters():
    """Runs inside engines and runs handed back to the original graph, in this process so far."""
    return {"engine_runs": _core.engine_runs(), "fallback_runs": _core.fallback_runs()}


load()
