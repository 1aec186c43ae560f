"""The `blade` command: verbs, exit codes, where output goes."""
import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
import tiny_models
from command import blade_command, run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.write(tiny_models.conv_net(), tmp_path_factory.mktemp("cli") / "net.pb")


def test_run_saves_outputs(model, tmp_path):
    np.save(tmp_path / "x.npy", tiny_models.image()["x:0"])
    run("run", model, "--input", f"x={tmp_path / 'x.npy'}", "--save", tmp_path / "out")
    want = tiny_models.run(tiny_models.conv_net(), tiny_models.image(), "probabilities:0")
    np.testing.assert_allclose(np.load(tmp_path / "out" / "probabilities.npy"), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("arguments,words", [
    (["net.pb", "--input", "x=probabilities.npy", "--save", "."], "'./probabilities.npy' is 'probabilities.npy', which is read"),
    (["net.pb", "--input", "x=out/link.npy", "--save", "out"], "'out/probabilities.npy' is 'out/link.npy', which is read"),
])
def test_run_saves_nothing_over_what_it_reads(model, tmp_path, arguments, words):
    (tmp_path / "out").mkdir()
    shutil.copy(model, tmp_path / "net.pb")
    for name in ("probabilities.npy", "out/probabilities.npy"):
        np.save(tmp_path / name, tiny_models.image()["x:0"])
    (tmp_path / "out" / "link.npy").symlink_to("probabilities.npy")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = subprocess.run([blade_command(), "run", *arguments], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_npz_data(model, tmp_path):
    np.savez(tmp_path / "data.npz", **{"x": tiny_models.image(2)["x:0"]})
    rows = json.loads(run("run", model, "--data", tmp_path / "data.npz", "--json").stdout)
    assert rows[0]["name"] == "probabilities" and rows[0]["shape"] == [2, 10]


def test_optimize_then_compare(model, tmp_path):
    target = tmp_path / "fast.pb"
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"tuning": {"time_limit_s": 1}, "cpu_config": {"precision": "fp32"}}))
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


def adder(tmp_path, name, values, dtype=np.float32, outputs=("y",)):
    """A model of x + values, for each output; the path."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default() as graph:
        x = tf.placeholder(dtype, [1, len(values)], name="x")
        for i, output in enumerate(outputs):
            tf.add(x, tf.constant([values], dtype) + i, name=output)
    return tiny_models.write(graph.as_graph_def(), tmp_path / name)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_compare_scales_by_the_largest_expected_value(tmp_path, dtype):
    """The element that differs is small, the output is not: docs/report.md's rule."""
    first = adder(tmp_path, "a.pb", [100.0, 0.001, 0.0], dtype)
    second = adder(tmp_path, "b.pb", [100.0, 0.00105, 0.0], dtype)
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 3), dtype))
    row = json.loads(run("compare", first, second, "--data", tmp_path / "x.npz", "--json").stdout)[0]
    assert row["holds"] and row["allowed"] == pytest.approx(1e-6 + 1e-3 * 100) and 0 < row["max_difference"] < 1e-4
    strict = run("compare", first, second, "--data", tmp_path / "x.npz", "--rtol", "1e-9", "--atol", "0", code=1).stdout
    assert "FAILS: the difference is too large" in strict


def test_compare_matches_outputs_by_name(tmp_path):
    first = adder(tmp_path, "a.pb", [1.0], outputs=("a", "b"))
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [1, 1], name="x")
        tf.add(x, 2.0, name="b")
        tf.add(x, 1.0, name="a")
    second = tiny_models.write(graph.as_graph_def(), tmp_path / "b.pb")
    done = run("compare", first, second)
    assert "different names" not in done.stderr
    other = adder(tmp_path, "c.pb", [1.0], outputs=("c", "d"))
    assert "different names and are compared in their order: 'a', 'b'" in run("compare", first, other).stderr
    one = adder(tmp_path, "d.pb", [1.0], outputs=("a",))
    assert "has the outputs 'a', 'b', the second 'a'" in run("compare", first, one, code=2).stderr


def test_compare_says_why(tmp_path):
    first, second = adder(tmp_path, "a.pb", [1.0, 2.0]), adder(tmp_path, "b.pb", [1.0, 2.0])
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [1, 2], name="x")
        tf.reduce_sum(x, 1, name="y")
    third = tiny_models.write(graph.as_graph_def(), tmp_path / "c.pb")
    assert "its shape is [1], expected [1,2]" in run("compare", first, third, code=1).stdout
    integers = adder(tmp_path, "i.pb", [1, 2], np.int32), adder(tmp_path, "j.pb", [1, 3], np.int32)
    assert "its elements of type int32 are not equal" in run("compare", *integers, code=1).stdout
    for wrong in ("-1", "nan", "inf", "a"):
        assert "is no number of at least 0" in run("compare", first, second, f"--rtol={wrong}", code=2).stderr


def test_lists_leave_the_model_alone(model, tmp_path):
    """An option that takes a list takes the argument behind it and no more; commas divide, but not inside of ranges."""
    np.savez(tmp_path / "data.npz", x=tiny_models.image()["x:0"])
    fast = ("--config", '{"tuning": {"time_limit_s": 1}, "cpu_config": {"precision": "fp32"}}')
    target = tmp_path / "fast.pb"
    run("optimize", *fast, "--data", tmp_path / "data.npz", model, "-o", target)
    rows = json.loads(run("run", "--outputs", "residual,probabilities", "--data", tmp_path / "data.npz", model, "--json").stdout)
    assert [row["name"] for row in rows] == ["residual", "probabilities"]
    rows = json.loads(run("run", model, "--outputs", "residual", "--outputs", "probabilities", "--json").stdout)
    assert [row["name"] for row in rows] == ["residual", "probabilities"]
    report = run("optimize", *fast, "--input-shapes", "1*8*8*3", "--input-ranges", "[0,255]", model, "-o", target).stdout
    assert "(1, 8, 8, 3)" in json.loads(report)["diagnosis"]["test_data_info"]


def test_fortran_order(model, tmp_path):
    image = tiny_models.image(2)["x:0"]
    answers = []
    for name, order in (("c", "C"), ("f", "F")):
        np.save(tmp_path / f"{name}.npy", np.asarray(image, order=order))
        run("run", model, "--input", f"x={tmp_path / name}.npy", "--save", tmp_path / name)
        answers.append(np.load(tmp_path / name / "probabilities.npy"))
    np.testing.assert_array_equal(*answers)


def test_bench_says_what_bounds_the_time(model):
    text = run("bench", model, "--shape", "x=1x64x64x3", "--runs", 3, "--rounds", 2, "--device", "cpu").stdout
    assert "its time is bound by" in text and "GB/s" in text
    report = json.loads(run("bench", model, "--shape", "x=1x64x64x3", "--runs", 3, "--rounds", 2, "--json").stdout)
    assert sum(report["models"][0]["bound_by"].values()) == pytest.approx(1)


def test_a_saved_model_with_variables_is_frozen(tmp_path):
    import tensorflow as tf

    class Net(tf.Module):
        def __init__(self):
            self.w = tf.Variable(np.eye(64, dtype=np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, 64], name="x")])
        def __call__(self, x):
            return {"y": tf.nn.relu(tf.matmul(x, self.w))}

    net = Net()
    tf.saved_model.save(net, str(tmp_path / "model"), signatures=net.__call__)
    assert "keeps its weights in variables ('w')" in run("run", tmp_path / "model", code=2).stderr.replace("'Variable'", "'w'")
    for _ in range(2):  # the second time its own directory is replaced
        report = json.loads(run("optimize", tmp_path / "model", "-o", tmp_path / "fast").stdout)
        assert report["diagnosis"]["model"] == "model"
    serve = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    x = np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32)
    np.testing.assert_allclose(serve(x=tf.constant(x))["y"], np.maximum(x, 0), rtol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fast", "model"]


def test_verbose_tells_the_steps(model, tmp_path):
    done = run("optimize", model, "--verbose", "-o", tmp_path / "fast.pb", "--config", '{"tuning": {"time_limit_s": 1}}')
    assert "TfFoldConstants: " in done.stderr and "BladeCpuEngine: " in done.stderr


def read_terminal(terminal, told):
    """Adds to `told` what is written there, until the end."""
    with contextlib.suppress(OSError):  # the end of a terminal
        while more := os.read(terminal, 1 << 16):
            told += more


@contextlib.contextmanager
def on_a_terminal(arguments, stdout, **options):
    """(process, what it told so far) of the command with stderr on a terminal, both complete at the end."""
    terminal, stderr = pty.openpty()
    told = bytearray()
    command = [blade_command(), *map(str, arguments)]
    with open(stdout, "wb") as out, subprocess.Popen(command, stdout=out, stderr=stderr, **options) as process:
        os.close(stderr)
        reader = threading.Thread(target=read_terminal, args=(terminal, told))
        reader.start()
        try:
            yield process, told
            process.wait(120)
        finally:
            process.kill()
            reader.join(30)
    os.close(terminal)


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_bar_on_a_terminal(model, tmp_path):
    """And Ctrl-C, told there."""
    arguments = ["optimize", model, "-o", tmp_path / "fast.pb", "--config", '{"tuning": {"time_limit_s": 1}}']
    with on_a_terminal(arguments, tmp_path / "report") as (process, told):
        wait_until(lambda: told)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    assert "stopped by the user" in json.loads((tmp_path / "report").read_text())["diagnosis"]["message"]
    assert b"[#" in told and b"100%" in told and b"[Progress]" not in told and b"press Ctrl-C again" in told
    assert b" 0 s left" not in told


def test_what_is_no_bar_on_a_terminal(model, tmp_path):
    config = '{"tuning": {"time_limit_s": 1}}'
    with on_a_terminal(["optimize", model, "--verbose", "-o", tmp_path / "fast.pb", "--config", config], os.devnull) as (_, told):
        pass
    assert b"[#" not in told and b"[Progress] 10%" in told
    with on_a_terminal(["optimize", model, "-o", model], os.devnull) as (_, told):
        pass
    assert told.startswith(b"blade: ")


def test_log_lines_take_the_place_of_the_bar(model, tmp_path):
    arguments = ["optimize", model, "-o", tmp_path / "fast.pb", "--config", '{"tuning": {"time_limit_s": 1}}']
    with on_a_terminal(arguments, os.devnull, env={**os.environ, "BLADE_LOG_LEVEL": "info"}) as (process, told):
        pass
    lines = [line for line in told.split(b"\r\n") if b"info" in line]
    assert process.returncode == 0 and b"[#" in told and lines
    for line in lines:
        assert re.search(rb"(^|\r)\x1b\[K(\x1b\[\d*m)*blade ", line), line


@pytest.fixture(scope="module")
def variable_model(tmp_path_factory):
    """A SavedModel whose weights are variables."""
    import tensorflow as tf

    net = tf.Module()
    net.w = tf.Variable(np.eye(64, dtype=np.float32))
    net.f = tf.function(lambda x: {"y": tf.nn.relu(tf.matmul(x, net.w))}, input_signature=[tf.TensorSpec([None, 64], name="x")])
    path = tmp_path_factory.mktemp("variables") / "model"
    tf.saved_model.save(net, str(path), signatures=net.f)
    return path


@pytest.mark.parametrize("while_freezing", [True, False])
def test_ctrl_c_leaves_no_frozen_copy(variable_model, tmp_path, while_freezing):
    folder = tmp_path / "temporary"
    folder.mkdir()
    arguments = ["optimize", variable_model, "-o", tmp_path / "fast", "--config", '{"tuning": {"time_limit_s": 60}}']
    with on_a_terminal(arguments, os.devnull, env={**os.environ, "TMPDIR": str(folder)}) as (process, told):
        wait_until(lambda: any(folder.iterdir()))
        if while_freezing:
            time.sleep(0.2)
        else:
            wait_until(lambda: b"% " in told)
            process.send_signal(signal.SIGINT)
            wait_until(lambda: b"press Ctrl-C again" in told)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130 and list(folder.iterdir()) == []


LOST = ", which would be lost; give the output another path, or move away what stands there"


@pytest.mark.parametrize("arguments,words", [
    (["net.pb", "-o", "q.pb", "--report", "./q.pb"], "'./q.pb' is to hold two things"),
    (["net.pb", "-o", "q.pb", "--report", "r.x", "--html", "r.x"], "'r.x' is to hold two things"),
    (["net.pb", "-o", "q.pb", "--report", "to_r.x", "--html", "r.x"], "'r.x' is to hold two things"),
    (["net.pb", "-o", "q.pb", "--data", "d.npz", "--report", "./d.npz"], "'./d.npz' is 'd.npz', which is read" + LOST),
    (["net.pb", "-o", "q.pb", "--input", "x=x.npy", "--html", "x.npy"], "'x.npy' is 'x.npy', which is read" + LOST),
    (["net.pb", "-o", "cfg.json", "--config", "cfg.json"], "'cfg.json' is 'cfg.json', which is read" + LOST),
    (["net.pb", "-o", "link.pb"], "'link.pb' is the model itself" + LOST),
    (["SM", "-o", "q", "--report", "SM/saved_model.pb"], "'SM/saved_model.pb' lies inside the model itself" + LOST),
    (["SM", "-o", "SM/new"], "'SM/new' lies inside the model itself" + LOST),
    (["SM", "-o", "SM/"], "'SM/' is the model itself" + LOST),
])
def test_nothing_that_is_read_is_written_over(model, variable_model, tmp_path, arguments, words):
    shutil.copy(model, tmp_path / "net.pb")
    os.link(tmp_path / "net.pb", tmp_path / "link.pb")
    shutil.copytree(variable_model, tmp_path / "SM")
    np.savez(tmp_path / "d.npz", **{"x": tiny_models.image()["x:0"]})
    np.save(tmp_path / "x.npy", tiny_models.image()["x:0"])
    (tmp_path / "cfg.json").write_text('{"tuning": {"time_limit_s": 1}}')
    (tmp_path / "to_r.x").symlink_to("r.x")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = subprocess.run([blade_command(), "optimize", *arguments], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_default_that_is_built_in_may_be_fed(tmp_path):
    tf = tiny_models.tf
    with tf.Graph().as_default() as graph:
        d = tf.placeholder_with_default(tf.constant(3), [], name="d")
        tf.add(tf.placeholder(tf.int32, [2], name="x"), d, name="y")
    path = tiny_models.write(graph.as_graph_def(), tmp_path / "net.pb")
    for value in (3, 4):
        np.save(tmp_path / f"{value}.npy", np.int32(value))
    row, = json.loads(run("run", path, "--input", f"d={tmp_path / '3.npy'}", "--json").stdout)
    assert row["shape"] == [2]
    refused = run("run", path, "--input", f"d={tmp_path / '4.npy'}", code=2).stderr
    assert "the placeholder 'd' another value than its default, which is built in; expected 3 (int32 [])" in refused
    assert "--shape names 'd'" in run("run", path, "--shape", "d=2", code=2).stderr


def test_generated_data_of_every_float(tmp_path):
    import tensorflow.compat.v1 as tf

    for dtype in (tf.float64, tf.float16, tf.bfloat16):
        with tf.Graph().as_default() as graph:
            tf.reduce_mean(tf.cast(tf.placeholder(dtype, [100], name="x"), tf.float32), name="y")
        row, = json.loads(run("run", tiny_models.write(graph.as_graph_def(), tmp_path / "net.pb"), "--json").stdout)
        assert 0.4 < row["mean"] < 0.6


def test_a_missing_folder_is_found_before_the_work(model, tmp_path):
    done = run("optimize", model, "-o", tmp_path / "fast.pb", "--html", tmp_path / "no" / "page.html", code=2)
    assert "there is no directory" in done.stderr and "[Progress] 10%" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_bench_profile_inspect_doctor(model):
    report = json.loads(run("bench", model, "--shape", "x=1x32x32x3", "--runs", 3, "--rounds", 2, "--json").stdout)
    assert report["models"][0]["runs"] == 6 and report["models"][0]["p50_ms"] > 0
    steps = json.loads(run("profile", model, "--shape", "x=1x32x32x3", "--runs", 3, "--json").stdout)
    assert {"node", "kernel", "median_us", "floor_us", "roofline", "bound_by"} <= set(steps[0])
    inspected = json.loads(run("inspect", model, "--json").stdout)
    assert inspected["left_behind"] == [] and inspected["inputs"][0]["name"] == "x"
    assert "cpu" in run("doctor").stdout


def test_limits_are_kept_and_a_broken_cache_is_measured_again(model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    profile = ["profile", model, "--shape", "x=1x32x32x3", "--runs", 3]
    run(*profile)
    cache = tmp_path / "blade" / "machine_limits.json"
    (key, measured), = json.loads(cache.read_text()).items()
    assert measured["fp32_fma_gflops"] > 0 and {"bf16_amx_gflops", "int8_dot_gops", "int8_amx_gops"} <= set(measured)
    run(*profile)
    assert json.loads(cache.read_text())[key] == measured
    for broken in ({"vector": 5}, {**measured, "fp32_fma_gflops": "many"}):
        cache.write_text(json.dumps({key: broken}))
        run(*profile)
        assert json.loads(cache.read_text())[key]["fp32_fma_gflops"] > 0


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


@pytest.mark.parametrize("verb", [["--version"], ["inspect", "MODEL"], ["run", "MODEL", "--json"]])
def test_a_full_disk_behind_stdout_is_said(model, verb):
    with open("/dev/full", "w") as full:
        done = subprocess.run([blade_command(), *[model if part == "MODEL" else part for part in verb]], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2 and "the standard output could not be written" in done.stderr


def test_a_limit_on_the_size_of_files_is_an_error(model, tmp_path):
    limited = f"ulimit -f 1; exec {blade_command()} optimize {model} -o {tmp_path}/x.pb --config '{{\"tuning\":{{\"time_limit_s\":1}}}}'"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert done.returncode == 2 and "x.pb': File too large" in done.stderr
    assert not list(tmp_path.glob("x.pb*"))
    limited = f"ulimit -f 1; exec {blade_command()} run {model} --shape x=999x1x1x3 --save {tmp_path}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "probabilities.npy' could not be written" in done.stderr
    assert not list(tmp_path.glob("*.npy"))


def test_bad_shape_exits_with_2(model):
    assert "is no shape" in run("run", model, "--shape", "x=1xtwo", code=2).stderr


def test_inspect_coverage(tmp_path):
    """A table of ops with counts and reasons; nothing is built, so it is there at once."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(tiny_models.conv_net(), name="")
        text = tf.strings.as_string(graph.get_tensor_by_name("probabilities:0"))
        tf.nn.softmax(2.0 * tf.strings.to_number(text), name="sharper")
    path = tiny_models.write(graph.as_graph_def(), tmp_path / "net.pb")
    report = json.loads(run("inspect", path, "--coverage", "--json").stdout)
    rows = {row["op"]: row for row in report["ops"]}
    assert rows["Conv2D"]["covered"] == rows["Conv2D"]["nodes"] == 2 and rows["Conv2D"]["reasons"] == []
    assert rows["AsString"] == {"op": "AsString", "nodes": 1, "covered": 0, "reasons": ["strings"],
                                "nodes_share_left": 1 / report["nodes"], "flops_share_left": None}
    assert 0.9 < report["flops_share"] <= 1 and report["boundary_bytes"] > 0
    table = run("inspect", path, "--coverage").stdout
    assert "work left" in table and "strings" in table


def double_net(folder):
    """A model with the input of `model`, in float64."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default() as graph:
        tf.identity(tf.placeholder(tf.float64, [None, 32, 32, 3], name="x"), name="probabilities")
    return tiny_models.write(graph.as_graph_def(), folder / "double.pb")


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["run", "MODEL", "--shape", "y=1x32x32x3"], "'y' is no input of the model; its inputs are 'x'"),
        (["run", "MODEL", "--shape", "x=1x32x32"], "x"),
        (["run", "MODEL", "--shape", "x=1x32x32x3", "--shape", "x=2x32x32x3"], "--shape gives a shape more than once for the input 'x'"),
        (["run", "MODEL", "--input", "x=DATA", "--input", "x:0=DATA"], "the input 'x' is given twice, as 'x' and as 'x:0'"),
        (["run", "MODEL", "--input", "x=DATA", "--shape", "x=1x32x32x3"], "the input 'x' is given twice"),
        (["run", "MODEL", "--input", "x=EMPTY"], "is a directory; give a .npy file"),
        (["run", "MODEL", "--input", "x=PICKLED"], "save plain numbers, a dict of arrays by numpy.savez"),
        (["compare", "MODEL", "DOUBLE"], "the second model takes float64 for the input 'x', the first float32"),
        (["--no-such-option"], "'--no-such-option' is no option of blade"),
        (["run", "MODEL", "--shape", "x=1x32x32x5"], "x"),
        (["run", "MODEL", "--outputs", "probabilites"], "probabilities"),
        (["run", "MODEL", "--input", "x=no_such.npy"], "no_such.npy"),
        (["run", "MODEL", "--input", "no_such.npy"], "NAME=FILE.npy"),
        (["bench", "MODEL", "no_such.pb"], "no_such.pb"),
        (["compare", "MODEL", "no_such.pb"], "no_such.pb"),
        (["profile", "MODEL", "--shape", "x=1x32x32x5"], "x"),
        (["inspect", "EMPTY"], "saved_model.pb"),
        (["inspect", "TEXT"], "pbtxt"),
        (["optimize", "MODEL", "-o", "no/such/folder/x.pb"], "there is no directory"),
        (["optimize", "MODEL", "-o", "x.pb", "--shape", "y=1x2"], "lack one for the input 'x'"),
        (["optimize", "MODEL", "-o", "x.pb", "--shape", "x=1x32x32x5"], "x"),
        (["optimize", "MODEL", "-o", "x.pb", "--shape", "x=1x32x32x3", "--input-shapes", "1*32*32*3"], "both give shapes"),
        (["optimize", "MODEL", "-o", "MODEL"], "is the model itself, which would be lost"),
        (["optimize", "MODEL", "-o", "x.pb", "--html", "MODEL"], "is the model itself, which would be lost"),
        (["optimize", "MODEL", "-o", "x.pb", "--device", "tpu"], "tpu"),
        (["optimize", "MODEL", "-o", "x.pb", "--custom-ops", "no_such.so"], "no_such.so"),
        (["optimize", "MODEL", "-o", "outf/"], "is a directory; give the path of a file"),
        (["optimize", "MODEL", "-o", "x.pb", "--config", '{"acuracy":{"rtol":1}}'], "did you mean 'accuracy'?"),
        (["optimize", "MODEL", "-o", "x.pb", "--config", '{"accuracy":{"rtol":"1"}}'],
         'config.accuracy.rtol is "1"; expected a number'),
        (["optimize", "MODEL", "-o", "x.pb", "--config", "{"], "is not a JSON object"),
        (["optimize", "MODEL", "-o", "x.pb", "--config", "no_such.json"], "no_such.json"),
        (["optimize", "MODEL", "-o", "x.pb", "--threads", "20000"], "num_threads is 20000; expected 0"),
        (["run", "MODEL", "--threads", "20000"], "num_threads is 20000; expected 0"),
        (["run", "MODEL", "--threads=-3"], "num_threads is -3; expected 0"),
        (["run", "MODEL", "--device", "tpu"], "tpu"),
        (["run", "MODEL", "--shape", "x=1x32x32x3", "--save", "TAKEN"], "could not be opened for writing"),
        (["run", "MODEL", "--save", "MODEL/out"], "which is no directory and cannot be made one"),
        (["optimize", "MODEL", "-o", ""], "--output is empty"),
        (["optimize", "\udcff.pb", "-o", "x.pb"], "is not UTF-8"),
        (["run", "MODEL", "--shape", "x=9999999x6400x6400x3"], "needs more memory than this machine has"),
    ],
)
def test_slips_are_sentences(model, tmp_path, arguments, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken" / "probabilities.npy").mkdir(parents=True)
    (tmp_path / "net.pbtxt").write_text("node { name: 'a' op: 'Placeholder' ")
    np.save(tmp_path / "data.npy", np.zeros((1, 32, 32, 3), np.float32))
    np.save(tmp_path / "pickled.npy", np.array({"x": 1}))
    places = {"MODEL": model, "EMPTY": tmp_path / "empty", "TEXT": tmp_path / "net.pbtxt", "TAKEN": tmp_path / "taken", "DATA": tmp_path / "data.npy",
              "PICKLED": tmp_path / "pickled.npy", "DOUBLE": double_net(tmp_path)}
    given = [re.sub("[A-Z]{4,}", lambda word: str(places.get(word[0], word[0])), argument) for argument in arguments]
    done = subprocess.run([blade_command(), *given], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "x.pb").exists()


def test_pbtxt_like_pb(tmp_path):
    from google.protobuf import text_format

    (tmp_path / "net.pbtxt").write_text(text_format.MessageToString(tiny_models.conv_net()))
    rows = json.loads(run("run", tmp_path / "net.pbtxt", "--shape", "x=2x32x32x3", "--json").stdout)
    assert rows[0]["name"] == "probabilities" and rows[0]["shape"] == [2, 10]


def test_coverage_is_what_optimizing_finds(tmp_path):
    """Shapes of what stays are asked from TensorFlow, where the command has one."""
    import blade

    with tiny_models.tf.Graph().as_default() as graph:
        words = tiny_models.tf.placeholder(tiny_models.tf.string, [None], name="words")
        numbers = tiny_models.tf.strings.to_number(words)[:, None] * np.ones((1, 64), np.float32)
        for _ in range(3):
            numbers = tiny_models.tf.nn.relu(tiny_models.tf.matmul(numbers, np.eye(64, dtype=np.float32)))
        tiny_models.tf.nn.bias_add(numbers, np.ones(64, np.float32), name="y")
    path = tiny_models.write(graph.as_graph_def(), tmp_path / "net.pb")
    inspected = json.loads(run("inspect", path, "--json").stdout)
    config = blade.Config()
    config.tuning.disable_perf_check = True
    feed = {"words": np.array([b"1", b"2.5"], object)}
    _, _, report = blade.optimize(path, "o1", "cpu", config, test_data=[feed])
    assert [e["node"] for e in inspected["left_behind"]] == [e["node"] for e in report.coverage["left_behind"]] == ["StringToNumber"]
