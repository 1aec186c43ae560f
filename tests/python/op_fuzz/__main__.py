"""python -m op_fuzz --seed 1 --cases 200 --ops Conv2D,Gather: draws cases an op, then chains, and prints what differs."""

import argparse
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from . import chains, draw, errors, runner, specs  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=1000, help="an op")
    parser.add_argument("--ops", default="", help="comma-separated; all and chains of them where empty")
    arguments = parser.parse_args()
    names = [n for n in arguments.ops.split(",") if n] or list(specs.SPECS) + ["chains", "errors"]
    unknown = [n for n in names if n not in specs.SPECS and n not in ("chains", "errors")]
    if unknown:
        parser.error(f"there is no spec of {', '.join(unknown)}; the specs are {', '.join(specs.SPECS)}")
    failures, total, start = 0, 0, time.monotonic()
    for name in names:
        if name == "chains":
            found = chains.run(arguments.seed, max(1, arguments.cases // 5))
            total += max(1, arguments.cases // 5)
        elif name == "errors":
            found = errors.run(arguments.seed)
        else:
            found, count = run_op(name, arguments.seed, arguments.cases)
            total += count
        failures += len(found)
        for sentence in found:
            print(sentence, flush=True)
    print(f"{total} cases, {failures} differ, {time.monotonic() - start:.0f} s")
    return int(failures > 0)


def run_op(name, seed, count):
    """Sentences with reproducers, and how many cases TensorFlow could build."""
    d = draw.Draw([seed, *name.encode()])
    sentences, built = [], 0
    for begin in range(0, count, 200):
        cases = [specs.SPECS[name].case(d) for _ in range(min(200, count - begin))]
        found, ran = runner.run(cases, lambda: d.chance(0.3))
        built += ran
        for case, sentence in found[:5]:
            sentences.append(f"{case}: {sentence}\n{runner.reproducer(case)}\n")
    return sentences, built


if __name__ == "__main__":
    sys.exit(main())
