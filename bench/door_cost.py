"""What TensorFlow's door costs: the same optimized file in a TensorFlow session and in blade.Engine, in microseconds.

Both run in one process on Blade's one thread pool, in alternating blocks; the difference of the medians is the cost
of feeds, fetches and TensorFlow's executor around the engine op. What a session that only hands its input back takes
(TensorFlow's own cost of being called) is measured beside them and taken off. Exits 1 where the rest is over the limit.
"""
import argparse
import os
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402

import engines  # noqa: E402
import models  # noqa: E402


def measure(model, feeds, arguments):
    """Median seconds of [engine, session, a session that does nothing] over all blocks."""
    import blade
    import blade.runtime.tensorflow  # noqa: F401

    path, spec, folder = engines.blade_optimized(model, feeds, arguments.threads, "fp32")
    optimized = models.Model(model.name, path, feeds, model.outputs)
    engine = blade.Engine(path, outputs=model.outputs, num_threads=arguments.threads)
    with spec:
        session = engines.TensorFlow(optimized, feeds, arguments.threads)
        empty = empty_session(feeds, arguments.threads)
        doors = {"engine": lambda: engine.run(feeds), "session": session.run, "empty": empty}
        times = {name: [] for name in doors}
        for i in range(arguments.rounds):
            for name in list(doors) if i % 2 else list(doors)[::-1]:
                times[name] += engines.time_block(doors[name], 0.2, arguments.runs, 0.5, 0)
        session.close()
    shutil.rmtree(folder, ignore_errors=True)
    return [np.median(times[name]) for name in ("engine", "session", "empty")]


def empty_session(feeds, threads):
    """A call that feeds the same arrays to a graph of Identity nodes and fetches one element of each."""
    import tensorflow.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        inputs = {name: tf.placeholder(value.dtype, value.shape) for name, value in feeds.items()}
        outputs = [tf.identity(tensor)[(slice(0, 1),) * len(tensor.shape)] for tensor in inputs.values()]
    config = tf.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
    session = tf.Session(graph=graph, config=config)
    fed = {inputs[name]: value for name, value in feeds.items()}
    return lambda: session.run(outputs, fed)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="resnet50,age")
    parser.add_argument("--models-dir", default=str(models.default_models_dir()))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--limit-us", type=float, default=100.0)
    arguments = parser.parse_args()
    try:
        import blade  # noqa: F401
    except ImportError as error:
        sys.exit(f"blade is not installed here ({error}); run make package.")
    failed = False
    for name in arguments.models.split(","):
        model = models.load(name, arguments.models_dir)
        engine, session, empty = measure(model, models.at_batch(model, 1), arguments)
        cost = 1e6 * (session - engine - empty)
        failed |= cost > arguments.limit_us
        print(f"{name:<20} engine {1e3 * engine:9.3f} ms   session {1e3 * session:9.3f} ms   "
              f"empty session {1e3 * empty:7.3f} ms   door {cost:8.1f} us (limit {arguments.limit_us:g})", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
