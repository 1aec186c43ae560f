// Many small pieces of work in one launch: one block walks a table of them, held in shared memory.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/integer_math.cuh"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

constexpr int kSmallWarps = kSmallThreads / 32;

// An entry and what stands behind it.
struct EntryView {
  const SmallEntry& e;
  __device__ const SmallInput* inputs() const { return reinterpret_cast<const SmallInput*>(&e + 1); }
  __device__ const FastDivisor* dims() const { return reinterpret_cast<const FastDivisor*>(inputs() + e.num_inputs); }
  __device__ const int32_t* strides() const { return reinterpret_cast<const int32_t*>(dims() + e.rank); }
  __device__ const ProgramInstr* code() const {
    return reinterpret_cast<const ProgramInstr*>(strides() + (e.num_inputs + 1) * e.rank);
  }
};

// Where the operands of an element stand; the output's place comes last.
__device__ void locate(const EntryView& view, int element, int (&at)[kMaxProgramInputs + 1]) {
  const SmallEntry& e = view.e;
  for (int i = 0; i < e.num_inputs; ++i) at[i] = view.inputs()[i].offset;
  at[e.num_inputs] = e.output_offset;
  const int32_t* strides = view.strides();
  for (int d = e.rank - 1; d >= 0; --d) {
    const FastDivisor& dim = view.dims()[d];
    const int next = divide(element, dim), index = element - next * static_cast<int>(dim.divisor);
    for (int i = 0; i <= e.num_inputs; ++i) at[i] += index * strides[i * e.rank + d];
    element = next;
  }
}

__device__ void clear_unit(int unit, void* to, int j) {
  auto* bytes = static_cast<uint8_t*>(to) + static_cast<int64_t>(j) * unit;
  for (int i = 0; i < unit; ++i) bytes[i] = 0;
}

__device__ void gather_unit(const EntryView& view, const int (&at)[kMaxProgramInputs + 1]) {
  const SmallEntry& e = view.e;
  const SmallInput &params = view.inputs()[0], &indices = view.inputs()[1];
  const int64_t index = load_whole(indices.data, at[1], static_cast<ElementType>(indices.type));
  if (index >= 0 && index < e.depth) {
    copy_units(e.unit, params.data, at[0] + static_cast<int>(index) * e.depth_strides[0], e.output, at[2]);
  } else {
    clear_unit(e.unit, e.output, at[2]);
  }
}

__device__ float element_of(const SmallInput& input, int at) {
  return load_element(input.data, at, static_cast<ElementType>(input.type));
}

// A reduction or an element of a product; by the whole warp where it is long.
__device__ float folded(const EntryView& view, const int (&at)[kMaxProgramInputs + 1], int first, int step) {
  const SmallEntry& e = view.e;
  const SmallInput* inputs = view.inputs();
  const bool product = e.kind == SmallKind::kProduct;
  float value = identity_of(e.op);
  for (int i = first; i < e.depth; i += step) {
    const float a = element_of(inputs[0], at[0] + i * e.depth_strides[0]);
    value = fold(e.op, value, product ? a * element_of(inputs[1], at[1] + i * e.depth_strides[1]) : a);
  }
  for (int d = 16; step > 1 && d > 0; d >>= 1) value = fold(e.op, value, __shfl_xor_sync(~0u, value, d));
  return value * e.scale;
}

// The program over the inputs from `first` on, behind what has been computed.
__device__ void finish(const EntryView& view, const int (&at)[kMaxProgramInputs + 1], bool has_value, float value) {
  const SmallEntry& e = view.e;
  const int skipped = has_value ? (e.kind == SmallKind::kProduct ? 2 : 1) : 0;
  if (e.num_code > 0) {
    float values[kMaxProgramInputs + kMaxProgramCode];
    int count = 0;
    if (has_value) values[count++] = value;
    for (int i = skipped; i < e.num_inputs; ++i) values[count++] = element_of(view.inputs()[i], at[i]);
    value = run_code(view.code(), e.num_code, count, values);
  }
  store_element(e.output, at[e.num_inputs], static_cast<ElementType>(e.output_type), value);
}

__device__ __noinline__ void integers(const EntryView& view, const int (&at)[kMaxProgramInputs + 1]) {
  const SmallEntry& e = view.e;
  int64_t values[kMaxProgramInputs + kMaxProgramCode];
  for (int i = 0; i < e.num_inputs; ++i) {
    values[i] = load_whole(view.inputs()[i].data, at[i], static_cast<ElementType>(view.inputs()[i].type));
  }
  store_whole(e.output, at[e.num_inputs], static_cast<ElementType>(e.output_type),
              run_integers(view.code(), e.num_code, e.num_inputs, e.whole, values));
}

__device__ void run_warp(const EntryView& view, int warp, int lane) {
  const SmallEntry& e = view.e;
  const bool sums = e.kind == SmallKind::kReduce || e.kind == SmallKind::kProduct;
  const bool together = sums && e.depth > kSmallSerialDepth;
  const int element = together ? warp : warp * 32 + lane;
  if (element >= e.count) return;  // a warp's lanes alike where they work together
  int at[kMaxProgramInputs + 1];
  locate(view, element, at);
  switch (e.kind) {
    case SmallKind::kCopy:
      return copy_units(e.unit, view.inputs()[0].data, at[0], e.output, at[1]);
    case SmallKind::kGather:
      return gather_unit(view, at);
    case SmallKind::kCast:
      return cast_element(view.inputs()[0].data, at[0], view.inputs()[0].type, e.output, at[1], e.output_type);
    case SmallKind::kIntegers:
      return integers(view, at);
    case SmallKind::kProgram:
      return finish(view, at, false, 0.0f);
    default: {
      const float value = folded(view, at, together ? lane : 0, together ? 32 : 1);
      if (!together || lane == 0) finish(view, at, true, value);
    }
  }
}

__global__ void __launch_bounds__(kSmallThreads) small_work(const __grid_constant__ SmallParams p) {
  extern __shared__ __align__(16) uint8_t table[];
  const int thread = static_cast<int>(threadIdx.x), lane = thread & 31;
  for (int i = thread; i < p.bytes / 16; i += kSmallThreads) {
    reinterpret_cast<uint4*>(table)[i] = static_cast<const uint4*>(p.table)[i];
  }
  start_later();
  __syncthreads();
  wait_for_earlier();
  const auto* first_entry = reinterpret_cast<const int32_t*>(table);
  const int32_t *warps = first_entry + p.levels + 1, *entry_at = warps + p.levels;
  for (int level = 0; level < p.levels; ++level) {
    int entry = first_entry[level];
    const int last = first_entry[level + 1];
    for (int warp = thread / 32; warp < warps[level]; warp += kSmallWarps) {
      const auto at = [&](int i) -> const SmallEntry& {
        return *reinterpret_cast<const SmallEntry*>(table + entry_at[i]);
      };
      while (entry + 1 < last && at(entry + 1).first_warp <= warp) ++entry;
      if (at(entry).kernel < p.count) run_warp({at(entry)}, warp - at(entry).first_warp, lane);
    }
    __syncthreads();
  }
}

}  // namespace

const void* small_work_kernel() { return reinterpret_cast<const void*>(&small_work); }

}  // namespace blade::backends::cuda
