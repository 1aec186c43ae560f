"""blade.optimize: the Python side of the optimizer in libblade.so."""
import contextlib
import copy
import json
import os
import tempfile
import warnings

import numpy as np

from blade import _core, tensorflow_bridge
from blade.arguments import checked_text, name_list, text_path
from blade.arrays import as_array, bfloat16_array, checked_feed, has_type, native_array, of_dtype, tensor_name
from blade.config import Config
from blade.errors import InvalidArgumentError
from blade.progress import Progress


class Report:
    """What optimizing did. ``print(report)`` gives JSON; its fields are attributes (``report.overall['speedup']``)."""

    def __init__(self, text, html=""):
        self._values = json.loads(text)
        self._html = html

    def __getattr__(self, name):
        values = self.__dict__.get("_values", {})  # not there yet while a copy is being made
        if name not in values:
            raise AttributeError(f"the report has no field '{name}'; it has {', '.join(values)}")
        return values[name]

    def __dir__(self):
        return [*super().__dir__(), *self._values]

    def to_dict(self):
        """A copy of the report as plain dicts and lists."""
        return copy.deepcopy(self._values)

    def to_json(self):
        """The report as JSON text."""
        return json.dumps(self._values, indent=2, ensure_ascii=False)

    def save_html(self, path):
        """Writes the report as one self-contained page."""
        _write_text(path, self._html)

    __str__ = to_json

    def __repr__(self):
        overall = self._values.get("overall", {})
        return f"<blade.Report {overall.get('baseline')} -> {overall.get('optimized')}, {overall.get('speedup')} times>"


class OptSpec:
    """Context manager that holds the settings of the measured result: ``with tf.Session(...) as s, opt_spec:``."""

    def __init__(self, settings):
        self.settings = dict(settings)

    def __enter__(self):
        if self.settings.get("framework") == "tensorflow":
            import blade.runtime.tensorflow  # noqa: F401
        return self

    def __exit__(self, *_):
        return False

    def __repr__(self):
        return f"OptSpec({self.settings})"


def _path_or_bytes(model):
    """(path, b"") of a path, ("", bytes) of a GraphDef."""
    if hasattr(model, "SerializeToString") and hasattr(model, "node"):
        return "", model.SerializeToString()
    if isinstance(model, (str, os.PathLike)):
        path = text_path(model)
        if not path:
            raise InvalidArgumentError("model is an empty path; expected that of a .pb, a .pbtxt or a SavedModel directory")
        return path, b""
    raise InvalidArgumentError(
        f"model is a {type(model).__name__}; expected a GraphDef, a path or a SavedModel directory{_advice(model)}")


def _advice(model):
    """How to make a model of what is none, for the kinds of things that TensorFlow's users hold in their hands."""
    if isinstance(model, bytes):
        return "; parse it: tf.compat.v1.GraphDef.FromString(model)"
    if hasattr(model, "graph_def"):  # a MetaGraphDef
        return "; give its graph_def"
    if hasattr(model, "get_concrete_function") or hasattr(model, "structured_input_signature"):  # a tf.function or one trace of it
        return "; save a module with it by tf.saved_model.save and give the directory"
    if hasattr(model, "as_graph_def"):
        return "; give its as_graph_def(), without variables"
    if hasattr(model, "export") and hasattr(model, "layers"):  # Keras
        return "; export it by model.export(directory) and give the directory"
    return ""


def _packed_strings(array, what):
    """Strings as blade.h packs them: int64 offsets, then the bytes, all as uint8."""
    others = [s for s in array.ravel() if not isinstance(s, (str, bytes))] if array.dtype.kind == "O" else []
    if others:
        raise InvalidArgumentError(
            f"{what} holds objects, {others[0]!r:.40} among them; expected strings, or numbers in an array of their own dtype, as by astype")
    parts = [s if isinstance(s, bytes) else str(s).encode() for s in array.ravel()]
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return np.frombuffer(offsets.tobytes() + b"".join(parts), np.uint8)


def _numbers(value, array, what, dtype):
    """`array`, made of the feed's `value`. bfloat16 goes by its bits, which the library takes for a bfloat16 input; what has
    no dtype takes the placeholder's, where that is known."""
    if array.dtype.kind == "V":
        return bfloat16_array(array, what)
    return native_array(array, what) if has_type(value) or dtype is None else of_dtype(value, what, dtype)


def _types_for(feeds, path, data, signature):
    """The dtypes of the model's placeholders; looked up only where some value of `feeds` has none of its own."""
    if all(has_type(value) for feed in feeds for value in feed.values()):
        return {}
    return json.loads(_core.placeholder_types(path, data, signature))


def _checked_feeds(feeds, argument):
    """The feed dicts of an argument as a list."""
    if isinstance(feeds, dict):
        raise InvalidArgumentError(f"{argument} is one feed dict; expected a list of them: {argument}=[feed]")
    if isinstance(feeds, (str, bytes)) or hasattr(feeds, "dtype"):
        raise InvalidArgumentError(f"{argument} is a {type(feeds).__name__}; expected a list of dicts of arrays by the names of the inputs")
    if feeds is not None and not hasattr(feeds, "__iter__"):
        raise InvalidArgumentError(f"{argument} is {feeds!r:.80}; expected a list of dicts of arrays by the names of the inputs")
    return [checked_feed(feed, f"an entry of {argument}") for feed in feeds or ()]


def _feeds(feeds, argument, types):
    """(names, arrays, shapes of strings or None) of feed dicts, a list a feed; types: dtypes by the inputs' names."""
    names, arrays, string_shapes = [], [], []
    for feed in feeds:
        text = [tensor_name(name) for name in feed]
        whats = [f"{argument}'s value of '{name}'" for name in text]
        values = [as_array(value, what) for value, what in zip(feed.values(), whats)]
        names.append(text)
        is_text = [value.dtype.kind in "OSU" for value in values]
        string_shapes.append([list(value.shape) if strings else None for value, strings in zip(values, is_text)])
        arrays.append([_packed_strings(array, what) if strings else _numbers(value, array, what, types.get(name))
                       for value, array, strings, what, name in zip(feed.values(), values, is_text, whats, text)])
    return names, arrays, string_shapes


def _plain(value):
    """NumPy's arrays and numbers (in dynamic_tuning_shapes) for JSON."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise InvalidArgumentError(f"an option holds {value!r}, a {type(value).__name__}; expected numbers, strings, lists and dicts")


def _json(values):
    try:
        return json.dumps(values, default=_plain, allow_nan=False)
    except InvalidArgumentError:  # is a ValueError, too
        raise
    except ValueError as error:
        raise InvalidArgumentError(f"an option holds NaN or an infinity; expected finite numbers: {error}") from error


def _options(optimization_level, device_type, config, **rest):
    for name, value, expected in (("optimization_level", optimization_level, "'o1' or 'o2'"),
                                  ("device_type", device_type, "'cpu', 'gpu' or 'auto'")):
        checked_text(value, name, expected)
    settings = json.loads(_json(config.to_dict()))
    return _json(
        {
            "optimization_level": optimization_level,
            "device_type": device_type,
            "config": settings,
            "user_config": "" if config == Config() else json.dumps(settings),
            "tensorflow_dir": tensorflow_bridge.tensorflow_dir(),
            **rest,
        }
    )


def optimize(
    model,
    optimization_level,
    device_type,
    config=None,
    inputs=None,
    outputs=None,
    input_shapes=None,
    input_ranges=None,
    test_data=(),
    calib_data=(),
    custom_ops=(),
    verbose=False,
    signature=None,
):
    """Optimizes a trained TensorFlow model for inference.

    Args:
      model: a GraphDef, the path of a ``.pb``/``.pbtxt``, or a SavedModel directory.
      optimization_level: 'o1' (lossless: rewriting, fusion, precision that passes the accuracy check) or 'o2' (and int8).
      device_type: 'cpu', 'gpu' or 'auto'.
      config: blade.Config.
      inputs, outputs: node names; inferred when None (what was inferred is in the report).
      input_shapes: groups of likely shapes, one string an input: [['1*224*224*3']], or by name: [{'input': '1*224*224*3'}].
      input_ranges: value ranges of generated test data, one string an input: [['[0,255]']].
      test_data: feed dicts {'input:0': array}, for measuring and for the accuracy check. Lists take the inputs' dtypes.
      calib_data: feed dicts for int8 calibration.
      custom_ops: paths of TensorFlow op libraries that the model needs.
      verbose: log what each step did.
      signature: which of a SavedModel's signatures; 'serving_default', or its only one, when None. The feeds of test_data
        may go by the signature's keys.

    Returns:
      (optimized_model, opt_spec, report). The model is what came in: a GraphDef for a GraphDef; for a path, the path of a
      new model beside it (``NAME.blade.pb``, or the directory ``NAME.blade``).

    Raises:
      blade.BladeError with one sentence: what was found, what was expected, what to do.
    """
    config = Config() if config is None else config
    if not isinstance(config, Config):
        raise InvalidArgumentError(f"config is a {type(config).__name__}; expected a blade.Config")
    path, data = _path_or_bytes(model)
    signature = checked_text(signature or "", "signature", "a string")
    if signature and not path:
        raise InvalidArgumentError(f"the signature '{signature}' is asked for, but a GraphDef has none; name outputs instead")
    target = _target_path(path) if path else ""
    libraries = name_list(custom_ops, "custom_ops")
    test_data = _checked_feeds(test_data, "test_data")
    options = {
        "model_name": os.path.basename(path.rstrip("/")) or "graph_def", "inputs": name_list(inputs, "inputs"),
        "outputs": name_list(outputs, "outputs"), "input_shapes": input_shapes, "input_ranges": input_ranges,
        "custom_ops": libraries, "calib_data": len(_checked_feeds(calib_data, "calib_data")),
        "verbose": bool(verbose), "signature": signature, "output": target,
        "original_path": path,
    }
    options = _options(optimization_level, device_type, config, **options)
    with tempfile.TemporaryDirectory(prefix="blade-") as folder:
        if path and tensorflow_bridge.must_be_frozen(path):
            frozen = os.path.join(folder, "frozen")
            tensorflow_bridge.freeze_saved_model(path, frozen, signature, libraries or ())
            path = frozen
        feeds = _feeds(test_data, "test_data", _types_for(test_data, path, data, signature))
        with Progress() as progress:
            result = _core.optimize(path, data, options, *feeds, progress)
        if target:
            result.write(target)
    report = Report(result.report, result.report_html)
    has_tensorflow = any(entry["software"] == "tensorflow" for entry in report.software_context)
    spec = OptSpec({"framework": "tensorflow" if has_tensorflow else "none", "num_threads": config.cpu_config.num_threads})
    if target:
        return target, spec, report
    optimized = type(model)()
    optimized.ParseFromString(result.model)
    return optimized, spec, report


def _target_path(path):
    """Beside the model, or in a new temporary folder where nothing can be written beside it."""
    place = path.rstrip("/")
    if os.path.basename(place) in ("", ".", ".."):
        place = os.path.abspath(path)
    stem, extension = (place, "") if os.path.isdir(path) else os.path.splitext(place)
    target = f"{stem}.blade{extension}"
    folder = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(folder) or os.access(folder, os.W_OK | os.X_OK):
        return target
    elsewhere = os.path.join(tempfile.mkdtemp(prefix="blade-"), os.path.basename(target))
    warnings.warn(f"'{folder}' cannot be written to: the optimized model goes to '{elsewhere}'", stacklevel=3)
    return elsewhere


def _write_text(path, text):
    """A text file that is whole or not there at all; what is no plain file (a pipe) is written to as it is."""
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return
    made = f"{path}.tmp-{os.getpid()}"
    try:
        with open(made, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(made, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(made)
        raise OSError(error.errno, error.strerror, path) from error
