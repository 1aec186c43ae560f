// Rows for MatMul: constant right-hand sides are packed once, anything else at every run.
#include "backends/cpu/blockings.h"
#include "backends/cpu/broadcast.h"
#include "backends/cpu/cast_fusion.h"
#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/amx_split.h"
#include "backends/cpu/matrix/gemm.h"
#include "backends/cpu/packed_weights.h"
#include "backends/cpu/row_functions.h"

namespace blade::backends::cpu {
namespace {

// Core arithmetic rate that predictions assume, in flops a microsecond: only ratios between rows matter.
constexpr double kFlopsPerMicrosecond = 60e3;
constexpr double kMicrosecondsPerItem = 0.15;  // of a batch: packing that begins anew
constexpr double kAmxSpeed = 13;               // of tile registers, whose rows are computed in sixteens

constexpr MatrixUnit kVectors = MatrixUnit::kVectors, kTiles = MatrixUnit::kTiles;

struct Matrices {
  int64_t m = 0, k = 0, n = 0;
  int64_t a_row = 0, a_col = 1, b_row = 0, b_col = 1;  // strides
  int64_t batch = 1;                                   // of the output
};

const ir::MatMulAttrs& attrs_of(const KernelRequest& request) { return request.node->get<ir::MatMulAttrs>(); }

Matrices matrices_of(const KernelRequest& request) {
  const ir::MatMulAttrs& attrs = attrs_of(request);
  const ir::Dims &a = request.inputs[0].dims, &b = request.inputs[1].dims, &out = request.outputs[0].dims;
  Matrices m;
  m.m = out[out.size() - 2];
  m.n = out.back();
  m.k = attrs.transpose_a ? a[a.size() - 2] : a.back();
  m.a_row = attrs.transpose_a ? 1 : a.back();
  m.a_col = attrs.transpose_a ? a.back() : 1;
  m.b_row = attrs.transpose_b ? 1 : b.back();
  m.b_col = attrs.transpose_b ? b.back() : 1;
  m.batch = product(out, 0, out.size() - 2);
  return m;
}

template <class T, MatrixUnit kUnit = kVectors>
Support supports_any(const KernelRequest& request) {
  if constexpr (kUnit == kTiles) {
    if (Support s = tiles_support(request); !s.ok) return s;
  }
  if (Support s = machine_support<T>(request); !s.ok) return s;
  for (const TensorDesc& desc : {request.inputs[0], request.inputs[1], request.outputs[0]}) {
    if (desc.dtype != kElement<T>) {
      return Support::no(std::string("has type ") + ir::dtype_name(desc.dtype) + ", needs " +
                         ir::dtype_name(kElement<T>));
    }
    if (desc.dims.size() < 2) return Support::no("an operand has fewer than two dims");
    if (desc.element_count() == 0) return Support::no("an operand or the result is empty");
  }
  return LoweredEpilogue::supports(request, attrs_of(request).epilogue, 2, kElement<T>);
}

template <class T, MatrixUnit kUnit = kVectors>
Support supports_packed(const KernelRequest& request) {
  if (Support s = supports_any<T, kUnit>(request); !s.ok) return s;
  if (request.constants.size() < 2 || request.constants[1] == nullptr) return Support::no("b is not constant");
  const ir::Dims& b = request.inputs[1].dims;
  if (product(b, 0, b.size() - 2) != 1) return Support::no("b is a batch of matrices, needs one matrix");
  if (attrs_of(request).transpose_a) return Support::no("a is transposed");
  return Support::yes();
}

// One matrix and no transposed a is better off as one product of all rows.
template <class T>
Support supports_packed_batch(const KernelRequest& request) {
  if (Support s = supports_any<T>(request); !s.ok) return s;
  if (request.constants.size() < 2 || request.constants[1] == nullptr) return Support::no("b is not constant");
  if (supports_packed<T>(request).ok) return Support::no("b is one matrix");
  return Support::yes();
}

// Of `batch` products of m rows.
double product_us(const KernelRequest& request, int64_t batch, int64_t m, MatrixUnit unit) {
  const Matrices of = matrices_of(request);
  const int64_t rows = batch * (unit == kTiles ? ceil_div(m, kAmxRows) * kAmxRows : m);
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(of.k) * static_cast<double>(of.n);
  const double rate = kFlopsPerMicrosecond * (unit == kTiles ? kAmxSpeed : 1);
  return 1 + flops / (rate * std::max(1, request.num_threads));
}

template <MatrixUnit kUnit = kVectors>
double packed_us(const KernelRequest& request) {
  const Matrices m = matrices_of(request);
  return product_us(request, 1, m.batch * m.m, kUnit);
}

double packed_batch_us(const KernelRequest& request) {
  constexpr double kPerItem = kMicrosecondsPerItem / 3;
  const Matrices m = matrices_of(request);
  return product_us(request, m.batch, m.m, kVectors) + kPerItem * static_cast<double>(m.batch) / request.num_threads;
}

// Packing b reads and writes it once more.
template <MatrixUnit kUnit = kVectors>
double batched_us(const KernelRequest& request) {
  const Matrices m = matrices_of(request);
  return product_us(request, m.batch, m.m, kUnit) + 1 + static_cast<double>(request.inputs[1].bytes()) / 4000 +
         kMicrosecondsPerItem * static_cast<double>(m.batch) / std::max(1, request.num_threads);
}

template <class T, class Out = T, MatrixUnit kUnit = kVectors>
Result<std::unique_ptr<Kernel>> create_packed(const KernelRequest& request, PackCache& packs) {
  const Matrices m = matrices_of(request);
  const LoweredEpilogue epilogue(request, attrs_of(request).epilogue, 2, kElement<T>);
  const Blocking blocking = blocking_for(request, kUnit);
  const std::string layout = "gemm_b:" + std::to_string(m.k) + ":" + std::to_string(m.n) +
                             (attrs_of(request).transpose_b ? ":t" : "") + ":" + std::to_string(blocking.vectors);
  const auto view_of = [&](const void* data) {
    return packed_b_view(packed_steps<T>(1, m.k), m.n, data, kUnit, blocking.vectors);
  };
  BLADE_ASSIGN_OR_RETURN(
      const auto packed,
      packed_weights<T>(request, packs, layout, view_of(nullptr).bytes(), [&](const T* from, void* to) {
        pack_runs(from, 1, m.k, m.n, m.b_row, m.b_col, to, blocking.vectors);
      }));
  const PackedB view = view_of(packed->data());
  const int64_t rows = m.batch * m.m;
  return make_kernel(
      [=](const KernelArgs& args) {
        (void)packed;  // keeps the panels alive
        LoweredEpilogue::BoundTo<T> bound;
        epilogue.bind(args, bound);
        gemm(rows, m.k, input<T>(args, 0), m.k, view, output<Out>(args), m.n, bound.raw, *args.pool, args.scratch,
             blocking);
        return Status::ok_status();
      },
      epilogue.in_place_inputs(), gemm_scratch_bytes<T>(rows, m.k, m.n, request.num_threads, kUnit, blocking.vectors),
      kWeightsPacked);
}

std::vector<Blocking> packed_blockings(const KernelRequest& request) {
  return product_blockings(request, request.outputs[0].dims.back());
}

// --- float32 by pieces of bfloat16, on tile registers ---

Support supports_split_matmul(const KernelRequest& request) {
  if (Support s = split_support(request); !s.ok) return s;
  return supports_packed<float>(request);
}

double split_matmul_us(const KernelRequest& request) {
  const Matrices m = matrices_of(request);
  const int threads = std::max(1, request.num_threads);
  Conv2DShape on_vectors;
  on_vectors.w = on_vectors.ow = m.batch * m.m;
  on_vectors.c = m.k;
  on_vectors.oc = m.n;
  return packed_us<>(request) * split_product_us(m.batch * m.m, m.k, m.n, threads) /
         conv_cost_us(on_vectors, ConvAlgorithm::kDirect, threads);
}

Result<std::unique_ptr<Kernel>> create_split_matmul(const KernelRequest& request, PackCache& packs) {
  const Matrices m = matrices_of(request);
  const LoweredEpilogue epilogue(request, attrs_of(request).epilogue, 2);
  BLADE_ASSIGN_OR_RETURN(
      const auto packed,
      packed_weights(request, packs, layout_name("split_b", {m.k, m.n, m.b_col}), packed_split_bytes(m.k, m.n),
                     [&](const float* from, void* to) { pack_split_b(from, m.k, m.n, m.b_row, m.b_col, to); }));
  return make_split_product(m.batch * m.m, m.k, m.n, packed, epilogue, request.num_threads);
}

template <MatrixUnit kUnit>
MatMulShape batched_shape(const Matrices& m) {
  MatMulShape shape;
  shape.batch = m.batch;
  shape.m = m.m;
  shape.k = m.k;
  shape.n = m.n;
  shape.a_row_stride = m.a_row;
  shape.a_col_stride = m.a_col;
  shape.b_row_stride = m.b_row;
  shape.b_col_stride = m.b_col;
  shape.c_batch_stride = m.m * m.n;
  shape.c_row_stride = m.n;
  shape.unit = kUnit;
  return shape;
}

// All matrices of a constant b, in their order.
template <class T>
Result<std::shared_ptr<const AlignedBuffer>> packed_matrices(const KernelRequest& request, const Matrices& m,
                                                             PackCache& packs) {
  const int64_t count = request.inputs[1].element_count() / (m.k * m.n);
  const size_t bytes = packed_b_view(packed_steps<T>(1, m.k), m.n, nullptr).bytes();
  const std::string layout = layout_name("gemm_b_batch", {m.k, m.n, m.b_col});
  return packed_weights<T>(request, packs, layout, static_cast<size_t>(count) * bytes, [&](const T* from, void* to) {
    for (int64_t i = 0; i < count; ++i) {
      pack_runs(from + i * m.k * m.n, 1, m.k, m.n, m.b_row, m.b_col, static_cast<std::byte*>(to) + i * bytes);
    }
  });
}

template <class T, class Out = T, MatrixUnit kUnit = kVectors, bool kPacked = false>
Result<std::unique_ptr<Kernel>> create_batched(const KernelRequest& request, PackCache& packs) {
  const Matrices m = matrices_of(request);
  const LoweredEpilogue epilogue(request, attrs_of(request).epilogue, 2, kElement<T>);
  MatMulShape shape = batched_shape<kUnit>(m);
  std::shared_ptr<const AlignedBuffer> packed;
  if constexpr (kPacked) {
    BLADE_ASSIGN_OR_RETURN(packed, packed_matrices<T>(request, m, packs));
    shape.packed_b = packed->data();
  }
  const auto a_offsets =
      std::make_shared<const std::vector<int64_t>>(batch_offsets(request.inputs[0].dims, request.outputs[0].dims));
  const auto b_offsets =
      std::make_shared<const std::vector<int64_t>>(batch_offsets(request.inputs[1].dims, request.outputs[0].dims));
  shape.a_offsets = a_offsets->data();
  shape.b_offsets = b_offsets->data();
  return make_kernel(
      [=](const KernelArgs& args) {
        (void)a_offsets;  // kept alive for the shape
        (void)b_offsets;
        (void)packed;
        LoweredEpilogue::BoundTo<T> bound;
        epilogue.bind(args, bound);
        const T* b = kPacked ? nullptr : input<T>(args, 1);
        matmul(shape, input<T>(args, 0), b, output<Out>(args), bound.raw, *args.pool, args.scratch);
        return Status::ok_status();
      },
      epilogue.in_place_inputs(), matmul_scratch_bytes<T>(shape, request.num_threads), kPacked ? kWeightsPacked : 0);
}

// Batches of small products: b is read where it lies, by each row of a.
bool rows_are_combined(const KernelRequest& request) {
  return !attrs_of(request).transpose_b || matrices_of(request).k == 1;  // else each number is a product of two rows
}

Support supports_product_rows(const KernelRequest& request) {
  if (Support s = supports_any<float>(request); !s.ok) return s;
  const Matrices m = matrices_of(request);
  if (!attrs_of(request).epilogue.empty()) return Support::no("something is joined to it");
  if (m.a_col != 1) return Support::no("a is transposed");
  if (m.batch < 2) return Support::no("is a single product");
  if (m.m > 16 || m.k * m.n > 4096) return Support::no("the products are large enough to pack b");
  return Support::yes();
}

double product_rows_us(const KernelRequest& request) {
  constexpr double kPerRow = 0.01, kPerVector = 0.0005;
  const Matrices m = matrices_of(request);
  const int64_t along = rows_are_combined(request) ? m.n : m.k, across = rows_are_combined(request) ? m.k : m.n;
  const double per_row = kPerRow + kPerVector * static_cast<double>(across * ceil_div(along, int64_t{16}));
  return 1 + static_cast<double>(m.batch * m.m) * per_row / std::max(1, request.num_threads);
}

Result<std::unique_ptr<Kernel>> create_product_rows(const KernelRequest& request, PackCache&) {
  const Matrices m = matrices_of(request);
  const bool combined = rows_are_combined(request);
  const auto a_offsets = batch_offsets(request.inputs[0].dims, request.outputs[0].dims);
  const auto b_offsets = batch_offsets(request.inputs[1].dims, request.outputs[0].dims);
  const RowFunctions& f = row_functions();
  return make_kernel([=, &f](const KernelArgs& args) {
    const double work = static_cast<double>(m.m) * (10 + static_cast<double>(m.k * m.n) / 8);
    parallel_ranges(args.pool, m.batch, work, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float* a = input<float>(args, 0) + a_offsets[static_cast<size_t>(i)];
        const float* b = input<float>(args, 1) + b_offsets[static_cast<size_t>(i)];
        float* out = output<float>(args) + i * m.m * m.n;
        for (int64_t r = 0; r < m.m; ++r, a += m.a_row, out += m.n) {
          if (combined) {
            f.combine(a, b, m.b_row, m.k, 1, out, m.n);
          } else {
            f.dots(a, b, m.b_col, m.n, out, m.k);
          }
        }
      }
    });
    return Status::ok_status();
  });
}

constexpr KernelEntry kMatmulRows[] = {
    {"cpu.matmul.packed_f32", ir::Op::kMatMul, supports_packed<float>, packed_us<>, create_packed<float>,
     packed_blockings},
    on_tiles(
        {"cpu.matmul.split_amx_f32", ir::Op::kMatMul, supports_split_matmul, split_matmul_us, create_split_matmul}),
    {"cpu.matmul.packed_batch_f32", ir::Op::kMatMul, supports_packed_batch<float>, packed_batch_us,
     create_batched<float, float, kVectors, true>},
    {"cpu.matmul.batched_f32", ir::Op::kMatMul, supports_any<float>, batched_us<>, create_batched<float>},
    {"cpu.matmul.rows_f32", ir::Op::kMatMul, supports_product_rows, product_rows_us, create_product_rows},
    {"cpu.matmul.packed_bf16", ir::Op::kMatMul, supports_packed<BFloat16>, packed_us<>, create_packed<BFloat16>,
     packed_blockings},
    on_tiles({"cpu.matmul.packed_amx_bf16", ir::Op::kMatMul, supports_packed<BFloat16, kTiles>, packed_us<kTiles>,
              create_packed<BFloat16, BFloat16, kTiles>}),
    {"cpu.matmul.packed_batch_bf16", ir::Op::kMatMul, supports_packed_batch<BFloat16>, packed_batch_us,
     create_batched<BFloat16, BFloat16, kVectors, true>},
    {"cpu.matmul.batched_bf16", ir::Op::kMatMul, supports_any<BFloat16>, batched_us<>, create_batched<BFloat16>},
    on_tiles({"cpu.matmul.batched_amx_bf16", ir::Op::kMatMul, supports_any<BFloat16, kTiles>, batched_us<kTiles>,
              create_batched<BFloat16, BFloat16, kTiles>}),
};

template <Support (*kSupports)(const KernelRequest&)>
constexpr auto kSupportsToF32 = supports_to_f32<ir::Op::kMatMul, kSupports>;

constexpr KernelEntry kMatmulToF32Rows[] = {
    {"cpu.matmul.packed_bf16_to_f32", ir::Op::kCast, kSupportsToF32<supports_packed<BFloat16>>,
     us_with_cast<packed_us<>>, create_with_cast<create_packed<BFloat16, float>>,
     blockings_with_cast<packed_blockings>},
    on_tiles({"cpu.matmul.packed_amx_bf16_to_f32", ir::Op::kCast, kSupportsToF32<supports_packed<BFloat16, kTiles>>,
              us_with_cast<packed_us<kTiles>>, create_with_cast<create_packed<BFloat16, float, kTiles>>}),
    {"cpu.matmul.batched_bf16_to_f32", ir::Op::kCast, kSupportsToF32<supports_any<BFloat16>>,
     us_with_cast<batched_us<>>, create_with_cast<create_batched<BFloat16, float>>},
    on_tiles({"cpu.matmul.batched_amx_bf16_to_f32", ir::Op::kCast, kSupportsToF32<supports_any<BFloat16, kTiles>>,
              us_with_cast<batched_us<kTiles>>, create_with_cast<create_batched<BFloat16, float, kTiles>>}),
};

}  // namespace

std::span<const KernelEntry> matmul_rows() { return kMatmulRows; }
std::span<const KernelEntry> matmul_to_f32_rows() { return kMatmulToF32Rows; }

}  // namespace blade::backends::cpu
