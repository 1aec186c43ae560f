"""What Blade asks of an installed TensorFlow: where it is, and freezing a SavedModel's variables and lookup tables."""
import importlib.util
import itertools
import os

from blade.errors import InvalidArgumentError


def tensorflow_dir():
    """The directory of libtensorflow_cc.so.2, or '' where TensorFlow is not installed. Imports nothing."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        return ""
    directory = next(iter(spec.submodule_search_locations))
    return directory if os.path.exists(os.path.join(directory, "libtensorflow_cc.so.2")) else ""


def must_be_frozen(saved_model_dir):
    """Whether a SavedModel directory holds variables or asset files that are not in its graph."""
    assets = os.path.join(saved_model_dir, "assets")
    return os.path.exists(os.path.join(saved_model_dir, "variables", "variables.index")) or (
        os.path.isdir(assets) and len(os.listdir(assets)) > 0)


def _tags_to_load(path):
    """Of several meta graphs those for serving, else those without tags, as modules of TensorFlow Hub have them; None for the
    only one."""
    from tensorflow.python.saved_model import loader_impl

    tags = [list(meta_graph.meta_info_def.tags) for meta_graph in loader_impl.parse_saved_model(path).meta_graphs]
    if len(tags) == 1:
        return None
    serving = min((one for one in tags if "serve" in one), key=len, default=None)
    if serving is None and [] not in tags:
        raise InvalidArgumentError(
            f"the SavedModel '{path}' has meta graphs with the tags {tags}, none of them for serving; export it with the tag 'serve'")
    return serving or []


def _load(path, custom_ops):
    """The SavedModel as TensorFlow loads it, with the op libraries that it needs."""
    import tensorflow as tf

    try:
        for library in custom_ops:
            tf.load_op_library(os.path.abspath(library) if os.path.exists(library) else library)
    except (RuntimeError, tf.errors.OpError) as error:
        raise InvalidArgumentError(f"TensorFlow cannot load the op library '{library}': {error}") from error
    try:
        return tf.saved_model.load(path, _tags_to_load(path))
    except (OSError, ValueError, LookupError, RuntimeError, tf.errors.OpError) as error:
        advice = "; give the library that defines the op in custom_ops" if "Op type not registered" in str(error) else ""
        raise InvalidArgumentError(f"TensorFlow cannot load the SavedModel '{path}': {error}{advice}") from error


def _choose_signature(path, loaded, wanted):
    """The signature to use: `wanted`, else 'serving_default', else the only one."""
    names = sorted(loaded.signatures)
    if not names:
        call = getattr(loaded, "__call__", None)
        advice = (", by tf.saved_model.save(model, directory, signatures=model.__call__.get_concrete_function("
                  "tf.TensorSpec(shape, dtype))): it is a module to call") if call is not None else ", as 'serving_default'"
        raise InvalidArgumentError(f"the SavedModel '{path}' has no signature; export it with one{advice}")
    name = wanted or ("serving_default" if "serving_default" in names or len(names) > 1 else names[0])
    if name not in names:
        listed = ", ".join(f"'{n}'" for n in names)
        raise InvalidArgumentError(
            f"the SavedModel '{path}' has no signature '{name}'; choose one of its signatures: {listed} "
            "(signature= in Python, --signature in the command)")
    return name


class _Tables:
    """Puts the lookup tables of a frozen function into its graph, with their contents as constants.

    The tables of TensorFlow 2 are resources from outside the graph; those of TensorFlow 1 stand in it, but what filled
    them does not. Either way the loaded model's own table is read, whatever filled it: constants, a file, a checkpoint.
    """

    HANDLES = ("HashTableV2", "MutableHashTableV2")
    OTHERS = ("HashTable", "MutableHashTable", "MutableHashTableOfTensors", "MutableHashTableOfTensorsV2",
              "MutableDenseHashTable", "MutableDenseHashTableV2")  # whose contents have no form that fills them again

    def __init__(self, path, graph_def, captures):
        self._path, self._graph_def, self._captures = path, graph_def, captures
        self.initializers = []

    def freeze(self, resources):
        """resources: names of the placeholders that stand for what is no variable."""
        for node in list(self._graph_def.node):
            if node.name in resources:
                self._take_in(node)
            elif node.op in self.HANDLES:
                self._fill(node, self._handle_of(node), node.attr["key_dtype"].type, node.attr["value_dtype"].type)
            elif node.op in self.OTHERS:
                raise InvalidArgumentError(
                    f"the SavedModel '{self._path}' holds the table '{node.name}' ({node.op}), whose contents cannot be frozen; "
                    "export the model with a StaticHashTable in its place")

    def _lookups(self, name, nodes):
        """The look-ups among `nodes` in the resource that `name` gives, also behind Identity nodes and inside the functions
        that loops, branches and calls are made of."""
        for node in nodes:
            for i, text in enumerate(node.input):
                if text.split(":")[0] != name:
                    continue
                if node.op == "Identity":
                    yield from self._lookups(node.name, nodes)
                elif node.op == "LookupTableFindV2":
                    yield node
                else:
                    yield from self._lookups_of_functions(node, i)

    def _lookups_of_functions(self, node, index):
        """The same for input `index` of a node that calls functions."""
        if node.op in ("If", "StatelessIf", "Case", "StatelessCase"):
            index -= 1  # the condition is no argument
        called = {attr.func.name for attr in node.attr.values() if attr.HasField("func")}
        called.update(f.name for attr in node.attr.values() for f in attr.list.func)
        for function in self._graph_def.library.function:
            if function.signature.name in called:
                yield from self._lookups(function.signature.input_arg[index].name, function.node_def)

    def _take_in(self, placeholder):
        lookup = next(self._lookups(placeholder.name, self._graph_def.node), None)
        if lookup is None:
            raise InvalidArgumentError(
                f"the SavedModel '{self._path}' holds the resource '{placeholder.name}', which is no variable and which no "
                "lookup reads, so that it cannot be frozen into a graph; export the model without it")
        types = lookup.attr["Tin"].type, lookup.attr["Tout"].type
        placeholder.op = "HashTableV2"
        placeholder.attr.clear()
        placeholder.attr["key_dtype"].type, placeholder.attr["value_dtype"].type = types
        self._fill(placeholder, self._captures[placeholder.name], *types)

    @staticmethod
    def _handle_of(node):
        """The loaded model's table: TensorFlow finds it by the name that its users share."""
        import tensorflow as tf

        shared_name = node.attr["shared_name"].s.decode() or node.name
        make = getattr(tf.raw_ops, node.op)
        return make(key_dtype=node.attr["key_dtype"].type, value_dtype=node.attr["value_dtype"].type,
                    container=node.attr["container"].s.decode(), shared_name=shared_name)

    @staticmethod
    def _of_buckets(handle, keys, values):
        """The entries of a DenseHashTable, which exports all its buckets: keys of free ones, which nobody may look up, repeat."""
        import tensorflow as tf

        keys = tf.reshape(keys, [-1])
        _, index, counts = tf.unique_with_counts(keys)
        used = tf.gather(counts, index) == 1
        keys, values = tf.boolean_mask(keys, used), tf.boolean_mask(values, used)
        try:
            tf.raw_ops.LookupTableFindV2(table_handle=handle, keys=keys[:0], default_value=tf.zeros([], values.dtype))
        except tf.errors.InvalidArgumentError:  # values are vectors, perhaps of one element
            return keys, values
        return keys, tf.reshape(values, [-1])

    def _fill(self, table, handle, key_type, value_type):
        import tensorflow as tf

        keys, values = tf.raw_ops.LookupTableExportV2(table_handle=handle, Tkeys=key_type, Tvalues=value_type)
        if keys.shape.rank == 2 and keys.shape[1] == 1:
            keys, values = self._of_buckets(handle, keys, values)
        if keys.shape.rank != 1:
            raise InvalidArgumentError(
                f"the SavedModel '{self._path}' holds the lookup table '{table.name}', which has vectors for keys and cannot be "
                "frozen into a graph; export the model with a StaticHashTable in its place")
        if values.shape.rank > 1:
            table.op = "MutableHashTableOfTensorsV2"
            table.attr["value_shape"].shape.CopyFrom(values.shape[1:].as_proto())
        elif not keys.shape[0]:
            table.op = "MutableHashTableV2"  # the other kind refuses look-ups before something fills it
        # Several functions of a SavedModel find one table by this name.
        table.attr["shared_name"].s = table.attr["shared_name"].s or table.name.encode()
        if not keys.shape[0]:
            return
        fill = self._graph_def.node.add(op="LookupTableImportV2", name=table.name + "/fill")
        fill.attr["Tin"].type, fill.attr["Tout"].type = key_type, value_type
        fill.input.append(table.name)
        for what, tensor in (("keys", keys), ("values", values)):
            constant = self._graph_def.node.add(op="Const", name=f"{table.name}/{what}")
            constant.attr["dtype"].type = tensor.dtype.as_datatype_enum
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(tensor))
            fill.input.append(constant.name)
        self.initializers.append(fill.name)


def _refuse_assignments(path, graph_def):
    """Variables that the model itself changes are no constants."""
    bodies = [graph_def.node] + [function.node_def for function in graph_def.library.function]
    for nodes in bodies:
        for node in nodes:
            if not node.op.startswith(("Assign", "ResourceScatter")):
                continue
            advice = "without that, with the state as an input and an output, say"
            if any(other.op.startswith("StatelessRandom") for other in nodes):  # Keras keeps the state of a generator so
                advice += ("; if it has layers that augment data while training (RandomFlip, say), without them: Keras exports them as "
                           "they train, so that its answers are random")
            raise InvalidArgumentError(
                f"the SavedModel '{path}' changes a variable while it runs, at '{node.name}' ({node.op}), so that it cannot be frozen "
                f"into a graph; export it {advice}")


class _BatchFunctions:
    """BatchFunction nodes whose variables TensorFlow has made constants without telling the functions that read them."""

    def __init__(self, graph_def):
        self._nodes = {node.name: node for node in graph_def.node}
        self._functions = {function.signature.name: function for function in graph_def.library.function}

    def fix(self):
        import tensorflow as tf

        for node in self._nodes.values():
            if node.op != "BatchFunction":
                continue
            first, captured = len(node.attr["Tin"].list.type), node.attr["Tcaptured"].list.type
            for i, kind in enumerate(captured):
                given = self._constant_behind(node.input[first + i]) if kind == tf.resource.as_datatype_enum else None
                if given is not None:
                    captured[i] = given.attr["dtype"].type
                    self._read_constant(self._functions[node.attr["f"].func.name], first + i, captured[i])

    def _constant_behind(self, tensor):
        node = self._nodes[tensor.split(":")[0]]
        while node.op == "Identity":
            node = self._nodes[node.input[0].split(":")[0]]
        return node if node.op == "Const" else None

    def _read_constant(self, function, index, kind):
        """Argument `index` is the value and no longer the variable that holds it."""
        import tensorflow as tf

        argument = function.signature.input_arg[index]
        if argument.type == kind:  # another call of the function came first
            return
        argument.type = kind
        function.arg_attr.pop(index, None)
        renamed, held = {}, [argument.name]  # held: the argument under its names, also behind Identity nodes
        for held_name in held:
            for node, i in [(n, i) for n in function.node_def for i, name in enumerate(n.input) if name == held_name]:
                if node.op == "ReadVariableOp":
                    node.op = "Identity"
                    node.attr.clear()
                    node.attr["T"].type = kind
                    renamed[f"{node.name}:value:0"] = f"{node.name}:output:0"
                elif node.op == "Identity":
                    node.attr["T"].type = kind
                    held.append(f"{node.name}:output:0")
                elif node.op in ("PartitionedCall", "StatefulPartitionedCall"):
                    node.attr["Tin"].list.type[i] = kind
                    self._read_constant(self._functions[node.attr["f"].func.name], i, kind)
                else:
                    raise ValueError(f"'{node.name}' ({node.op}) reads a variable of type {tf.as_dtype(kind).name}")
        for node in function.node_def:
            node.input[:] = [renamed.get(name, name) for name in node.input]
        for key, name in function.ret.items():
            function.ret[key] = renamed.get(name, name)


class _Gathers:
    """ResourceGather nodes in functions, which TensorFlow leaves as they are where it has made constants of their variables."""

    def __init__(self, graph_def):
        self._functions = graph_def.library.function

    def fix(self):
        for function in self._functions:
            types = {argument.name: argument.type for argument in function.signature.input_arg}
            nodes = {node.name: node for node in function.node_def}
            for node in list(function.node_def):
                if node.op in ("ResourceGather", "ResourceGatherNd") and self._is_value(node.input[0], types, nodes):
                    self._gather_from_value(function, node)

    @staticmethod
    def _is_value(tensor, types, nodes):
        import tensorflow as tf

        while tensor.split(":")[0] in nodes and nodes[tensor.split(":")[0]].op == "Identity":
            tensor = nodes[tensor.split(":")[0]].input[0]
        name = tensor.split(":")[0]
        if name in types:
            return types[name] != tf.resource.as_datatype_enum
        return name in nodes and nodes[name].op == "Const"

    @staticmethod
    def _gather_from_value(function, node):
        import tensorflow as tf

        kind, indices, batch_dims = node.attr["dtype"].type, node.attr["Tindices"].type, node.attr["batch_dims"].i
        along = node.op == "ResourceGather"
        for name in ("dtype", "batch_dims", "validate_indices"):
            if name in node.attr:
                del node.attr[name]
        node.attr["Tparams"].type = kind
        if not along:
            node.op = "GatherNd"
            return
        node.op = "GatherV2"
        node.attr["batch_dims"].i = batch_dims
        node.attr["Taxis"].type = indices
        taken = {other.name for other in function.node_def}
        name = next(n for n in (f"{node.name}/axis{i or ''}" for i in itertools.count()) if n not in taken)
        constant = function.node_def.add(name=name, op="Const")
        constant.attr["dtype"].type = indices
        # ResourceGather takes slices along the first axis behind the batch.
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(batch_dims, tf.as_dtype(indices)))
        data = [i for i, name in enumerate(node.input) if not name.startswith("^")]
        node.input.insert(len(data), f"{constant.name}:output:0")


def _without_variables(function):
    """The function with constants for its variables, also for those that a BatchFunction captures."""
    from tensorflow.python.framework import convert_to_constants

    try:
        return convert_to_constants.convert_variables_to_constants_v2(function, lower_control_flow=False)
    except ValueError:
        called = function.graph.as_graph_def()
        nodes = [*called.node, *(n for f in called.library.function for n in f.node_def)]
        if not any(node.op == "BatchFunction" for node in nodes):
            raise
    data = convert_to_constants._FunctionConverterDataInEager(func=function, lower_control_flow=False, aggressive_inlining=False)
    graph_def, indices = convert_to_constants._replace_variables_by_constants(converter_data=data)
    _BatchFunctions(graph_def).fix()
    return convert_to_constants._construct_concrete_function(function, graph_def, indices)


def freeze_saved_model(path, folder, signature=None, custom_ops=()):
    """Freezes a signature of the SavedModel at `path` ('serving_default', or its only one, when None) into a SavedModel at
    `folder`, which must not exist. custom_ops: paths of op libraries. Needs TensorFlow."""
    from tensorflow.python.eager import context

    with context.eager_mode():  # also for programs in the manner of TensorFlow 1, which turn it off
        _freeze(path, folder, signature, custom_ops)


def _freeze(path, folder, signature, custom_ops):
    import tensorflow as tf

    loaded = _load(path, custom_ops)
    signature = _choose_signature(path, loaded, signature)
    function = loaded.signatures[signature]
    _refuse_assignments(path, function.graph.as_graph_def())
    # Those of TensorFlow 1 fill tables; the function's own graph does not have them, and converting would look for them.
    function.graph.clear_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS)
    try:
        frozen = _without_variables(function)
    except (ValueError, AttributeError, TypeError) as error:  # an op that takes variables in a way that TensorFlow cannot take away
        raise InvalidArgumentError(f"TensorFlow cannot make constants of the variables of the SavedModel '{path}': {error}") from error
    graph_def = frozen.graph.as_graph_def()
    _Gathers(graph_def).fix()
    tables = _Tables(path, graph_def, {inside.op.name: outside for outside, inside in function.graph.captures})
    tables.freeze({tensor.op.name for tensor in frozen.inputs if tensor.dtype in (tf.resource, tf.variant)})
    by_name = {tensor.op.name: tensor.name for tensor in frozen.inputs}
    # TensorFlow names a signature's placeholders by their keys, behind a prefix where it had to make them unique.
    inputs = {}
    for key in function.structured_input_signature[1]:
        inputs[key] = next((by_name[n] for n in (key, f"{signature}_{key}") if n in by_name), None)
    if None in inputs.values():
        inputs = dict(zip(sorted(function.structured_input_signature[1]), (t.name for t in frozen.inputs)))
    outputs = {key: tensor.name for key, tensor in zip(sorted(function.structured_outputs), frozen.outputs)}
    _write(graph_def, inputs, outputs, signature, tables.initializers, folder)


def _write(graph_def, inputs, outputs, signature, initializers, folder):
    """Writes a frozen graph as a SavedModel with one signature, which fills its lookup tables when it is loaded."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        made = tf.saved_model.signature_def_utils.predict_signature_def(
            {key: graph.get_tensor_by_name(name) for key, name in inputs.items()},
            {key: graph.get_tensor_by_name(name) for key, name in outputs.items()},
        )
        fill = [graph.get_operation_by_name(name) for name in initializers]
        builder = tf.saved_model.Builder(folder)
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map={signature: made},
                                             main_op=tf.group(*fill, name="blade/fill_tables") if fill else None)
        builder.save()
