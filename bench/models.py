"""Finds or generates the models that the benchmarks run, and their feeds at a wanted batch size."""
import dataclasses
import os
import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "models"
CLASSICS = ("efficientnet_b0", "inception_v3", "unet", "mobilenet_v3", "huggingface_encoder", "keras_transformer", "keras_lstm",
            "ssd_combined")
GENERATED = {  # name: generator under examples/, options, folder it writes, graph in the folder
    "resnet50": ("resnet50", [], "tf_resnet50_v1.5", "frozen.pb"),
    "mobilenet_v2": ("mobilenet_v2", [], "mobilenet_v2", "mobilenet_v2.pb"),
    "bert_tiny": ("bert", [], "bert_tiny", "bert_tiny.pb"),
    "bert_base": ("bert", ["--base"], "bert_base", "bert_base.pb"),
    **{name: ("classics", [name], name, name + ".pb") for name in CLASSICS},
}


@dataclasses.dataclass
class Model:
    """A frozen graph on disk with one feed; outputs are tensor names ('softmax_tensor:0')."""

    name: str
    path: str
    feeds: dict
    outputs: list
    tolerance: float | None = None  # what Blade may differ by, relative to the largest answer; None: its own


def default_models_dir():
    """The folder of NAME.pb and NAME.npz: BLADE_MODELS_DIR, else ../shared/models beside the tree."""
    return pathlib.Path(os.environ.get("BLADE_MODELS_DIR", ROOT.parent / "shared" / "models"))


def available(models_dir):
    """Names of all models that load() can give."""
    found = sorted(p.stem for p in pathlib.Path(models_dir).glob("*.pb")) if models_dir else []
    return list(GENERATED) + found


def _generate(name):
    generator, options, folder, graph = GENERATED[name]
    script = ROOT / "examples" / generator / "make_model.py"
    subprocess.run([sys.executable, str(script), *options, "--out", str(CACHE)], check=True)
    return CACHE / folder, CACHE / folder / graph


def _first_case(path):
    """The fed arrays and the output names of case 0 of an .npz of stored cases."""
    with np.load(path) as cases:
        feeds = {key.split(":", 1)[1]: cases[key] for key in cases.files if key.startswith("in0:")}
        outputs = [k.split(":", 1)[1] for k in cases.files if k.startswith(("out0:", "outsample0:"))]
    return feeds, outputs


def load(name, models_dir):
    """The model of that name with its smallest stored feed; generates the ones of examples/ when they are not there."""
    if name == "resnet50":
        folder, path = _generate(name)
        feeds = np.load(folder / "test_bc8.npy", allow_pickle=True, encoding="bytes").item()
        return Model(name, str(path), feeds, ["softmax_tensor:0"])
    if name in GENERATED:
        folder, path = _generate(name)
        feeds, outputs = _first_case(path.with_suffix(".npz"))
    else:
        path = pathlib.Path(models_dir) / f"{name}.pb"
        if not path.exists():
            raise FileNotFoundError(f"there is no model '{name}': known are {', '.join(available(models_dir))}.")
        feeds, outputs = _first_case(path.with_suffix(".npz"))
    return Model(name, str(path), feeds, outputs)


def at_batch(model, batch):
    """The feeds repeated or cut to `batch` samples; the stored ones unchanged where batch is 0."""
    if batch == 0:
        return model.feeds
    return {k: np.ascontiguousarray(np.resize(v, (batch, *v.shape[1:]))) if v.ndim else v
            for k, v in model.feeds.items()}


def has_dynamic_batch(model):
    """Whether every input placeholder leaves its first dimension open."""
    from tensorflow.core.framework import graph_pb2

    graph = graph_pb2.GraphDef()
    with open(model.path, "rb") as f:
        graph.ParseFromString(f.read())
    names = {key.split(":")[0] for key in model.feeds}
    for node in graph.node:
        if node.name in names and not node.attr["shape"].shape.unknown_rank:
            dims = node.attr["shape"].shape.dim
            if dims and dims[0].size >= 0:
                return False
    return True
