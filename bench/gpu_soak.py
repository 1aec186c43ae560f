"""Runs one engine on a GPU from several threads at mixed batch sizes, and stops at the first wrong answer.

Every answer is compared with the one that the same batch gave before the threads started. Memory of the process and of
the card is read after a first minute (or a tenth of the time) and at the end: growth is an error.

  bench/gpu_soak.py --model optimized.pb --minutes 5 --threads 4 --batches 1,2,3,5,8
"""
import argparse
import subprocess
import sys
import threading
import time

import numpy as np

import blade

HOST_GROWTH_MB, CARD_GROWTH_MB = 64, 64


def host_mb():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def card_mb():
    """Memory in use on the first card, or nan where nvidia-smi is missing."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        return float(subprocess.run(query, check=True, capture_output=True, text=True).stdout.split()[0])
    except (OSError, subprocess.CalledProcessError, IndexError, ValueError):
        return float("nan")


def feed_of(engine, batch):
    random = np.random.default_rng(batch)
    shape = lambda info: [batch if i == 0 else dim or 1 for i, dim in enumerate(info.shape)]  # noqa: E731
    return {info.name: random.uniform(-1, 1, shape(info)).astype(info.dtype) for info in engine.inputs}


class Soak:
    def __init__(self, engine, batches):
        self.engine = engine
        self.feeds = [feed_of(engine, batch) for batch in batches]
        self.answers = [engine.run(feed) for feed in self.feeds]
        self.runs, self.error, self.stop = 0, None, threading.Event()
        self.lock = threading.Lock()

    def check(self, i):
        got = self.engine.run(self.feeds[i])
        for name, want in self.answers[i].items():
            if not np.array_equal(got[name], want, equal_nan=True):
                raise AssertionError(f"output '{name}' of feed {i} differs from its first answer")

    def work(self, seed):
        random = np.random.default_rng(seed)
        while not self.stop.is_set():
            try:
                self.check(random.integers(len(self.feeds)))
            except Exception as error:  # noqa: BLE001 - whatever fails ends the soak and is shown
                self.error = self.error or error
                self.stop.set()
                return
            with self.lock:
                self.runs += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--batches", default="1,2,3,5,8")
    arguments = parser.parse_args()
    soak = Soak(blade.Engine(arguments.model, device="gpu"), [int(b) for b in arguments.batches.split(",")])
    threads = [threading.Thread(target=soak.work, args=(seed,)) for seed in range(arguments.threads)]
    for thread in threads:
        thread.start()
    seconds = arguments.minutes * 60
    warm_s = min(60, seconds / 10)
    soak.stop.wait(warm_s)
    host, card = host_mb(), card_mb()
    soak.stop.wait(seconds - warm_s)
    soak.stop.set()
    for thread in threads:
        thread.join()
    more_host, more_card = host_mb() - host, card_mb() - card
    print(f"{soak.runs} runs; the process grew by {more_host:.1f} MB, the card's memory by {more_card:.1f} MB")
    if soak.error is not None:
        sys.exit(f"failed: {soak.error}")
    if more_host > HOST_GROWTH_MB or more_card > CARD_GROWTH_MB:
        sys.exit("failed: memory grew")


if __name__ == "__main__":
    main()
