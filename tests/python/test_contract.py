"""What users type and read: names, defaults, fields and forms that scripts of theirs rely on."""
import inspect
import json
import os
import re
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf
import tiny_models
from command import run
from optimizing import fast_config, optimize

import blade
from blade.model.tf_model import TfModel

VERBS = ("optimize", "run", "bench", "compare", "inspect", "profile", "doctor")


def parameters(function):
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


def test_optimize_takes_arguments_in_this_order():
    empty = inspect.Parameter.empty
    assert list(parameters(blade.optimize).items())[:12] == [
        ("model", empty), ("optimization_level", empty), ("device_type", empty), ("config", None), ("inputs", None), ("outputs", None),
        ("input_shapes", None), ("input_ranges", None), ("test_data", ()), ("calib_data", ()), ("custom_ops", ()), ("verbose", False)]


def test_engine_takes_arguments_in_this_order():
    assert list(parameters(blade.Engine).items())[1:4] == [("outputs", None), ("device", "cpu"), ("num_threads", 0)]


def test_config_has_these_fields():
    config = blade.Config()
    assert [config.gpu_config.disable_fp16_accuracy_check, config.gpu_config.disable_fp16_perf_check] == [False, False]
    assert [config.gpu_config.aicompiler.enable, config.gpu_config.tensorrt.enable] == [True, True]
    assert [config.dynamic_tuning_shapes, config.gpu_config.tensorrt.dynamic_tuning_shapes] == [{}, {}]
    assert [config.cpu_config.precision, config.cpu_config.num_threads] == ["auto", 0]
    for group, fields in (("accuracy", ("rtol", "atol", "metric")), ("tuning", ("time_limit_s", "cache_dir")), ("quantization", ())):
        for field in fields:
            assert getattr(getattr(config, group), field) is not None


def test_the_report_has_these_fields(dynamic):
    report = dynamic[2].to_dict()
    assert list(report)[:9] == ["software_context", "hardware_context", "user_config", "diagnosis", "optimizations", "overall",
                                "model_info", "compatibility_list", "model_sdk"]
    for entry in report["software_context"]:
        assert list(entry) == ["software", "version"] and entry["version"]
    assert {entry["software"] for entry in report["software_context"]} == {"tensorflow", "blade"}
    assert list(report["hardware_context"]) == ["device_type", "microarchitecture"]
    assert report["compatibility_list"] == [report["hardware_context"]]
    assert list(report["diagnosis"]) == ["model", "test_data_source", "shape_variation", "message", "test_data_info"]
    assert report["model_sdk"] == {}
    time, ratio = r"(\d+\.\d+ ms|na)", r"(\d+\.\d\d|na)"
    assert report["optimizations"]
    for step in report["optimizations"]:
        assert list(step)[:5] == ["name", "status", "speedup", "pre_run", "post_run"]
        assert re.fullmatch(ratio, step["speedup"]) and re.fullmatch(time, step["pre_run"]) and re.fullmatch(time, step["post_run"])
    assert list(report["overall"])[:3] == ["baseline", "optimized", "speedup"]


def test_a_report_is_json_and_attributes(dynamic):
    report = dynamic[2]
    assert report.to_json() == str(report) and json.loads(str(report)) == report.to_dict()
    assert report.overall == report.to_dict()["overall"]


def test_a_gpus_report_names_its_software():
    if '"not usable' in blade._core.doctor(""):
        pytest.skip("there is no usable GPU")
    _, _, report = optimize(tiny_models.conv_net(), outputs=["probabilities"], test_data=[tiny_models.image()], device_type="gpu")
    assert "cuda" in {entry["software"] for entry in report.software_context}


def test_the_runtime_needs_no_token():
    environment = {**os.environ, "BLADE_REGION": "cn-beijing", "BLADE_TOKEN": "nothing", "BLADE_AUTH_USE_COUNTING": "1"}
    code = "import blade.runtime.tensorflow as runtime; print(runtime.counters())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout == "{'engine_runs': 0, 'fallback_runs': 0}\n", done.stderr


def test_the_session_configuration_is_tensorflows():
    assert isinstance(TfModel.new_session_config(), tf.ConfigProto)
    assert TfModel.new_session_config(num_threads=3).intra_op_parallelism_threads == 3


def test_progress_goes_forward_in_lines():
    code = """
import blade, tiny_models
from optimizing import fast_config
blade.optimize(tiny_models.conv_net(), "o1", "cpu", config=fast_config(), test_data=[tiny_models.image()])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=os.path.dirname(__file__))
    assert done.returncode == 0 and done.stdout == "", done.stderr
    told = re.findall(r"^\[Progress\] (\d+)%, phase: [\w ,.'-]+\.$", done.stderr, flags=re.MULTILINE)
    percents = [int(percent) for percent in told]
    assert percents == sorted(percents) and percents[0] < 10 and percents[-1] == 100, done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_print_json(verb):
    assert "--json" in run(verb, "--help").stdout


def test_doctor_in_json():
    assert {"blade", "cpu", "cpu_engine", "gpu_engine", "tensorflow"} <= set(json.loads(run("doctor", "--json").stdout))


def test_results_on_stdout_progress_on_stderr(tmp_path):
    model = tiny_models.write(tiny_models.conv_net(), tmp_path / "net.pb")
    config = json.dumps({"tuning": {"time_limit_s": fast_config().tuning.time_limit_s}})
    done = run("optimize", model, "-o", tmp_path / "fast.pb", "--config", config)
    assert json.loads(done.stdout)["overall"] and "[Progress] 100%, phase: done." in done.stderr


def test_bench_gives_percentiles_and_the_ratio(tmp_path):
    model = tiny_models.write(tiny_models.conv_net(), tmp_path / "net.pb")
    report = json.loads(run("bench", model, model, "--shape", "x=1x32x32x3", "--runs", 3, "--rounds", 2, "--json").stdout)
    for row in report["models"]:
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
    assert report["speedup"] > 0
