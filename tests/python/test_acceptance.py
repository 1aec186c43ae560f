"""Runs the acceptance scripts unchanged, in order, in one folder that holds the ResNet-50 model."""
import json
import re
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, resnet50_dir):
    """A folder with tf_resnet50_v1.5/ in it, in which the scripts leave their files for the next."""
    folder = tmp_path_factory.mktemp("acceptance")
    (folder / "tf_resnet50_v1.5").symlink_to(resnet50_dir.resolve(), target_is_directory=True)
    return folder


def run_script(script, folder):
    """Standard output of a script run in `folder`; fails with all that it printed."""
    answer = subprocess.run([sys.executable, str(script)], cwd=folder, capture_output=True, text=True, timeout=900)
    assert answer.returncode == 0, f"{script.name} exited with {answer.returncode}\n{answer.stdout}\n{answer.stderr}"
    print(answer.stdout)
    return answer.stdout


def printed_report(text):
    """The JSON report in what a script printed."""
    start = text.index("\n{\n") + 1 if "\n{\n" in text else text.index("{\n")
    return json.JSONDecoder().raw_decode(text[start:])[0]


def check_report(report, shape_variation):
    assert report["diagnosis"]["shape_variation"] == shape_variation
    assert report["diagnosis"]["test_data_info"] == "input_tensor:0 shape: (1, 224, 224, 3) data type: float32"
    assert {step["name"] for step in report["optimizations"]} >= {"TfStripUnusedNodes", "TfFoldConstants"}
    for key in ("baseline", "optimized"):
        assert re.fullmatch(r"\d+(\.\d+)? ms", report["overall"][key])
    assert float(report["overall"]["speedup"]) >= 1.0
    assert report["model_info"] == {"input_format": "frozen_pb"}
    assert list(report)[:4] == ["software_context", "hardware_context", "user_config", "diagnosis"]


def test_static_shape(acceptance_dir, workplace):
    text = run_script(acceptance_dir / "static_shape.py", workplace)
    check_report(printed_report(text), "static")
    assert "other shape: same answer" in text
    difference = float(re.search(r"largest difference of a probability: (\S+)", text).group(1))
    assert difference < 1e-5
    assert (workplace / "optimized_model_static.pb").exists()
    size = (workplace / "optimized_model_static.pb").stat().st_size
    assert size <= 1.1 * (workplace / "tf_resnet50_v1.5" / "frozen.pb").stat().st_size


def test_dynamic_shape(acceptance_dir, workplace):
    text = run_script(acceptance_dir / "dynamic_shape.py", workplace)
    check_report(printed_report(text), "dynamic")
    assert "Latency of optimized model:" in text
    size = (workplace / "optimized_model_dynamic.pb").stat().st_size
    assert size <= 1.1 * (workplace / "tf_resnet50_v1.5" / "frozen.pb").stat().st_size


def test_deploy(acceptance_dir, workplace):
    if not (workplace / "optimized_model_dynamic.pb").exists():
        pytest.skip("dynamic_shape.py left no optimized_model_dynamic.pb, which this case loads.")
    assert "array" in run_script(acceptance_dir / "deploy.py", workplace)
