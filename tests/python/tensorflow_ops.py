"""Adds one op to TensorFlow's default graph by its name, with the attributes that the op declares as defaults."""
from tensorflow.python.framework import op_def_library, op_def_registry


def defaults(name):
    """Default attributes that no operand decides."""
    definition = op_def_registry.get(name)
    decided = {text for arg in definition.input_arg for text in (arg.type_attr, arg.number_attr, arg.type_list_attr)}
    values = {}
    for attr in definition.attr:
        if attr.name in decided or not attr.HasField("default_value"):
            continue
        value, kind = attr.default_value, attr.default_value.WhichOneof("value")
        if kind == "list":
            items = value.list
            values[attr.name] = list(items.i) or list(items.s) or list(items.f) or list(items.type)
        else:
            values[attr.name] = getattr(value, kind)
    return values


def apply_op(name, operands):
    """The op's results; `operands` may hold attributes, too."""
    return op_def_library.apply_op(name, name=name.lstrip("_"), **{**defaults(name), **operands})
