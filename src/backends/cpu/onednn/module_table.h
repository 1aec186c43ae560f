// The C interface between Blade and its optional oneDNN module (libblade_onednn.so): plain structs and one function
// table.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BLADE_ONEDNN_TABLE_VERSION 1

extern "C" {

// Activations are dense NHWC; weights are HWIO [kh][kw][c / groups][oc]. What follows the convolution: bias, residual,
// clamp to [lo, hi], each where asked for.
struct BladeOneDnnConv {
  int64_t n, h, w, c, kh, kw, oc, oh, ow;
  int64_t stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups;
  int32_t has_bias, has_residual, has_clamp;
  float lo, hi;
};

// out[m][n] = a[m][k] * b, b [k][n] or, transposed, [n][k].
struct BladeOneDnnMatMul {
  int64_t m, k, n;
  int32_t b_transposed, has_bias, has_residual, has_clamp;
  float lo, hi;
};

struct BladeOneDnnRun {
  const float* in;
  const float* bias;
  const float* residual;
  float* out;
  void* scratch;
  int32_t threads;
};

// Functions return null or 0 on failure and then write a sentence to `error`.
struct BladeOneDnnTable {
  int32_t version;
  void* (*create_conv)(const BladeOneDnnConv* conv, const float* weights, int32_t threads, char* error,
                       size_t error_size);
  void* (*create_matmul)(const BladeOneDnnMatMul* matmul, const float* b, int32_t threads, char* error,
                         size_t error_size);
  size_t (*scratch_bytes)(const void* primitive);
  int32_t (*run)(const void* primitive, const BladeOneDnnRun* run, char* error, size_t error_size);
  void (*destroy)(void* primitive);
};

// The module's only exported symbol: "blade_onednn_table".
typedef const BladeOneDnnTable* (*BladeOneDnnTableFunction)(void);
}
