"""The static and the dynamic case of optimizing ResNet-50 on the CPU, from the frozen graph to a measured gain.

Optimizes the graph for one shape and for a range of batch sizes, prints both reports, then checks them: answers
and latency of the original and of the optimized graph in TensorFlow sessions, in alternating blocks.
"""
import argparse
import contextlib
import os
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402

import blade  # noqa: E402
import blade.runtime.tensorflow  # noqa: E402,F401
from blade.model.tf_model import TfModel  # noqa: E402

MODEL_FOLDER = "tf_resnet50_v1.5"
OUTPUT = "softmax_tensor"
BATCHES = (1, 2, 4, 8)


def load(folder):
    """The GraphDef and {batch: feed dict} of the model folder; the generator is called where it is missing."""
    if not os.path.exists(os.path.join(folder, MODEL_FOLDER, "frozen.pb")):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "make_model.py")
        subprocess.run([sys.executable, script, "--out", folder], check=True)
    graph_def = tf.GraphDef()
    with open(os.path.join(folder, MODEL_FOLDER, "frozen.pb"), "rb") as f:
        graph_def.ParseFromString(f.read())
    data = {b: np.load(os.path.join(folder, MODEL_FOLDER, f"test_bc{b}.npy"), allow_pickle=True,
                       encoding="bytes").item() for b in BATCHES}
    return graph_def, data


def session_of(graph_def):
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    return tf.Session(graph=graph, config=TfModel.new_session_config())


def block(session, feeds, runs=20):
    """Median milliseconds of `runs` runs after a warm-up."""
    for _ in range(5):
        session.run(OUTPUT + ":0", feeds)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        session.run(OUTPUT + ":0", feeds)
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


def compare(original, optimized, spec, feeds, rounds=3):
    """(ms before, ms after, largest difference of a probability), measured in alternating blocks."""
    with contextlib.ExitStack() as stack:
        before = stack.enter_context(session_of(original))
        stack.enter_context(spec)
        after = stack.enter_context(session_of(optimized))
        want = before.run(OUTPUT + ":0", feeds)
        difference = float(np.abs(want - after.run(OUTPUT + ":0", feeds)).max())
        times = [(block(before, feeds), block(after, feeds)) for _ in range(rounds)]
    before_ms, after_ms = np.median(times, axis=0)
    return float(before_ms), float(after_ms), difference


def run_case(name, folder, graph_def, data, config, batches):
    """Optimizes and checks one case; returns (name, batch, before, after, difference) rows and the report's path."""
    print(f"\n=== {name}: optimizing", flush=True)
    optimized, spec, report = blade.optimize(graph_def, "o1", device_type="cpu", config=config, outputs=[OUTPUT],
                                             test_data=[data[1]])
    print(report)
    model_path = os.path.join(folder, f"optimized_model_{name}.pb")
    with open(model_path, "wb") as f:
        f.write(optimized.SerializeToString())
    report_path = os.path.abspath(os.path.join(folder, f"report_{name}.json"))
    with open(report_path, "w") as f:
        f.write(report.to_json())
    rows = [(name, b, *compare(graph_def, optimized, spec, data[b])) for b in batches]
    return rows, report_path, os.path.abspath(model_path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default=".", help=f"holds {MODEL_FOLDER}/; the results go there too (default: here)")
    folder = parser.parse_args().folder
    os.makedirs(folder, exist_ok=True)
    graph_def, data = load(folder)

    dynamic = blade.Config()
    dynamic.dynamic_tuning_shapes = {
        "min": [1, 224, 224, 3],
        "opts": [[b, 224, 224, 3] for b in BATCHES],
        "max": [8, 224, 224, 3],
    }
    cases = [run_case("static", folder, graph_def, data, blade.Config(), [1]),
             run_case("dynamic", folder, graph_def, data, dynamic, BATCHES)]

    print("\n=== TensorFlow session, median latency before and after")
    print(f"{'case':<10}{'batch':>6}{'before ms':>12}{'after ms':>12}{'speedup':>9}{'largest difference':>20}")
    for rows, _, _ in cases:
        for name, batch, before, after, difference in rows:
            print(f"{name:<10}{batch:>6}{before:>12.2f}{after:>12.2f}{before / after:>9.2f}{difference:>20.1e}")
    for rows, report_path, model_path in cases:
        print(f"{rows[0][0]}: JSON report {report_path}\n{' ' * len(rows[0][0])}  optimized model {model_path}")


if __name__ == "__main__":
    main()
