"""Settings of blade.optimize: typed, printable, and strict about names. The fields come from the library's own table."""
import difflib
import json
import math
import numbers

import numpy as np

from blade import _core


class _Kind:
    """What a field takes: Python types, and the plain value that is kept of them."""

    def __init__(self, expected, types, plain):
        self.expected, self._types, self._plain = expected, types, plain

    def value(self, where, value):
        is_bool = isinstance(value, (bool, np.bool_))
        if not isinstance(value, self._types) or is_bool != (self.expected == "bool"):
            raise TypeError(f"{where} takes {self.expected}, got {value!r}")
        plain = self._plain(value)
        if isinstance(plain, float) and not math.isfinite(plain):
            raise ValueError(f"{where} is {value!r}; expected a finite number")
        return plain


_KINDS = {
    "bool": _Kind("bool", (bool, np.bool_), bool),
    "integer": _Kind("int", (numbers.Integral,), int),
    "number": _Kind("a number", (numbers.Real,), lambda value: int(value) if isinstance(value, numbers.Integral) else float(value)),
    "text": _Kind("str", (str,), str),
    "shapes": _Kind("dict", (dict,), lambda value: value),
}


def _rows():
    """The rows of the library's table that are settings: name without 'config.', kind, default, doc."""
    for row in json.loads(_core.option_table()):
        if row["name"].startswith("config."):
            yield {**row, "name": row["name"][len("config."):]}


class _Settings:
    """A group of fields: {name: row of the table, or the class of a nested group}."""

    _fields = {}

    def __init_subclass__(cls, path, groups=(), **rest):
        super().__init_subclass__(**rest)
        inner = [row for row in _rows() if row["name"].startswith(path)]
        cls._fields = {**{row["name"][len(path):]: row for row in inner if "." not in row["name"][len(path):]}, **dict(groups)}
        lines = [f"  {row['name'][len(path):]} = {row['default']!r}: {row['doc']}" for row in inner]
        cls.__doc__ = "\n".join([cls.__doc__, "", "Fields, with their defaults:", *lines])

    def __init__(self):
        for name, field in self._fields.items():
            value = field() if isinstance(field, type) else field["default"]
            object.__setattr__(self, name, dict(value) if isinstance(value, dict) else value)

    def __setattr__(self, name, value):
        if name not in self._fields:
            raise AttributeError(self._unknown(name))
        field = self._fields[name]
        if not isinstance(field, type):
            value = _KINDS[field["kind"]].value(f"{type(self).__name__}.{name}", value)
        elif not isinstance(value, field):
            raise TypeError(f"{type(self).__name__}.{name} is a group of settings: set its fields")
        object.__setattr__(self, name, value)

    def __getattr__(self, name):
        raise AttributeError(self._unknown(name))

    def _unknown(self, name):
        near = difflib.get_close_matches(name, self._fields, 1, 0.5)
        hint = f"; did you mean '{near[0]}'?" if near else f"; its fields are {', '.join(self._fields)}"
        return f"{type(self).__name__} has no field '{name}'{hint}"

    def to_dict(self):
        """The settings as plain dicts, lists, numbers and strings."""
        values = {}
        for name in self._fields:
            value = getattr(self, name)
            values[name] = value.to_dict() if isinstance(value, _Settings) else value
        return values

    @classmethod
    def from_dict(cls, values):
        """Settings from to_dict()'s form; fields that are left out keep their defaults."""
        settings = cls()
        for name, value in values.items():
            field = cls._fields.get(name)
            if isinstance(field, type) and isinstance(value, dict):
                value = field.from_dict(value)
            setattr(settings, name, value)
        return settings

    def __eq__(self, other):
        return type(self) is type(other) and self.to_dict() == other.to_dict()

    def __repr__(self):
        inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({inner})"


class AICompilerConfig(_Settings, path="gpu_config.aicompiler."):
    """Compiled fusion."""


class TensorRTConfig(_Settings, path="gpu_config.tensorrt."):
    """Settings of scripts that were written for TensorRT."""


class GpuConfig(_Settings, path="gpu_config.", groups={"aicompiler": AICompilerConfig, "tensorrt": TensorRTConfig}):
    """Settings of GPUs."""


class CpuConfig(_Settings, path="cpu_config."):
    """Settings of CPUs."""


class AccuracyConfig(_Settings, path="accuracy."):
    """When the answers of an optimized model still hold."""


class TuningConfig(_Settings, path="tuning."):
    """Measuring."""


class QuantizationConfig(_Settings, path="quantization."):
    """Settings of level o2."""


class Config(_Settings, path="", groups={"gpu_config": GpuConfig, "cpu_config": CpuConfig, "accuracy": AccuracyConfig,
                                         "tuning": TuningConfig, "quantization": QuantizationConfig}):
    """All settings of blade.optimize. A misspelt field is an AttributeError that names the nearest one."""


def markdown_table():
    """The fields as docs/python.md lists them."""
    lines = ["| field | default | meaning |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| `{row['name']}` | `{row['default']!r}` | {row['doc']} |" for row in _rows())])
