"""blade.optimize: the Python side of the optimizer in libblade.so."""
import json
import os

import numpy as np

from blade import _core, tensorflow_bridge
from blade.config import Config
from blade.errors import InvalidArgumentError
from blade.progress import Progress


class Report:
    """What optimizing did. ``print(report)`` gives JSON; its fields are attributes (``report.overall['speedup']``)."""

    def __init__(self, text, html=""):
        self._values = json.loads(text)
        self._html = html

    def __getattr__(self, name):
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"the report has no field '{name}'; it has {', '.join(self.__dict__['_values'])}") from None

    def to_dict(self):
        """The report as plain dicts and lists."""
        return self._values

    def to_json(self):
        """The report as JSON text."""
        return json.dumps(self._values, indent=2, ensure_ascii=False)

    def save_html(self, path):
        """Writes the report as one self-contained page."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self._html)

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


def _is_graph_def(model):
    return hasattr(model, "SerializeToString") and hasattr(model, "node")


def _packed_strings(array):
    """Strings as blade.h packs them: int64 offsets, then the bytes, all as uint8."""
    parts = [s if isinstance(s, bytes) else str(s).encode() for s in array.ravel()]
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return np.frombuffer(offsets.tobytes() + b"".join(parts), np.uint8)


def _feeds(feeds):
    """(names, arrays, shapes of strings or None) of feed dicts, a list a feed."""
    names, arrays, string_shapes = [], [], []
    for feed in feeds:
        if not isinstance(feed, dict):
            raise InvalidArgumentError(f"test_data holds a {type(feed).__name__}; expected feed dicts {{'input:0': array}}")
        values = [np.asarray(value) for value in feed.values()]
        text = [name.decode() if isinstance(name, bytes) else str(getattr(name, "name", name)) for name in feed]
        names.append(text)
        is_text = [value.dtype.kind in "OSU" for value in values]
        string_shapes.append([list(value.shape) if strings else None for value, strings in zip(values, is_text)])
        arrays.append([_packed_strings(value) if strings else np.require(value, requirements="C")
                       for value, strings in zip(values, is_text)])
    return names, arrays, string_shapes


def _options(model_name, optimization_level, device_type, config, inputs, outputs, **rest):
    def plain(names):
        return [getattr(name, "name", name) for name in names] if names is not None else None

    return json.dumps(
        {
            "model_name": model_name,
            "optimization_level": optimization_level,
            "device_type": device_type,
            "config": config.to_dict(),
            "user_config": "" if config == Config() else json.dumps(config.to_dict(), default=str),
            "inputs": plain(inputs),
            "outputs": plain(outputs),
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
      input_shapes: groups of likely shapes, one string an input: [['1*224*224*3']].
      input_ranges: value ranges of generated test data, one string an input: [['[0,255]']].
      test_data: feed dicts {'input:0': array}, for measuring and for the accuracy check.
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
    config = config or Config()
    if not isinstance(config, Config):
        raise InvalidArgumentError(f"config is a {type(config).__name__}; expected a blade.Config")
    if isinstance(test_data, dict):
        raise InvalidArgumentError("test_data is one feed dict; expected a list of them: test_data=[feed]")
    path, data, name, frozen = "", b"", "graph_def", None
    if _is_graph_def(model):
        data = model.SerializeToString()
    elif isinstance(model, (str, os.PathLike)):
        path = name = os.fspath(model)
    else:
        raise InvalidArgumentError(f"model is a {type(model).__name__}; expected a GraphDef, a path or a SavedModel directory")
    if signature and not path:
        raise InvalidArgumentError(f"the signature '{signature}' is asked for, but a GraphDef has none; name outputs instead")
    if path and tensorflow_bridge.must_be_frozen(path):
        frozen = tensorflow_bridge.freeze_saved_model(path, signature)
        path, data = "", frozen.graph_def
        inputs = inputs or list(frozen.inputs.values())
        outputs = outputs or list(frozen.outputs.values())
    options = _options(
        os.path.basename(name.rstrip("/")), optimization_level, device_type, config, inputs, outputs,
        input_shapes=input_shapes, input_ranges=input_ranges, custom_ops=list(custom_ops), verbose=verbose,
        signature=signature if path else None, input_keys=frozen.inputs if frozen else None,
        output_keys=frozen.outputs if frozen else None,
    )
    feeds = _feeds(test_data)
    with Progress() as progress:
        result = _core.optimize(path, data, options, *feeds, progress)
    report = Report(result.report, result.report_html)
    has_tensorflow = any(entry["software"] == "tensorflow" for entry in report.software_context)
    spec = OptSpec({"framework": "tensorflow" if has_tensorflow else "none", "num_threads": config.cpu_config.num_threads})
    if _is_graph_def(model):
        optimized = type(model)()
        optimized.ParseFromString(result.model)
        return optimized, spec, report
    target = _target_path(os.fspath(model))
    if frozen is not None:
        tensorflow_bridge.write_saved_model(result.model, frozen, target)
    else:
        result.write(target)
    return target, spec, report


def _target_path(path):
    stem, extension = os.path.splitext(path.rstrip("/"))
    return f"{stem}.blade{extension}"
