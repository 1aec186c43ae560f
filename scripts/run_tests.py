"""Runs every check of the project, streams what they print, and ends with one line: N passed, N failed, N skipped.

Steps: format, release (build and C++ tests), tidy, python (install and pytest), asan, tsan. A failing step does not
stop the others, so one run shows all that is wrong; the exit status is 1 if anything failed.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
SOURCE_FOLDERS = ("src", "include", "tools", "tests", "bench", "fuzz", "examples", "python")
SUFFIXES = (".cc", ".cpp", ".h", ".hpp", ".c", ".inc", ".cu", ".cuh")
MOST_SHOWN = 300  # characters of a command
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class Counts:
    """Sums results over all runners; a check that is no test runner counts as one test."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []

    def add(self, passed=0, failed=0, skipped=0, what=""):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        if failed:
            self.failures.append(what)

    def check(self, ok, what):
        self.add(passed=int(ok), failed=int(not ok), what=what)
        return ok


def run(command, **options):
    """Runs a command with its output streamed; True if it exits with 0."""
    line = " ".join(str(c) for c in command)
    print("+ " + (line if len(line) <= MOST_SHOWN else line[:MOST_SHOWN] + " ..."), flush=True)
    try:
        return subprocess.run([str(c) for c in command], cwd=ROOT, **options).returncode == 0
    except FileNotFoundError as error:
        print(f"{error.filename} is not installed; run make setup.", flush=True)
        return False


def source_files():
    """All C and C++ files of the project."""
    found = []
    for folder in SOURCE_FOLDERS:
        found += [p for p in (ROOT / folder).rglob("*") if p.suffix in SUFFIXES and p.is_file()]
    return sorted(found)


def check_format(counts, fix=False):
    files = [p for p in source_files() if p.suffix != ".inc"]
    mode = ["-i"] if fix else ["--dry-run", "-Werror"]
    counts.check(run(["clang-format", *mode, *[p.relative_to(ROOT) for p in files]]), "clang-format")


def configure(preset):
    return run(["cmake", "--preset", preset, "-DPython_EXECUTABLE=" + sys.executable,
                "-DPython3_EXECUTABLE=" + sys.executable])


def ctest_listing(preset, label):
    """CTest's own description of a preset's tests, those of one label where one is given."""
    command = ["ctest", "--test-dir", str(BUILD / preset), "--show-only=json-v1"] + (["-L", label] if label else [])
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return json.loads(answer.stdout).get("tests", []) if answer.returncode == 0 else []


def googletest_counts(path):
    """(passed, failed, skipped) of a GoogleTest XML file, or None where there is none that can be read."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return None
    cases = list(root.iter("testcase"))
    failed = sum(case.find("failure") is not None for case in cases)
    skipped = sum(case.find("skipped") is not None or case.get("status") == "notrun" for case in cases)
    return len(cases) - failed - skipped, failed, skipped


def count_ctest(counts, preset, junit, details):
    """Adds a CTest run: the cases of each GoogleTest program, or one for any other test."""
    try:
        cases = list(ElementTree.parse(junit).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        counts.add(failed=1, what=f"{preset}: ctest wrote no results")
        return
    for case in cases:
        name, status = case.get("name"), case.get("status")
        numbers = googletest_counts(details / (name + ".xml"))
        ok = status == "run"
        if numbers is None:
            skipped = status in ("notrun", "disabled") and case.find("skipped") is not None
            numbers = (int(ok), int(not ok and not skipped), int(skipped))
        elif not ok and numbers[1] == 0:
            numbers = (numbers[0], 1, numbers[2])
        counts.add(*numbers, what=f"{preset}: {name}")


def cpp_tests(counts, preset, label=None):
    """Configures, builds and runs the C++ tests of a preset; with a label, only those tests are built and run."""
    if not counts.check(configure(preset), f"{preset}: configure"):
        return
    build = ["cmake", "--build", "--preset", preset]
    if label:
        targets = [test["name"] for test in ctest_listing(preset, label)]
        if not targets:
            print(f"{preset}: no test is labelled {label}", flush=True)
            return
        build += ["--target", *targets]
    if not counts.check(run(build), f"{preset}: build"):
        return
    details = BUILD / "results" / preset
    shutil.rmtree(details, ignore_errors=True)
    details.mkdir(parents=True)
    junit = details / "ctest.junit"
    command = ["ctest", "--test-dir", BUILD / preset, "--output-on-failure", "-j2", "--timeout", "600",
               "--no-tests=error", "--output-junit", junit] + (["-L", label] if label else [])
    if preset == "tsan" and shutil.which("setarch") and subprocess.run(["setarch", "-R", "true"]).returncode == 0:
        command = ["setarch", "-R", *command]  # GCC 12's runtime does not know the addresses of newer kernels
    environment = dict(os.environ, GTEST_OUTPUT=f"xml:{details}/")
    models = ROOT.parent / "shared" / "models"  # where tests/python/conftest.py looks, too
    if models.is_dir():
        environment.setdefault("BLADE_MODELS_DIR", str(models))
    for name, value in SANITIZER_OPTIONS.items():
        environment.setdefault(name, value)
    run(command, env=environment)
    count_ctest(counts, preset, junit, details)


def tidy_file(path):
    command = ["clang-tidy", "--quiet", "-p", str(BUILD / "release"), "--extra-arg=-w", str(path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return path, answer.returncode == 0, answer.stdout + ("" if answer.returncode == 0 else answer.stderr)


def tidy(counts):
    """clang-tidy on all that is compiled of src/, in its batches; needs the release build's compile_commands.json."""
    database = BUILD / "release" / "compile_commands.json"
    if not database.exists() or not shutil.which("clang-tidy"):
        counts.check(False, f"clang-tidy: {database} or the program is missing")
        return
    entries = {pathlib.Path(entry["directory"], entry["file"]).resolve() for entry in json.loads(database.read_text())}
    folders = (ROOT / "src", BUILD / "release" / "src")  # the second holds the batches of files compiled as one
    files = sorted(path for path in entries if any(folder in path.parents for folder in folders))
    print(f"+ clang-tidy on {len(files)} files", flush=True)
    ok = True
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, clean, text in pool.map(tidy_file, files):
            if not clean:
                ok = False
                print(text, flush=True)
    counts.check(ok, "clang-tidy")


def python_tests(counts):
    """Installs the package into this virtual environment and runs pytest."""
    install = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-build-isolation",
               "--no-deps", "."]
    # The compiler names that CMake finds by itself: ccache then has what the release step built.
    environment = {"CC": "cc", "CXX": "c++", **os.environ}
    if not counts.check(run(install, env=environment), "pip install ."):
        return
    junit = BUILD / "results" / "pytest.xml"
    junit.parent.mkdir(parents=True, exist_ok=True)
    junit.unlink(missing_ok=True)
    ok = run([sys.executable, "-m", "pytest", "-v", "--junitxml", junit, "tests/python"])
    try:
        suites = list(ElementTree.parse(junit).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        counts.add(failed=1, what="pytest wrote no results")
        return
    total, failed, skipped = (sum(int(s.get(key, 0)) for s in suites) for key in ("tests", "failures", "skipped"))
    failed += sum(int(s.get("errors", 0)) for s in suites)
    counts.add(max(0, total - failed - skipped), failed or int(not ok), skipped, what="pytest")


STEPS = {
    "format": check_format,
    "release": lambda counts: cpp_tests(counts, "release"),
    "tidy": tidy,
    "python": python_tests,
    "asan": lambda counts: cpp_tests(counts, "asan"),
    "tsan": lambda counts: cpp_tests(counts, "tsan", label="threads"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(STEPS), help="steps to run, comma-separated (default: all)")
    parser.add_argument("--fix-format", action="store_true", help="format the files in place and stop")
    arguments = parser.parse_args()
    counts = Counts()
    if arguments.fix_format:
        check_format(counts, fix=True)
        return int(counts.failed > 0)
    steps = arguments.only.split(",")
    for step in steps:
        if step not in STEPS:
            parser.error(f"there is no step '{step}'; the steps are {', '.join(STEPS)}.")
    times = []
    try:
        for step in steps:
            print(f"== {step}", flush=True)
            start = time.monotonic()
            STEPS[step](counts)
            times.append(f"{step} {time.monotonic() - start:.0f} s")
    except KeyboardInterrupt:
        counts.add(failed=1, what="interrupted")
    print("== times: " + ", ".join(times))
    for failure in counts.failures:
        print("FAILED: " + failure)
    print(f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped", flush=True)
    return int(counts.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
