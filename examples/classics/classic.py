"""What a generator of this folder gives: a frozen graph, feeds at several shapes, the outputs to ask."""
import dataclasses
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))


@dataclasses.dataclass
class Classic:
    """cases: feed dicts {'input:0': array}; outputs: tensor names ('probabilities:0').

    twin: where TensorFlow's CPU kernels cannot run graph_def, a graph of the same interface and answers that they can.
    """

    graph_def: object
    cases: list
    outputs: list
    twin: object = None

    def answers(self, case):
        """TensorFlow's answers to cases[case], its graph optimizer off: the graph as written."""
        from graph_kit import run_session

        return run_session(self.twin or self.graph_def, self.cases[case], self.outputs, optimize=False)


def freeze(function, *specs):
    """A GraphDef of a TF2 function with its variables made constants, and its input and output tensor names.

    Control flow stays as While and If nodes, as tf.lite's and most users' freezing code leaves it.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    concrete = tf.function(function).get_concrete_function(*specs)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    return frozen.graph.as_graph_def(), [t.name for t in frozen.inputs], [t.name for t in frozen.outputs]
