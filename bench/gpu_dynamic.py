"""Checks a dynamic profile on a GPU: batches 1 to 8 of ResNet-50 with opts 1, 2, 4 and 8 in one engine.

Every batch's answers are compared with the CPU engine's, and its device time an image with that of the neighbouring opts:
a batch between two opts may be at most 15 % slower an image than the slower of the two. Batch 9, outside the profile, has
to be right on a plan that is made at first sight, however long it takes. Fails (exit status 1) otherwise.

  bench/gpu_dynamic.py --model frozen.pb --tuning-s 60
"""
import argparse
import sys

import numpy as np

import blade

OPTS, MOST, SIZE, ALLOWED = (1, 2, 4, 8), 8, 224, 1.15
RUNS = 100


def images_of(batch):
    return np.random.default_rng(batch).uniform(-120, 130, (batch, SIZE, SIZE, 3)).astype(np.float32)


def optimized(path, name, tuning_s):
    config = blade.Config()
    config.tuning.time_limit_s = tuning_s
    shape = lambda batch: [batch, SIZE, SIZE, 3]  # noqa: E731
    config.gpu_config.tensorrt.dynamic_tuning_shapes = {
        "min": shape(1), "opts": [shape(batch) for batch in OPTS], "max": shape(MOST)}
    feeds = [{name: images_of(batch)} for batch in OPTS]
    return blade.optimize(path, "o1", "gpu", config=config, test_data=feeds)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a frozen ResNet-50 (examples/resnet50/make_model.py)")
    parser.add_argument("--tuning-s", type=float, default=60)
    arguments = parser.parse_args()
    cpu = blade.Engine(arguments.model, device="cpu")
    name = cpu.inputs[0].name
    engine = blade.Engine(optimized(arguments.model, name, arguments.tuning_s), device="gpu")
    faults, each = [], {}
    for batch in range(1, MOST + 2):
        feed = {name: images_of(batch)}
        want, got = cpu.run(feed), engine.run(feed)
        for key, values in want.items():
            if not np.issubdtype(values.dtype, np.floating):
                continue
            error = np.abs(got[key] - values).max() / np.abs(values).max()
            if not error < 1e-2:
                faults.append(f"batch {batch}: output '{key}' is off by {error:.2g} of its range")
        if batch <= MOST:
            each[batch] = float(np.median(engine.device_times(feed, RUNS))) / batch
    for batch, us in each.items():
        below, above = max(opt for opt in OPTS if opt <= batch), min(opt for opt in OPTS if opt >= batch)
        slowest = max(each[below], each[above])
        print(f"batch {batch}: {us * batch:.0f} us, {us:.1f} us an image, {us / slowest:.2f} of the slower neighbour")
        if us > ALLOWED * slowest:
            faults.append(f"batch {batch}: {us:.1f} us an image, its neighbours take {slowest:.1f}")
    for fault in faults:
        print("fault: " + fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
