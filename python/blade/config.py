"""Settings of blade.optimize: typed, printable, and strict about names."""
import difflib


class _Settings:
    """Fields are declared in _fields: {name: (default, types, one-line doc)}; a default that is a class is a nested group."""

    _fields = {}

    def __init__(self):
        for name, (default, types, _) in self._fields.items():
            value = default() if isinstance(default, type) else default
            object.__setattr__(self, name, value if not isinstance(value, (dict, list)) else type(value)(value))

    def __setattr__(self, name, value):
        if name not in self._fields:
            raise AttributeError(self._unknown(name))
        default, types, _ = self._fields[name]
        if isinstance(default, type) and issubclass(default, _Settings):
            if not isinstance(value, default):
                raise TypeError(f"{type(self).__name__}.{name} is a group of settings: set its fields")
        elif not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            expected = " or ".join(t.__name__ for t in types)
            raise TypeError(f"{type(self).__name__}.{name} takes {expected}, got {value!r}")
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
            default = cls._fields[name][0] if name in cls._fields else None
            if isinstance(default, type) and issubclass(default, _Settings) and isinstance(value, dict):
                value = default.from_dict(value)
            setattr(settings, name, value)
        return settings

    def __eq__(self, other):
        return type(self) is type(other) and self.to_dict() == other.to_dict()

    def __repr__(self):
        inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({inner})"


class AICompilerConfig(_Settings):
    _fields = {"enable": (True, (bool,), "compiled fusion of memory-bound chains")}


class TensorRTConfig(_Settings):
    _fields = {
        "enable": (True, (bool,), "the user's own TensorRT where one is installed, else Blade's engine takes the region"),
        "dynamic_tuning_shapes": ({}, (dict,), "min, opts and max shapes, honoured by whichever engine takes the region"),
    }


class GpuConfig(_Settings):
    _fields = {
        "disable_fp16_accuracy_check": (False, (bool,), "keep fp16 without checking the answers"),
        "disable_fp16_perf_check": (False, (bool,), "keep fp16 without checking that it is faster"),
        "aicompiler": (AICompilerConfig, (), ""),
        "tensorrt": (TensorRTConfig, (), ""),
    }


class CpuConfig(_Settings):
    _fields = {
        "precision": ("auto", (str,),
                      "'fp32', 'bf16' (where the processor has it and the answers hold) or 'auto' (bf16 where it is also "
                      "faster and the answers hold within accuracy.rtol itself)"),
        "num_threads": (0, (int,), "0: as many as the process may use"),
    }


class AccuracyConfig(_Settings):
    _fields = {
        "rtol": (1e-3, (float, int), "largest difference allowed, relative to the output's largest value; "
                 "10 times that in fp16, 20 times in bf16 that was asked for"),
        "atol": (1e-6, (float, int), "and absolute; both are added"),
        "metric": ("max_relative", (str,), "'max_relative', or 'max_absolute' (rtol is not used)"),
    }


class TuningConfig(_Settings):
    _fields = {
        "time_limit_s": (60, (float, int), "bound on the time spent measuring"),
        "disable_perf_check": (False, (bool,), "keep what holds without checking that it is faster, where a busy machine cannot tell"),
        "cache_dir": ("", (str,), "where measured choices are kept between runs: '' for the user's cache folder, 'off' to keep none"),
    }


class QuantizationConfig(_Settings):
    _fields = {"enable": (False, (bool,), "int8, at level o2")}


class Config(_Settings):
    """All settings of blade.optimize. A misspelt field is an AttributeError that names the nearest one."""

    _fields = {
        "gpu_config": (GpuConfig, (), ""),
        "cpu_config": (CpuConfig, (), ""),
        "dynamic_tuning_shapes": ({}, (dict,), "min, opts and max shapes, for any device"),
        "accuracy": (AccuracyConfig, (), ""),
        "tuning": (TuningConfig, (), ""),
        "quantization": (QuantizationConfig, (), ""),
    }
