"""The main job on ResNet-50 v1.5: answers, size and fallback at every batch of a dynamic profile."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tiny_models

import blade
import blade.runtime.tensorflow as runtime


def load_feed(folder, batch):
    return np.load(folder / f"test_bc{batch}.npy", allow_pickle=True, encoding="bytes").item()


@pytest.fixture(scope="module")
def original(resnet50_dir):
    graph_def = tf.GraphDef()
    graph_def.ParseFromString((resnet50_dir / "frozen.pb").read_bytes())
    return graph_def


@pytest.fixture(scope="module")
def optimized(original, resnet50_dir, tmp_path_factory):
    """(path of the optimized file, its report)."""
    config = blade.Config()
    config.cpu_config.precision = "fp32"
    config.tuning.time_limit_s = 10
    shape = [224, 224, 3]
    config.dynamic_tuning_shapes = {"min": [1, *shape], "opts": [[1, *shape], [8, *shape]], "max": [8, *shape]}
    graph_def, _, report = blade.optimize(
        original, "o1", "cpu", config=config, outputs=["softmax_tensor"], test_data=[load_feed(resnet50_dir, 1)]
    )
    return tiny_models.write(graph_def, tmp_path_factory.mktemp("resnet50") / "optimized.pb"), report


def test_engine_takes_the_whole_model(optimized):
    report = optimized[1]
    assert report.coverage["regions"] == 1 and report.coverage["left_behind"] == []
    assert {step["name"]: step["status"] for step in report.optimizations}["FuseEpilogue"] in ("effective", "rolled back")


def test_size(optimized):
    sizes = optimized[1].size
    assert sizes["optimized_bytes"] <= 1.1 * sizes["original_bytes"]


@pytest.mark.parametrize("batch", [1, 2, 4, 8])
def test_probabilities(original, optimized, resnet50_dir, batch):
    feed = load_feed(resnet50_dir, batch)
    want = tiny_models.run(original, feed, "softmax_tensor:0")
    assert np.abs(blade.Engine(optimized[0]).run(feed)["softmax_tensor"] - want).max() < 1e-5
    graph_def = tf.GraphDef()
    with open(optimized[0], "rb") as file:
        graph_def.ParseFromString(file.read())
    before = runtime.counters()
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        got = session.run("softmax_tensor:0", feed)
    assert np.abs(got - want).max() < 1e-5
    if optimized[1].optimizations[0]["status"] == "effective":
        assert runtime.counters()["engine_runs"] == before["engine_runs"] + 1


def test_other_outputs_of_a_plain_graph(original, resnet50_dir):
    feed = load_feed(resnet50_dir, 2)
    engine = blade.Engine(resnet50_dir / "frozen.pb", outputs=["ArgMax", "softmax_tensor"])
    results = engine.run(feed)
    want = tiny_models.run(original, feed, ["ArgMax:0", "softmax_tensor:0"])
    assert np.array_equal(results["ArgMax"], want[0])
    assert np.abs(results["softmax_tensor"] - want[1]).max() < 1e-5
