"""What Blade asks of an installed TensorFlow: where it is, and freezing a SavedModel that still has variables."""
import importlib.util
import os

from blade.errors import InvalidArgumentError


def tensorflow_dir():
    """The directory of libtensorflow_cc.so.2, or '' where TensorFlow is not installed. Imports nothing."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        return ""
    directory = next(iter(spec.submodule_search_locations))
    return directory if os.path.exists(os.path.join(directory, "libtensorflow_cc.so.2")) else ""


def has_variables(saved_model_dir):
    """Whether a SavedModel directory holds variables that are not in its graph."""
    return os.path.exists(os.path.join(saved_model_dir, "variables", "variables.index"))


class FrozenModel:
    """A SavedModel with its variables made constants: GraphDef bytes, and a signature's {key: tensor name} in and out."""

    def __init__(self, graph_def, inputs, outputs, signature):
        self.graph_def = graph_def
        self.inputs = inputs
        self.outputs = outputs
        self.signature = signature

    def tensor_name(self, name):
        """The tensor that a user's name means: a key of the signature's inputs, or the name itself."""
        return self.inputs.get(name, name)


def _choose_signature(path, names, wanted):
    """The signature to use: `wanted`, else 'serving_default', else the only one."""
    if not names:
        raise InvalidArgumentError(f"the SavedModel '{path}' has no signature; export it with one, as 'serving_default'")
    name = wanted or ("serving_default" if "serving_default" in names or len(names) > 1 else names[0])
    if name not in names:
        listed = ", ".join(f"'{n}'" for n in names)
        raise InvalidArgumentError(
            f"the SavedModel '{path}' has no signature '{name}'; choose one of its signatures: {listed} "
            "(signature= in Python, --signature in the command)")
    return name


def _refuse_other_resources(path, function, tensor_dtypes):
    """Tables and the like cannot be made constants."""
    resources = [tensor.name for tensor in function.inputs if tensor.dtype in tensor_dtypes]
    if resources:
        raise InvalidArgumentError(
            f"the SavedModel '{path}' holds {len(resources)} resource(s) that are not variables, as lookup tables of string "
            "preprocessing are, and those cannot be frozen into a graph; export the model without these layers, or freeze "
            "it yourself with the tables' nodes in the graph")


def freeze_saved_model(path, signature=None):
    """Freezes a signature of the SavedModel at `path` ('serving_default', or its only one, when None); needs TensorFlow."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    loaded = tf.saved_model.load(path)
    signature = _choose_signature(path, sorted(loaded.signatures), signature)
    function = loaded.signatures[signature]
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    _refuse_other_resources(path, frozen, (tf.resource, tf.variant))
    by_name = {tensor.op.name: tensor.name for tensor in frozen.inputs}
    # TensorFlow names a signature's placeholders by their keys, behind a prefix where it had to make them unique.
    inputs = {}
    for key in function.structured_input_signature[1]:
        inputs[key] = next((by_name[n] for n in (key, f"{signature}_{key}") if n in by_name), None)
    if None in inputs.values():
        inputs = dict(zip(sorted(function.structured_input_signature[1]), (t.name for t in frozen.inputs)))
    outputs = {key: tensor.name for key, tensor in zip(sorted(function.structured_outputs), frozen.outputs)}
    return FrozenModel(frozen.graph.as_graph_def().SerializeToString(), inputs, outputs, signature)


def write_saved_model(graph_def_bytes, frozen, path):
    """Writes an optimized graph as a SavedModel directory with the signature of `frozen`. The directory must not exist."""
    import tensorflow.compat.v1 as tf

    import blade.runtime.tensorflow  # noqa: F401

    if os.path.exists(path):
        raise InvalidArgumentError(f"'{path}' exists already; remove it, or move it out of the way")
    graph_def = tf.GraphDef()
    graph_def.ParseFromString(graph_def_bytes)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        signature = tf.saved_model.signature_def_utils.predict_signature_def(
            {key: graph.get_tensor_by_name(name) for key, name in frozen.inputs.items()},
            {key: graph.get_tensor_by_name(name) for key, name in frozen.outputs.items()},
        )
        builder = tf.saved_model.Builder(path)
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map={frozen.signature: signature})
        builder.save()
