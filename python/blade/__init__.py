"""Blade: takes a trained TensorFlow graph and gives back one that answers the same, faster, with a report that proves it."""
from blade import _core
from blade.config import Config
from blade.engine import Engine
from blade.errors import BladeError
from blade.optimizing import OptSpec, Report, optimize

__version__ = _core.version()
__all__ = ["BladeError", "Config", "Engine", "OptSpec", "Report", "cmake_dir", "optimize", "__version__"]


def cmake_dir():
    """Where find_package(blade) finds this installation: give it as -Dblade_DIR=..."""
    import os

    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "cmake")
