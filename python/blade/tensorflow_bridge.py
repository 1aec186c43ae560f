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
    """A SavedModel with its variables made constants: GraphDef bytes, and the signature as {key: tensor name}."""

    def __init__(self, graph_def, inputs, outputs):
        self.graph_def = graph_def
        self.inputs = inputs
        self.outputs = outputs


def freeze_saved_model(path):
    """Freezes the 'serving_default' signature (or the first one) of the SavedModel at `path`; needs TensorFlow."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    loaded = tf.saved_model.load(path)
    signatures = loaded.signatures
    if not signatures:
        raise InvalidArgumentError(f"the SavedModel '{path}' has no signature; export it with one, as 'serving_default'")
    function = signatures["serving_default" if "serving_default" in signatures else next(iter(signatures))]
    frozen = convert_variables_to_constants_v2(function)
    input_keys = list(function.structured_input_signature[1])
    tensors = [tensor for tensor in frozen.inputs if tensor.dtype != tf.resource]
    inputs = {key: tensor.name for key, tensor in zip(sorted(input_keys), tensors)}
    by_name = {tensor.op.name: tensor for tensor in tensors}
    inputs.update({key: by_name[key].name for key in input_keys if key in by_name})
    outputs = {key: tensor.name for key, tensor in zip(sorted(function.structured_outputs), frozen.outputs)}
    return FrozenModel(frozen.graph.as_graph_def().SerializeToString(), inputs, outputs)


def write_saved_model(graph_def_bytes, frozen, path):
    """Writes an optimized graph as a SavedModel directory with the signature of `frozen`. The directory must not exist."""
    import tensorflow.compat.v1 as tf

    import blade.runtime.tensorflow  # noqa: F401

    graph_def = tf.GraphDef()
    graph_def.ParseFromString(graph_def_bytes)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        signature = tf.saved_model.signature_def_utils.predict_signature_def(
            {key: graph.get_tensor_by_name(name) for key, name in frozen.inputs.items()},
            {key: graph.get_tensor_by_name(name) for key, name in frozen.outputs.items()},
        )
        builder = tf.saved_model.Builder(path)
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map={"serving_default": signature})
        builder.save()
