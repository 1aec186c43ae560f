"""PyTorch's times for a BERT-base encoder in float16 (eager, CUDA graph, torch.compile) and for attention: what Blade's
are compared with (`blade profile` of examples/bert, `gpu_rows 4.2 attention`).

  bench/gpu_transformers.py bert --batch 1 --length 128
  bench/gpu_transformers.py attention

Medians of CUDA-event times, inputs on the device. With --wait FILE what is compiled is ready before the file is waited for.
"""
import argparse
import os
import time

import torch
import torch.nn.functional as functional
from torch import nn

from gpu_products import microseconds

HIDDEN, HEADS, LAYERS = 768, 12, 12
ROUNDS, BLOCK_RUNS, WARM_UP = 8, 40, 10

# batch, heads, queries, keys, depth, type: like those of gpu_rows.
ATTENTION = [(1, 12, 128, 128, 64, torch.half), (32, 12, 128, 128, 64, torch.half), (1, 12, 512, 512, 64, torch.half),
             (1, 12, 2048, 2048, 64, torch.half), (1, 16, 4096, 4096, 64, torch.half),
             (1, 16, 4096, 4096, 128, torch.half), (1, 32, 1, 512, 128, torch.half), (1, 32, 1, 2048, 128, torch.half),
             (1, 32, 1, 4096, 128, torch.half), (8, 32, 1, 2048, 128, torch.half), (1, 12, 1, 1024, 64, torch.half),
             (1, 32, 8, 2048, 128, torch.half), (1, 12, 128, 128, 64, torch.float),
             (1, 12, 512, 512, 64, torch.float), (1, 12, 2048, 2048, 64, torch.float),
             (1, 32, 1, 2048, 128, torch.float)]


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(HIDDEN, HIDDEN) for _ in range(4))
        self.widen, self.narrow = nn.Linear(HIDDEN, 4 * HIDDEN), nn.Linear(4 * HIDDEN, HIDDEN)
        self.first, self.second = nn.LayerNorm(HIDDEN, 1e-12), nn.LayerNorm(HIDDEN, 1e-12)

    def forward(self, x, bias):
        batch, length, _ = x.shape
        q, k, v = (one(x).view(batch, length, HEADS, -1).transpose(1, 2) for one in (self.query, self.key, self.value))
        context = functional.scaled_dot_product_attention(q, k, v, bias).transpose(1, 2).reshape(batch, length, HIDDEN)
        x = self.first(self.output(context) + x)
        return self.second(self.narrow(functional.gelu(self.widen(x))) + x)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.segments, self.positions = (nn.Embedding(n, HIDDEN) for n in (30522, 2, 512))
        self.norm, self.pooler = nn.LayerNorm(HIDDEN, 1e-12), nn.Linear(HIDDEN, HIDDEN)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, ids, mask, segments):
        bias = ((1 - mask[:, None, None, :].to(torch.half)) * -10000.0)
        x = self.norm(self.words(ids) + self.segments(segments) + self.positions.weight[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x, bias)
        return x, torch.tanh(self.pooler(x[:, 0]))


def bert_calls(batch, length):
    """{kind: a function without arguments}, warm."""
    network = Encoder().eval().cuda().half()
    ids = torch.randint(0, 30522, (batch, length), device="cuda", dtype=torch.int32)
    feed = ids, torch.ones_like(ids), torch.zeros_like(ids)
    import torch._inductor.config as inductor

    inductor.freezing = True
    compiled = torch.compile(network, mode="reduce-overhead")
    calls = {"eager": lambda: network(*feed), "compile": lambda: compiled(*feed)}
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        network(*feed)
    calls["graph"] = graph.replay
    return calls


def bert(batch, length, wait):
    calls = bert_calls(batch, length)
    while wait and not os.path.exists(wait):
        time.sleep(0.2)
    times = {kind: [] for kind in calls}
    for _ in range(ROUNDS):
        for kind, call in calls.items():
            marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(BLOCK_RUNS)]
            for begin, end in marks:
                begin.record()
                call()
                end.record()
            torch.cuda.synchronize()
            times[kind] += [begin.elapsed_time(end) * 1e3 for begin, end in marks]
    print("bert", {kind: round(sorted(all_)[len(all_) // 2], 1) for kind, all_ in times.items()}, flush=True)


def attention():
    for batch, heads, queries, keys, depth, dtype in ATTENTION:
        q = torch.randn(batch, heads, queries, depth, device="cuda", dtype=dtype)
        k, v = (torch.randn(batch, heads, keys, depth, device="cuda", dtype=dtype) for _ in range(2))
        us = microseconds(lambda: functional.scaled_dot_product_attention(q, k, v), 20)
        print(f"attention_{batch}x{heads}x{queries}x{keys}x{depth}_{str(dtype)[6:]} {us:9.2f} us", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["bert", "attention"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--wait", help="a file that appears when times may be taken")
    arguments = parser.parse_args()
    with torch.inference_mode():
        if arguments.what == "bert":
            bert(arguments.batch, arguments.length, arguments.wait)
        else:
            attention()


if __name__ == "__main__":
    main()
