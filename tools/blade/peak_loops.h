// Loops of nothing but multiply-adds, or of nothing but loads: what the machine's limits are measured with.
#pragma once

#include <cstddef>

namespace blade::command {

// `run(iterations)` returns a value that depends on the products, so that none is removed.
struct PeakLoop {
  float (*run)(long iterations) = nullptr;  // null where the processor lacks the instructions
  double operations = 0;                    // multiplications and additions of one iteration
};

PeakLoop fp32_fma_loop();  // AVX-512, else AVX2 with FMA
PeakLoop bf16_dot_loop();  // AVX512-BF16
PeakLoop int8_dot_loop();  // AVX512-VNNI, else AVX-VNNI
PeakLoop bf16_amx_loop();
PeakLoop int8_amx_loop();

// Sums `bytes` (a multiple of 512) at `data` `passes` times.
using ReadLoop = float (*)(const float* data, size_t bytes, long passes);
ReadLoop read_loop();  // AVX-512, else AVX2

}  // namespace blade::command
