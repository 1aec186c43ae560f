"""PyTorch's matrix products with a bias in float16, in a CUDA graph: what `gpu_rows 4.2 products` compares with.

Medians of CUDA-event times of many products in one graph, each on the same operands.
"""
import torch
import torch.nn.functional as functional

# Rows, depth, columns: BERT base at batch 32, the 1x1 convolutions of ResNet-50 at batch 128, and squares.
SHAPES = [(4096, 768, 768), (4096, 768, 3072), (4096, 3072, 768), (401408, 64, 64), (401408, 64, 256),
          (401408, 256, 64), (401408, 256, 128), (100352, 128, 512), (100352, 512, 128), (100352, 512, 256),
          (25088, 256, 1024), (25088, 1024, 256), (25088, 1024, 512), (6272, 512, 2048), (6272, 2048, 512),
          (4096, 4096, 4096), (8192, 8192, 8192)]
ROUNDS = 6


def microseconds(run, copies):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        run()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(copies):
                run()
        times = []
        for _ in range(ROUNDS):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record(stream)
            graph.replay()
            end.record(stream)
            stream.synchronize()
            times.append(begin.elapsed_time(end) * 1e3 / copies)
    return sorted(times[1:])[len(times) // 2 - 1]


def main():
    for rows, depth, columns in SHAPES:
        x = torch.rand(rows, depth, device="cuda", dtype=torch.float16) * 2 - 1
        weights = torch.rand(columns, depth, device="cuda", dtype=torch.float16) * 2 - 1
        bias = torch.rand(columns, device="cuda", dtype=torch.float16)
        work = 2 * rows * depth * columns
        copies = max(2, min(40, int(2e3 / max(5, work / 6e8))))
        us = microseconds(lambda: functional.linear(x, weights, bias), copies)
        print(f"product_{rows}x{depth}x{columns} {us:9.2f} us {work / us / 1e6:6.0f} TFLOP/s", flush=True)


if __name__ == "__main__":
    main()
