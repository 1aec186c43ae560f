"""Optimizing small graphs quickly, as several tests do."""

import tensorflow.compat.v1 as tf

import blade


def fast_config():
    config = blade.Config()
    config.tuning.time_limit_s = 2
    config.cpu_config.precision = "fp32"
    return config


def optimize(graph_def, config=None, **arguments):
    return blade.optimize(graph_def, "o1", "cpu", config=config or fast_config(), **arguments)


def run_optimized(graph_def, spec, feed, fetch):
    with tf.Graph().as_default(), tf.Session() as session, spec:
        tf.import_graph_def(graph_def, name="")
        return session.run(fetch, feed)


def engine_ops(graph_def):
    return [node.op for function in graph_def.library.function for node in function.node_def if node.op == "BladeEngine"]


def unmeasured_config():
    config = fast_config()
    config.tuning.disable_perf_check = True
    return config
