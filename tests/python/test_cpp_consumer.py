"""examples/cpp builds against the installed package and runs a model."""
import pathlib
import subprocess

import tiny_models

import blade

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "cpp"


def test_example_builds_and_runs(tmp_path):
    model = tiny_models.write(tiny_models.conv_net(32, 32), tmp_path / "net.pb")
    configure = ["cmake", "-S", EXAMPLE, "-B", tmp_path / "build", f"-Dblade_DIR={blade.cmake_dir()}"]
    subprocess.run(configure, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", tmp_path / "build"], check=True, capture_output=True)
    for program in ("classify", "run_in_c"):
        done = subprocess.run([tmp_path / "build" / program, model], check=True, capture_output=True, text=True)
        assert "probabilities" in done.stdout
    wrong = subprocess.run([tmp_path / "build" / "classify", "no_such.pb"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "no_such.pb" in wrong.stderr
