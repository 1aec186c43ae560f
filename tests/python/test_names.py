"""What a name for an input or output means is the same at every door, and so is the sentence where it means nothing."""
import ctypes
import itertools
import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from command import blade_command
from optimizing import fast_config

import blade

QUICK = ["--config", '{"tuning": {"time_limit_s": 1}}']
TWO = "'a' is an input's name and the signature's key of another input, 'b'; give 'a:0' for the first or 'b:0' for the other"
NONE = "'zz' is no input of the model; its inputs are 'b', 'a'; leave it out or give one of those"
# Of the signature {"a": b, "c": a}: the input that each name means, or the error's sentence.
INPUTS = {"a": TWO, "a:0": "a", "b": "b", "b:0": "b", "c": "a", "c:0": "a", "zz": NONE}
# Of the signature {"p": q, "q": r}: the node that each name means.
OUTPUTS = {"p": "q", "p:0": "q", "q": "r", "q:0": "q", "r": "r", "hidden": "hidden"}
ADDED = {"hidden": 0, "q": 1, "r": 2}
SHAPES = {"a": [2, 3], "b": [2]}  # which of the inputs is meant shows in what shape is taken


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names") / "m"
    with tf.Graph().as_default(), tf.Session() as session:
        a, b = (tf.placeholder(tf.float32, [None, *SHAPES[name][1:]], name=name) for name in "ab")
        hidden = tf.add(tf.reduce_sum(a, 1), b, name="hidden")
        q, r = (tf.add(hidden, ADDED[name], name=name) for name in "qr")
        tf.saved_model.simple_save(session, str(folder), {"a": b, "c": a}, {"p": q, "q": r})
    return folder


def command(*arguments):
    """The standard output, or for an error the sentence."""
    done = subprocess.run([blade_command(), *map(str, arguments)], capture_output=True, text=True, timeout=300)
    if done.returncode == 0:
        return json.loads(done.stdout)
    assert done.returncode == 2, done.stderr
    return done.stderr


def answer(call, *arguments, **options):
    try:
        return call(*arguments, **options)
    except blade.BladeError as error:
        return str(error)


def optimize(folder, **options):
    target, _, report = blade.optimize(str(folder), "o1", "cpu", options.pop("config", None) or fast_config(), **options)
    shutil.rmtree(target)
    return report


def with_shapes(shapes):
    config = fast_config()
    config.dynamic_tuning_shapes = {"min": shapes, "opts": [shapes], "max": shapes}
    return config


def c_engine(folder):
    library = ctypes.CDLL(str(pathlib.Path(blade.__file__).parent / "libblade.so"))
    library.blade_last_error.restype = ctypes.c_char_p
    engine = ctypes.c_void_p()
    assert library.blade_engine_load(str(folder).encode(), None, ctypes.byref(engine)) == 0, library.blade_last_error()
    return library, engine


def c_inputs(folder, names):
    library, engine = c_engine(folder)
    indices = (ctypes.c_int32 * len(names))()
    status = library.blade_engine_find_inputs(engine, (ctypes.c_char_p * len(names))(*map(str.encode, names)), len(names), indices)
    sentence = library.blade_last_error().decode()
    library.blade_engine_free(engine)
    return sentence if status else list(indices)


def doors(folder, tmp_path, shapes):
    """What each door answers to inputs of these names and shapes: a sentence where it refuses them."""
    feed = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "feed.npz", **feed)
    for i, array in enumerate(feed.values()):
        np.save(tmp_path / f"{i}.npy", array)
    data = ["--data", tmp_path / "feed.npz"]
    files = [option for i, name in enumerate(feed) for option in ("--input", f"{name}={tmp_path / f'{i}.npy'}")]
    shaped = [option for name, shape in shapes.items() for option in ("--shape", f"{name}={'x'.join(map(str, shape))}")]
    texts = {name: "*".join(map(str, shape)) for name, shape in shapes.items()}
    engine = blade.Engine(folder)
    yield "run", answer(engine.run, feed)
    yield "run lists", answer(engine.run, {name: array.tolist() for name, array in feed.items()})
    yield "explain", answer(engine.explain, feed)
    for options in (data, files, shaped):
        yield "blade run", command("run", folder, "--json", *options)
    yield "blade inspect", command("inspect", "--plan", folder, *shaped)
    yield "blade bench", command("bench", folder, "--json", "--runs", 1, *files)
    yield "blade profile", command("profile", folder, "--json", *data)
    yield "blade compare", command("compare", folder, folder, "--json", *files)
    yield "blade optimize", command("optimize", folder, "-o", tmp_path / "out", *QUICK, *shaped)
    yield "test_data", answer(optimize, folder, test_data=[feed])
    yield "test_data lists", answer(optimize, folder, test_data=[{name: array.tolist() for name, array in feed.items()}])
    yield "input_shapes", answer(optimize, folder, input_shapes=[texts])
    yield "dynamic_tuning_shapes", answer(optimize, folder, config=with_shapes(shapes))
    yield "C", c_inputs(folder, list(shapes))


@pytest.mark.parametrize("name", INPUTS)
def test_an_input(folder, tmp_path, name):
    meant = INPUTS[name]
    known = meant in SHAPES
    other = "b:0" if meant == "a" else "a:0"
    shapes = {name: SHAPES[meant] if known else SHAPES["b"], other: SHAPES[other[0]]}
    if not known:
        shapes["b"] = SHAPES["b"]
    for door, got in doors(folder, tmp_path, shapes):
        assert meant in got if not known else not isinstance(got, str), (door, got)


@pytest.mark.parametrize("one,other", [pair for pair in itertools.combinations(("a:0", "c", "c:0"), 2)])
def test_an_input_by_two_names(folder, tmp_path, one, other):
    for door, got in doors(folder, tmp_path, {one: SHAPES["a"], other: SHAPES["a"], "b": SHAPES["b"]}):
        assert "the input 'a' is given twice, as '" in got and f"'{one}'" in got and f"'{other}'" in got, (door, got)


def test_inputs_to_optimize_for(folder, tmp_path):
    for name, meant in INPUTS.items():
        got = answer(optimize, folder, inputs=[name, "b:0" if meant == "a" else "a:0"])
        if meant in SHAPES:
            assert sorted(got.interface["inputs"]) == ["a", "b"], (name, got)
        else:
            assert meant in got if meant == TWO else "no node 'zz', given as input" in got
    assert TWO in command("optimize", folder, "-o", tmp_path / "out", *QUICK, "--inputs", "a,a:0")


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output(folder, tmp_path, name):
    node = OUTPUTS[name]
    feed = {"a:0": np.ones((2, 3), np.float32), "b": np.ones(2, np.float32)}
    np.savez(tmp_path / "feed.npz", **feed)
    data = ["--data", tmp_path / "feed.npz"]
    engine = blade.Engine(folder, outputs=[name])
    assert [info.name for info in engine.outputs] == [node] or name == node
    np.testing.assert_array_equal(engine.run(feed)[name], np.full(2, 4 + ADDED[node]))
    (row,) = command("run", folder, "--json", "--outputs", name, *data)
    assert (row["name"], row["max"]) == (name, 4 + ADDED[node])
    (output,) = command("inspect", folder, "--json", "--outputs", name)["outputs"]
    assert output["name"] == node
    for verb in (["bench", folder, "--runs", 1], ["profile", folder], ["compare", folder, folder]):
        assert not isinstance(command(*verb, "--json", "--outputs", name, *data), str), verb
    assert command("optimize", folder, "-o", tmp_path / "out", *QUICK, "--outputs", name)["interface"]["outputs"] == [f"{node}:0"]
    assert optimize(folder, outputs=[name]).interface["outputs"] == [f"{node}:0"]
    results = blade.Engine(folder).run(feed)
    library, c = c_engine(folder)
    index = library.blade_engine_find_output(c, name.encode())
    library.blade_engine_free(c)
    if node == "hidden":
        assert name not in results and index == -1
    else:
        np.testing.assert_array_equal(results[name], np.full(2, 4 + ADDED[node]))
        assert index == ["q", "r"].index(node)


def test_names_that_no_graph_has(folder):
    feed = {"a:0": np.ones((2, 3), np.float32), "b:0": np.ones(2, np.float32)}
    for name in ("", ":0", "zz\0", "\udc80", "größe", b"\xff", "^a", "a:-1", "b:1"):
        with pytest.raises(blade.BladeError, match="is no input of the model; its inputs are 'b', 'a'"):
            blade.Engine(folder).run({**feed, name: feed["b:0"]})
        with pytest.raises(blade.BladeError, match="is no input of the model; its inputs are 'b', 'a'"):
            optimize(folder, test_data=[{**feed, name: feed["b:0"]}])
