"""Describes the machine that a benchmark ran on: processor, the flags that matter, measured limits."""
import json
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16",
         "amx_int8")


def _limits(threads):
    """What build/*/bench/limits measures, or None with a note where it was not built."""
    for program in sorted(ROOT.glob("build/*/bench/limits")):
        answer = subprocess.run([str(program), str(threads)], capture_output=True, text=True)
        if answer.returncode == 0:
            return json.loads(answer.stdout)
        print(f"note: {program} failed: {answer.stderr.strip()}")
    print("note: bench/limits is not built, so the machine's peak is not measured "
          "(cmake --preset release && cmake --build --preset release --target limits).")
    return None


def describe(threads):
    """A dict for the JSON report."""
    cpu, flags = "unknown", []
    with open("/proc/cpuinfo") as f:
        for line in f:
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                cpu = value.strip()
            elif key.strip() == "flags":
                flags = value.split()
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "flags": [f for f in FLAGS if f in flags],
            "system": platform.platform(), "threads": threads, "limits": _limits(threads)}
