"""The `blade` command: verbs, exit codes, where output goes."""
import json
import shutil
import subprocess
import sysconfig

import numpy as np
import pytest
import tiny_models


def blade_command():
    found = shutil.which("blade", path=sysconfig.get_path("scripts")) or shutil.which("blade")
    assert found, "the blade command is not installed beside this Python"
    return found


def run(*arguments, code=0):
    done = subprocess.run([blade_command(), *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.write(tiny_models.conv_net(), tmp_path_factory.mktemp("cli") / "net.pb")


def test_run_saves_outputs(model, tmp_path):
    np.save(tmp_path / "x.npy", tiny_models.image()["x:0"])
    run("run", model, "--input", f"x={tmp_path / 'x.npy'}", "--save", tmp_path / "out")
    want = tiny_models.run(tiny_models.conv_net(), tiny_models.image(), "probabilities:0")
    np.testing.assert_allclose(np.load(tmp_path / "out" / "probabilities.npy"), want, rtol=1e-4, atol=1e-6)


def test_npz_data(model, tmp_path):
    np.savez(tmp_path / "data.npz", **{"x": tiny_models.image(2)["x:0"]})
    rows = json.loads(run("run", model, "--data", tmp_path / "data.npz", "--json").stdout)
    assert rows[0]["name"] == "probabilities" and rows[0]["shape"] == [2, 10]


def test_optimize_then_compare(model, tmp_path):
    target = tmp_path / "fast.pb"
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"tuning": {"time_limit_s": 1}}))
    done = run("optimize", model, "-o", target, "--input-shapes", "1*32*32*3", "--config", config)
    assert json.loads(done.stdout)["model_info"]["input_format"] == "frozen_pb"
    assert "[Progress]" in done.stderr and "[Progress]" not in done.stdout
    run("compare", model, target, "--shape", "x=1x32x32x3")


def test_compare_fails_with_1(model, tmp_path):
    other = tiny_models.conv_net()
    for node in other.node:
        if node.op == "Const" and node.attr["value"].tensor.tensor_content:
            content = np.frombuffer(node.attr["value"].tensor.tensor_content, np.float32)
            if content.size == 32 * 10:
                node.attr["value"].tensor.tensor_content = (content * 2).tobytes()
    path = tiny_models.write(other, tmp_path / "other.pb")
    assert "FAILS" in run("compare", model, path, "--shape", "x=1x32x32x3", code=1).stdout


def test_bench_profile_inspect_doctor(model):
    report = json.loads(run("bench", model, "--shape", "x=1x32x32x3", "--runs", 3, "--rounds", 2, "--json").stdout)
    assert report["models"][0]["runs"] == 6 and report["models"][0]["p50_ms"] > 0
    steps = json.loads(run("profile", model, "--shape", "x=1x32x32x3", "--runs", 3, "--json").stdout)
    assert {"node", "kernel", "median_us", "floor_us", "roofline", "bound_by"} <= set(steps[0])
    inspected = json.loads(run("inspect", model, "--json").stdout)
    assert inspected["left_behind"] == [] and inspected["inputs"][0]["name"] == "x"
    assert "cpu" in run("doctor").stdout


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["run", "no_such.pb"], "no_such.pb"),
        (["frobnicate"], "frobnicate"),
        (["run"], "model"),
        (["optimize", "no_such.pb", "-o", "x.pb"], "no_such.pb"),
    ],
)
def test_wrong_use_exits_with_2(arguments, words):
    assert words in run(*arguments, code=2).stderr


def test_bad_shape_exits_with_2(model):
    assert "is no shape" in run("run", model, "--shape", "x=1xtwo", code=2).stderr
