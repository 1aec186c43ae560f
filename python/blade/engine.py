"""Running a model without TensorFlow."""
import collections
import json

import numpy as np

from blade import _core
from blade.arguments import checked_text, integer, name_list, path_bytes
from blade.arrays import checked_feed, from_bfloat16_bits, has_type, is_plain, native_array, of_dtype, tensor_name
from blade.errors import InvalidArgumentError

TensorInfo = collections.namedtuple("TensorInfo", ["name", "dtype", "shape"])
TensorInfo.__doc__ = "Name, dtype name and shape (None for an unknown dim, or in place of the shape for an unknown rank)."


_MOST_ORDERS = 16


def _dtype_of(info):
    """NumPy's, or None for bfloat16, of which it has none."""
    return None if info.dtype == "bfloat16" else np.dtype(info.dtype)


def _node_name(name):
    return name[:-2] if name.endswith(":0") else name


class _ByKeys(dict):
    """Results under a signature's keys, which answer to the outputs' own names, too."""

    def __init__(self, results, keys):
        super().__init__(results)
        self._keys = keys

    def __missing__(self, name):
        key = self._keys.get(name)
        if key is None:
            raise KeyError(name)
        return self[key]

    def __contains__(self, name):
        return super().__contains__(name) or name in self._keys

    def get(self, name, default=None):
        return self[name] if name in self else default


class Engine:
    """A model loaded for inference: an optimized or plain frozen ``.pb``/``.pbtxt`` or a frozen SavedModel.

    Args:
      path: the model.
      outputs: node or tensor names to compute; the model's own outputs when None, or a SavedModel's signature's. Results carry the names as given here.
      signature: which of a SavedModel's signatures; 'serving_default', or its only one, when None.
      device: 'cpu', 'gpu', or 'auto' (a GPU if one is usable, else the CPU).
      num_threads: threads to run on, 0 for as many as the process may use.

    Runs from several threads at once are safe. Activations are laid out as in the TensorFlow graph.
    Raises blade.BladeError with a sentence when the model cannot be loaded or has ops Blade does not cover.
    """

    def __init__(self, path, outputs=None, device="cpu", num_threads=0, signature=None, *, _reference=False):
        asked = name_list(outputs, "outputs") or []
        self._engine = _core.Engine(
            path_bytes(path), asked, integer(num_threads, "num_threads"), _reference,
            checked_text(signature or "", "signature", "a string"), checked_text(device, "device", "'cpu', 'gpu' or 'auto'")
        )
        self.inputs = [TensorInfo(*info) for info in self._engine.describe(True)]
        self.outputs = [TensorInfo(*info) for info in self._engine.describe(False)]
        self._input_names = [_node_name(info.name) for info in self.inputs]
        names = [info.name for info in self.outputs]
        keys = self._engine.output_keys()
        self._output_names = asked or [key or name for key, name in zip(keys, names)]
        self._keys_of_outputs = self._keys_by_name(keys, names) if any(keys) else {}
        self._dtypes = [_dtype_of(info) for info in self.inputs]
        self._bfloat16_outputs = [i for i, info in enumerate(self.outputs) if info.dtype == "bfloat16"]
        self._orders = {}
        self._built_in_types = self._engine.built_in_types()

    def __reduce__(self):
        raise TypeError("a blade.Engine cannot be pickled or copied; load the model in each process: blade.Engine(path)")

    def _keys_by_name(self, keys, outputs):
        """The key of the output that each name but a key means."""
        names = {name for one in (*keys, *outputs) for name in (one, f"{one}:0")} - set(keys)
        return {name: keys[i] for name in names if (i := self._engine.find_output(name)) >= 0}

    def _order_of(self, feed):
        """The feed's keys in the order of the inputs, and (key, number, dtype name) of placeholders whose default is built in."""
        names = {key: tensor_name(key) for key in checked_feed(feed, "the feed")}
        keys = dict(zip(self._engine.find_inputs(list(names.values())), names))
        count = len(self.inputs)
        missing = [name for i, name in enumerate(self._input_names) if i not in keys]
        if missing:
            raise InvalidArgumentError(
                f"the feed has {sorted(names.values())}, the model's inputs are {self._input_names}: missing {missing}")
        unread = [(key, i - count, self._built_in_types[i - count]) for i, key in keys.items() if i >= count]
        return [keys[i] for i in range(count)], [one for one in unread if one[2] is not None]

    def _ordered(self, feed):
        """The feed's arrays in the order of the inputs. A small model takes less time than looking at names does: what a set of
        keys means is remembered."""
        keys = tuple(feed) if type(feed) is dict else None
        order = self._orders.get(keys)
        if order is None:
            order = self._order_of(feed)
            if keys and len(self._orders) < _MOST_ORDERS and all(type(key) is str for key in keys):
                self._orders[keys] = order
        order, defaults = order
        for key, number, dtype in defaults:
            self._engine.check_unread_input(number, of_dtype(feed[key], f"The placeholder '{tensor_name(key)}'", dtype))
        arrays = [feed[key] for key in order]
        for i, array in enumerate(arrays):
            if type(array) is not np.ndarray or array.dtype is not self._dtypes[i] or not is_plain(array):
                arrays[i] = self._array_for(i, array)
        return arrays

    def _array_for(self, index, value):
        what, dtype = f"Input '{self._input_names[index]}'", self.inputs[index].dtype
        if dtype == "bfloat16" or not has_type(value):
            return of_dtype(value, what, dtype)
        return native_array(value, what, dtype)

    def run(self, feed):
        """Runs once.

        Args:
          feed: {name: array} of all inputs; names with or without ':0', or keys of the SavedModel's signature. Arrays have
            the dtypes and shapes of ``inputs``, aligned, in NumPy's row-major order (others are copied). An input of bfloat16 takes
            arrays of ml_dtypes.bfloat16, floats, which are rounded, or its bits as uint16. Placeholders that no output needs
            may be fed, too.

        Returns:
          {output name: array}, names as given in ``outputs``; without these, for a SavedModel, its signature's keys (the outputs'
          own names find them, too). bfloat16 comes as ml_dtypes.bfloat16, or as float32 where that
          package is not installed.

        Raises:
          blade.BladeError where an input is missing, unknown or given twice, or has another dtype or shape.
        """
        results = self._engine.run(self._ordered(feed))
        for i in self._bfloat16_outputs:
            results[i] = from_bfloat16_bits(results[i])
        results = zip(self._output_names, results)
        return _ByKeys(results, self._keys_of_outputs) if self._keys_of_outputs else dict(results)

    def explain(self, feed=None):
        """What runs how, as a dict: threads, bytes of packed weights, what was decided while optimizing; with a `feed` (as for
        ``run``), of whose arrays the shapes count, also ``plan``: the steps with their kernels, the kernels that were refused
        with reasons, shapes and places of results, and the bytes of the arena."""
        return json.loads(self._engine.explain([] if feed is None else self._ordered(feed)))

    def profile(self, feed, repetitions=20):
        """Times each step in `repetitions` runs of `feed`: a list of dicts with node, op, kernel, median_us (microseconds),
        gflops and gbytes (billions a second, 0 where there is no estimate), in the order of the run."""
        return json.loads(self._engine.profile(self._ordered(feed), repetitions))

    def device_times(self, feed, repetitions=100):
        """Microseconds of each of `repetitions` runs by the GPU's own clock, as floats; inputs and outputs stay on the GPU.
        Raises blade.BladeError where the engine runs on a CPU, or a step of it does."""
        return self._engine.device_times(self._ordered(feed), repetitions)
