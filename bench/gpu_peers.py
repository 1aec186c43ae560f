"""Times ResNet-50 in float16 on a GPU: Blade against PyTorch eager, PyTorch in a CUDA graph and torch.compile.

All in one process, in alternating blocks; medians of CUDA-event times, inputs and outputs on the device. PyTorch's network
is torchvision's, channels last, float16 (weights of the same sizes; its values do not matter for time). torch.compile is
mode reduce-overhead with freezing. A peer that is missing or fails is a note, not an error.

  bench/gpu_peers.py --model frozen.pb --batches 1,8,32,128 --out result.json
"""
import argparse
import json
import sys
import time

import numpy as np

import blade

ROUNDS, BLOCK_RUNS, WARM_UP = 8, 60, 10
SIZE = 224


class BladePeer:
    """The optimized model in an engine, timed by its own events."""

    def __init__(self, path, batch, tuning_s):
        images = np.random.default_rng(batch).uniform(-120, 130, (batch, SIZE, SIZE, 3)).astype(np.float32)
        config = blade.Config()
        config.tuning.time_limit_s = tuning_s
        start = time.time()
        probe = blade.Engine(path, device="gpu")
        self.feed = {probe.inputs[0].name: images}
        del probe
        self.model, _, self.report = blade.optimize(path, "o1", "gpu", config=config, test_data=[self.feed])
        self.optimize_s = time.time() - start
        self.engine = blade.Engine(self.model, device="gpu")

    def block(self, runs):
        return self.engine.device_times(self.feed, runs)

    def host_to_host(self, runs=200):
        """Milliseconds of whole calls: arrays in, arrays out."""
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            self.engine.run(self.feed)
            times.append((time.perf_counter() - start) * 1e3)
        return float(np.median(times))


class TorchPeer:
    """torchvision's ResNet-50: 'eager', 'graph' (a CUDA graph of it) or 'compile'."""

    def __init__(self, kind, batch):
        import torch
        import torchvision

        self.torch = torch
        network = torchvision.models.resnet50().eval().cuda().half().to(memory_format=torch.channels_last)
        self.image = torch.randn(batch, 3, SIZE, SIZE, device="cuda", dtype=torch.half)
        self.image = self.image.to(memory_format=torch.channels_last)
        self.call = lambda: network(self.image)
        with torch.inference_mode():
            if kind == "compile":
                import torch._inductor.config as inductor

                inductor.freezing = True
                compiled = torch.compile(network, mode="reduce-overhead")
                self.call = lambda: compiled(self.image)
            for _ in range(WARM_UP):
                self.call()
            torch.cuda.synchronize()
            if kind == "graph":
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    network(self.image)
                self.call = graph.replay

    def block(self, runs):
        torch = self.torch
        marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(runs)]
        with torch.inference_mode():
            for start, end in marks:
                start.record()
                self.call()
                end.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) * 1e3 for start, end in marks]


def measure(path, batch, kinds, tuning_s):
    """{peer: microseconds} at one batch, and what Blade did."""
    peers, notes = {}, []
    blade_peer = BladePeer(path, batch, tuning_s)
    peers["blade"] = blade_peer
    for kind in kinds:
        try:
            peers["torch " + kind] = TorchPeer(kind, batch)
        except Exception as error:  # noqa: BLE001 - whatever a peer fails with is a note
            notes.append(f"batch {batch}: torch {kind} is left out: {error}")
    samples = {name: [] for name in peers}
    for _ in range(ROUNDS):
        for name, peer in peers.items():
            peer.block(WARM_UP)
            samples[name] += peer.block(BLOCK_RUNS)
    medians = {name: float(np.median(times)) for name, times in samples.items()}
    return {
        "batch": batch,
        "device_us": medians,
        "blade_host_to_host_ms": blade_peer.host_to_host(),
        "optimize_s": blade_peer.optimize_s,
        "accuracy": blade_peer.report.accuracy,
        "layers": blade_peer.engine.profile(blade_peer.feed, 10),
        "notes": notes,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a frozen ResNet-50 (examples/resnet50/make_model.py)")
    parser.add_argument("--batches", default="1,8,32,128")
    parser.add_argument("--peers", default="eager,graph,compile", help="of PyTorch; empty: none")
    parser.add_argument("--tuning-s", type=float, default=30, help="bound on Blade's tuning, a batch")
    parser.add_argument("--out", help="where to write everything as JSON")
    arguments = parser.parse_args()
    kinds = [kind for kind in arguments.peers.split(",") if kind]
    results = []
    for batch in arguments.batches.split(","):
        result = measure(arguments.model, int(batch), kinds, arguments.tuning_s)
        results.append(result)
        times = result["device_us"]
        row = ", ".join(f"{name} {us:.1f} us" + ("" if name == "blade" else f" ({us / times['blade']:.2f} x)")
                        for name, us in times.items())
        print(f"batch {batch}: {row}; host to host {result['blade_host_to_host_ms']:.3f} ms", flush=True)
        for note in result["notes"]:
            print("note: " + note, file=sys.stderr)
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
