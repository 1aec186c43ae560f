"""Times models on TensorFlow, ONNX Runtime, OpenVINO and Blade in alternating blocks, and prints a table of ratios.

Each engine lives in a process of its own and runs in blocks (a warm-up, then at least 20 timed runs) while the others
are idle; the order rotates from round to round. An engine that is missing or fails is a note, not an error.

  bench/peers.py --models resnet50,age --batches 1,8 --engines tensorflow,onnxruntime,openvino,blade,blade-tf
"""
import argparse
import dataclasses
import json
import multiprocessing
import pathlib
import sys
import time

import numpy as np

import engines
import machine
import models

REST_S = 0.05  # between blocks, for a pool that still spins


class Worker:
    """An engine in its own process."""

    def __init__(self, name):
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=engines.serve, args=(theirs, name), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, *command):
        """The worker's answer; RuntimeError where it failed or died."""
        try:
            self.connection.send(command)
            state, answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(5)
            raise RuntimeError(f"the process ended with status {self.process.exitcode}") from None
        if state != "ok":
            raise RuntimeError(answer)
        return answer

    def stop(self):
        self.connection.close()
        self.process.join(20)
        if self.process.is_alive():
            self.process.terminate()


def largest_difference(got, want):
    """Largest difference over all outputs, each relative to its largest value."""
    worst = 0.0
    for a, b in zip(got, want):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.shape != b.shape:
            return float("inf")
        if a.size:
            worst = max(worst, float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)))
    return worst


def measure(model, feeds, arguments):
    """{engine: result} of one model at one batch, and the notes about those that did not run."""
    workers, results, notes = {}, {}, []

    def drop(name, error):
        notes.append(f"{model.name}: {name} is left out: {error}")
        print("note: " + notes[-1], flush=True)
        workers.pop(name).stop()
        results.pop(name, None)

    reference = None
    for name in arguments.engines:
        workers[name] = Worker(name)
        try:
            loaded = workers[name].ask("load", model, feeds, arguments.threads)
            if loaded["reference"] is not None:
                reference = loaded["reference"]
            if name == arguments.tolerance_of and reference is not None:
                model = dataclasses.replace(model, tolerance=largest_difference(loaded["outputs"], reference))
            results[name] = {"version": loaded["version"], "outputs": loaded["outputs"], "rounds_ms": []}
        except RuntimeError as error:
            drop(name, error)
    for i in range(arguments.rounds):
        order = list(workers)
        shift = i % len(order) if order else 0
        for name in order[shift:] + order[:shift]:
            try:
                times = workers[name].ask("block", arguments.warm_up, arguments.runs, arguments.least,
                                          arguments.pause_ms * 1e-3)
                results[name]["rounds_ms"].append([1e3 * t for t in times])
            except RuntimeError as error:
                drop(name, error)
            time.sleep(REST_S)
    for worker in list(workers.values()):
        try:
            worker.ask("close")
        except RuntimeError:
            pass
        worker.stop()
    for result in results.values():
        summarize(result, reference)
    add_ratios(results)
    return results, notes


def summarize(result, reference):
    """Replaces the single times by figures."""
    rounds = result.pop("rounds_ms")
    times = np.concatenate(rounds)
    p10, median, p90 = np.percentile(times, [10, 50, 90])
    outputs = result.pop("outputs")
    result.update(median_ms=median, p10_ms=p10, p90_ms=p90, best_ms=times.min(), runs=len(times),
                  round_medians_ms=[float(np.median(r)) for r in rounds],
                  difference=largest_difference(outputs, reference) if reference is not None else None)
    for key in ("median_ms", "p10_ms", "p90_ms", "best_ms"):
        result[key] = float(result[key])


def add_ratios(results):
    """Adds how many times as fast as TensorFlow and as the fastest peer of its own precision each engine is."""
    for name, result in results.items():
        peers = engines.PEERS["bf16" if name.endswith("-bf16") else "fp32"]
        others = [results[peer]["median_ms"] for peer in peers if peer in results and peer != name]
        tensorflow = results.get("tensorflow")
        result["speed_to_tensorflow"] = tensorflow["median_ms"] / result["median_ms"] if tensorflow else None
        result["speed_to_fastest_peer"] = min(others) / result["median_ms"] if others else None


def print_table(rows):
    """rows: (model, batch, results)."""
    print(f"\n{'model':<20}{'batch':>6}  {'engine':<15}{'median ms':>11}{'p10..p90 ms':>20}{'x TensorFlow':>14}"
          f"{'x best peer':>13}{'difference':>12}")

    def number(value, pattern):
        return "-" if value is None else pattern.format(value)

    for model, batch, results in rows:
        for name, r in sorted(results.items(), key=lambda item: item[1]["median_ms"]):
            print(f"{model:<20}{batch or 'stored':>6}  {name:<15}{r['median_ms']:>11.3f}"
                  f"{'{:.3f}..{:.3f}'.format(r['p10_ms'], r['p90_ms']):>20}"
                  f"{number(r['speed_to_tensorflow'], '{:.2f}'):>14}{number(r['speed_to_fastest_peer'], '{:.2f}'):>13}"
                  f"{number(r['difference'], '{:.1e}'):>12}")


def print_means(rows):
    """Geometric mean of each engine's speed over the fastest peer of its precision, over the rows that have both."""
    for name in engines.ENGINES:
        speeds = [results[name]["speed_to_fastest_peer"] for _, _, results in rows if name in results]
        speeds = [s for s in speeds if s]
        if len(speeds) > 1:
            print(f"{name:<15} geometric mean over {len(speeds)} cases: {np.exp(np.mean(np.log(speeds))):.2f} x "
                  f"the fastest other peer, worst {min(speeds):.2f}")


def print_static_against_tuned(rows):
    """How many times the tuned files' time the choice by prediction takes, where both ran."""
    for static, tuned in (("blade-static", "blade"), ("blade-static-bf16", "blade-bf16")):
        both = [(results[static]["median_ms"] / results[tuned]["median_ms"], model) for model, _, results in rows
                if static in results and tuned in results]
        if both:
            print(f"choice by prediction over choice by measurement ({tuned}): geometric mean "
                  f"{np.exp(np.mean([np.log(ratio) for ratio, _ in both])):.2f}, largest {max(both)[0]:.2f} ({max(both)[1]})")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet50", help="comma-separated names, or 'all' (default: resnet50)")
    parser.add_argument("--models-dir", default=str(models.default_models_dir()), help="folder of NAME.pb and NAME.npz")
    parser.add_argument("--batches", default="1", help="comma-separated; 0 is the stored case's own (default: 1)")
    parser.add_argument("--engines", default="tensorflow,onnxruntime,openvino,blade,blade-tf",
                        help="comma-separated of: " + ", ".join(engines.ENGINES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=20, help="least number of timed runs in a block (default: 20)")
    parser.add_argument("--least", type=float, default=0.5, help="least seconds of timed runs in a block")
    parser.add_argument("--warm-up", type=float, default=0.3, help="seconds of warm-up in a block")
    parser.add_argument("--pause-ms", type=float, default=0, help="sleep before every run (default: back to back)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tolerance-of", metavar="ENGINE", default="",
                        help="let Blade differ from TensorFlow's answers as much as this engine does (default: its own tolerance)")
    parser.add_argument("--out", default=str(engines.CACHE / "peers.json"), help="where the JSON goes")
    arguments = parser.parse_args()
    known = models.available(arguments.models_dir)
    arguments.models = known if arguments.models == "all" else arguments.models.split(",")
    arguments.engines = arguments.engines.split(",")
    if arguments.tolerance_of:  # known before Blade is loaded
        first = ["tensorflow", arguments.tolerance_of]
        arguments.engines = first + [name for name in arguments.engines if name not in first]
    arguments.batches = [int(b) for b in arguments.batches.split(",")]
    for given, choices, what in ((arguments.models, known, "model"), (arguments.engines, engines.ENGINES, "engine")):
        for name in given:
            if name not in choices:
                parser.error(f"there is no {what} '{name}'; known are {', '.join(choices)}.")
    return arguments


def main():
    arguments = parse()
    report = {"machine": machine.describe(arguments.threads), "results": [], "notes": []}
    print(json.dumps(report["machine"]), flush=True)
    rows = []
    for name in arguments.models:
        model = models.load(name, arguments.models_dir)
        for batch in arguments.batches:
            stored = next(iter(model.feeds.values())).shape[0]
            if batch not in (0, stored) and not models.has_dynamic_batch(model):
                report["notes"].append(f"{name}: batch {batch} is left out: the graph has a fixed batch of {stored}")
                print("note: " + report["notes"][-1], flush=True)
                continue
            results, notes = measure(model, models.at_batch(model, batch), arguments)
            report["notes"] += notes
            report["results"].append({"model": name, "batch": batch, "engines": results})
            rows.append((name, batch, results))
            print_table(rows[-1:])
    if len(rows) > 1:
        print_table(rows)
        print_means(rows)
    print_static_against_tuned(rows)
    out = pathlib.Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1))
    print(f"\nwrote {out}")
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
