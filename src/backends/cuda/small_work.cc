// Joins small kernels: puts their pieces in levels by who reads what whom wrote, and writes the table of one launch;
// those that work on rows stand beside each other.
#include "backends/cuda/small_work.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "backends/cuda/kernel_support.h"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

constexpr int64_t kMostWarps = 128;       // of a piece: more are faster on many SMs
constexpr int64_t kMostDepth = 4096;      // of a sum that a warp divides among its lanes
constexpr int64_t kMostSerialRounds = 8;  // of a warp that adds
constexpr int kMostTableBytes = 96 << 10;
constexpr size_t kTableAlignment = 16;

bool adds(const SmallPiece& piece) { return piece.kind == SmallKind::kReduce || piece.kind == SmallKind::kProduct; }

int64_t warps_of(const SmallPiece& piece) {
  const int64_t count = product(piece.dims);
  return adds(piece) && piece.depth > kSmallSerialDepth ? count : ceil_div(count, int64_t{32});
}

bool is_small(const SmallPiece& piece) {
  if (piece.dims.size() > kMaxRank || piece.inputs.size() > kMaxProgramInputs) return false;
  if (adds(piece) && (piece.depth > kMostDepth || warps_of(piece) * ceil_div(piece.depth, int64_t{32}) >
                                                      kMostSerialRounds * (kSmallThreads / 32) * 2)) {
    return false;
  }
  return warps_of(piece) <= kMostWarps;
}

struct Range {
  const std::byte *begin, *end;
  bool meets(const Range& other) const { return begin < other.end && other.begin < end; }
};

std::vector<Range> ranges(std::span<const void* const> pointers, const std::vector<size_t>& bytes) {
  std::vector<Range> made;
  for (size_t i = 0; i < pointers.size(); ++i) {
    const auto* begin = static_cast<const std::byte*>(pointers[i]);
    if (begin != nullptr) made.push_back({begin, begin + bytes[i]});
  }
  return made;
}

bool any_meet(const std::vector<Range>& a, const std::vector<Range>& b) {
  return std::any_of(a.begin(), a.end(), [&](const Range& range) {
    return std::any_of(b.begin(), b.end(), [&](const Range& other) { return range.meets(other); });
  });
}

// What a kernel reads and writes, and the level in which it may run.
struct Placed {
  std::vector<Range> reads, writes;
  int level = 0;
};

Placed placed(const BoundKernel& bound, const SmallWork& work, const std::vector<Placed>& before) {
  Placed place;
  place.reads = ranges(bound.args.inputs, work.input_bytes);
  std::vector<const void*> outputs(bound.args.outputs.begin(), bound.args.outputs.end());
  place.writes = ranges(outputs, work.output_bytes);
  for (const Placed& other : before) {
    const bool waits = any_meet(place.reads, other.writes) || any_meet(place.writes, other.writes) ||
                       any_meet(place.writes, other.reads);
    if (waits) place.level = std::max(place.level, other.level + 1);
  }
  return place;
}

template <class T>
void append(std::vector<std::byte>& to, const T* from, size_t count) {
  const auto* bytes = reinterpret_cast<const std::byte*>(from);
  to.insert(to.end(), bytes, bytes + count * sizeof(T));
}

std::vector<std::byte> encode(const SmallPiece& piece, const KernelArgs& args, int kernel, int64_t first_warp) {
  SmallEntry entry;
  entry.kind = piece.kind;
  entry.rank = static_cast<uint8_t>(piece.dims.size());
  entry.num_inputs = static_cast<uint8_t>(piece.inputs.size());
  entry.num_code = static_cast<uint8_t>(piece.program.num_code);
  entry.output_type = static_cast<uint8_t>(piece.output.type);
  entry.unit = static_cast<uint8_t>(piece.unit);
  entry.whole = piece.whole;
  entry.op = piece.op;
  entry.count = static_cast<int32_t>(product(piece.dims));
  entry.depth = static_cast<int32_t>(piece.depth);
  for (int i = 0; i < 2; ++i) entry.depth_strides[i] = static_cast<int32_t>(piece.depth_strides[i]);
  entry.scale = piece.scale;
  entry.first_warp = static_cast<int32_t>(first_warp);
  entry.kernel = kernel;
  entry.output_offset = static_cast<int32_t>(piece.output.offset);
  entry.output = args.outputs[static_cast<size_t>(piece.output.argument)];
  std::vector<std::byte> bytes;
  append(bytes, &entry, 1);
  for (const SmallOperand& input : piece.inputs) {
    const SmallInput made = {args.inputs[static_cast<size_t>(input.argument)], static_cast<int32_t>(input.offset),
                             input.type};
    append(bytes, &made, 1);
  }
  for (int64_t dim : piece.dims) {
    const FastDivisor divisor(dim);
    append(bytes, &divisor, 1);
  }
  const auto add_strides = [&](const SmallOperand& operand) {
    for (int64_t stride : operand.strides) {
      const auto narrow = static_cast<int32_t>(stride);
      append(bytes, &narrow, 1);
    }
  };
  for (const SmallOperand& input : piece.inputs) add_strides(input);
  add_strides(piece.output);
  append(bytes, piece.program.code, static_cast<size_t>(piece.program.num_code));
  bytes.resize(align_up(bytes.size(), kTableAlignment));
  return bytes;
}

// The table under construction.
struct Table {
  std::vector<int32_t> first_entry = {0}, warps;
  std::vector<std::vector<std::byte>> entries;

  size_t index_bytes() const {
    return align_up((first_entry.size() + warps.size() + entries.size()) * sizeof(int32_t), kTableAlignment);
  }
  std::vector<std::byte> bytes() const {
    std::vector<int32_t> entry_at;
    size_t at = index_bytes();
    for (const auto& entry : entries) {
      entry_at.push_back(static_cast<int32_t>(at));
      at += entry.size();
    }
    std::vector<std::byte> all;
    append(all, first_entry.data(), first_entry.size());
    append(all, warps.data(), warps.size());
    append(all, entry_at.data(), entry_at.size());
    all.resize(index_bytes());
    for (const auto& entry : entries) all.insert(all.end(), entry.begin(), entry.end());
    return all;
  }
};

Table make_table(std::span<const BoundKernel> kernels, std::span<const SmallWork* const> works,
                 const std::vector<Placed>& places) {
  Table table;
  int levels = 0;
  for (const Placed& place : places) levels = std::max(levels, place.level + 1);
  for (int level = 0; level < levels; ++level) {
    int64_t warps = 0;
    for (size_t k = 0; k < places.size(); ++k) {
      if (places[k].level != level) continue;
      for (const SmallPiece& piece : works[k]->pieces) {
        table.entries.push_back(encode(piece, kernels[k].args, static_cast<int>(k), warps));
        warps += warps_of(piece);
      }
    }
    table.first_entry.push_back(static_cast<int32_t>(table.entries.size()));
    table.warps.push_back(static_cast<int32_t>(warps));
  }
  return table;
}

class SmallWorkLaunch final : public JoinedKernels {
 public:
  SmallWorkLaunch(DeviceBuffer table, SmallParams params, LaunchShape shape)
      : table_(std::move(table)), params_(params), shape_(shape) {}
  Status run(void* queue, size_t count) const override {
    SmallParams p = params_;
    p.count = static_cast<int>(count);
    KernelArgs args;
    args.queue = queue;
    void* arguments[] = {&p};
    return launch(args, small_work_kernel(), shape_, arguments);
  }

 private:
  DeviceBuffer table_;
  SmallParams params_;
  LaunchShape shape_;
};

class RowsBesideLaunch final : public JoinedKernels {
 public:
  explicit RowsBesideLaunch(const RowsBesideParams& params) : params_(params) {}
  Status run(void* queue, size_t count) const override {
    RowsBesideParams p = params_;
    p.count = static_cast<int>(count);
    LaunchShape shape;
    shape.threads = kSimpleThreads;
    shape.grid.x = static_cast<unsigned>(p.first_block[count]);
    KernelArgs args;
    args.queue = queue;
    void* arguments[] = {&p};
    return launch(args, rows_beside_kernel(), shape, arguments);
  }

 private:
  RowsBesideParams params_;
};

const SmallWork* work_of(const BoundKernel& bound) {
  const auto* small = dynamic_cast<const SmallKernel*>(bound.kernel);
  return small != nullptr ? &small->work() : nullptr;
}

// Kernels of rows from the front that do not depend on each other; none if there is but one.
Result<std::unique_ptr<JoinedKernels>> join_rows(Device& device, std::span<const BoundKernel> kernels, size_t* taken) {
  RowsBesideParams params;
  std::vector<Placed> places;
  for (const BoundKernel& bound : kernels) {
    const SmallWork* work = work_of(bound);
    if (work == nullptr || !work->rows || params.count == kMostBeside) break;
    const Placed place = placed(bound, *work, places);
    if (place.level > 0) break;
    places.push_back(place);
    RowsBesideParams::Part part = work->rows->part;
    part.softmax.x = part.arg_reduce.x = bound.args.inputs[0];
    part.softmax.y = part.arg_reduce.y = bound.args.outputs[0];
    params.parts[params.count] = part;
    params.first_block[params.count + 1] = params.first_block[params.count] + work->rows->blocks;
    ++params.count;
  }
  *taken = places.size();
  if (params.count == 1) return std::unique_ptr<JoinedKernels>();
  LaunchShape shape;
  shape.threads = kSimpleThreads;
  BLADE_RETURN_IF_ERROR(prepare_launch(device, rows_beside_kernel(), shape));
  return std::unique_ptr<JoinedKernels>(std::make_unique<RowsBesideLaunch>(params));
}

SmallWork with_sizes(const KernelRequest& request) {
  SmallWork work;
  for (const TensorDesc& desc : request.inputs) work.input_bytes.push_back(desc.bytes());
  for (const TensorDesc& desc : request.outputs) work.output_bytes.push_back(desc.bytes());
  return work;
}

}  // namespace

SmallWork small_work(const KernelRequest& request, std::vector<SmallPiece> pieces) {
  if (!std::all_of(pieces.begin(), pieces.end(), is_small)) return {};
  SmallWork work = with_sizes(request);
  work.pieces = std::move(pieces);
  return work;
}

SmallWork row_work(const KernelRequest& request, const RowsBesideParams::Part& part, int blocks) {
  SmallWork work = with_sizes(request);
  work.rows = RowWork{part, blocks};
  return work;
}

Result<std::unique_ptr<JoinedKernels>> join_kernels(Device& device, std::span<const BoundKernel> kernels,
                                                    size_t* taken) {
  if (!kernels.empty() && work_of(kernels[0]) != nullptr && work_of(kernels[0])->rows) {
    return join_rows(device, kernels, taken);
  }
  std::vector<const SmallWork*> works;
  std::vector<Placed> places;
  size_t bytes = 0;
  for (const BoundKernel& bound : kernels) {
    const SmallWork* work = work_of(bound);
    if (work == nullptr || work->rows) break;
    for (const SmallPiece& piece : work->pieces) {
      bytes += encode(piece, bound.args, 0, 0).size() + 3 * sizeof(int32_t);
    }
    if (bytes > kMostTableBytes && !works.empty()) break;
    works.push_back(work);
    places.push_back(placed(bound, *work, places));
  }
  *taken = works.size();
  if (works.empty()) return internal_error("A kernel that is not small was to be joined.");
  // A launch of its own: one with more pieces than a table holds has another way to run.
  if (works.size() == 1) return std::unique_ptr<JoinedKernels>();
  const Table table = make_table(kernels.first(works.size()), works, places);
  const std::vector<std::byte> contents = table.bytes();
  SmallParams params;
  params.bytes = static_cast<int>(contents.size());
  params.levels = static_cast<int>(table.warps.size());
  params.entries = static_cast<int>(table.entries.size());
  BLADE_ASSIGN_OR_RETURN(DeviceBuffer buffer, device.upload(contents.data(), contents.size()));
  params.table = buffer.data();
  LaunchShape shape;
  shape.threads = kSmallThreads;
  shape.shared_bytes = params.bytes;
  BLADE_RETURN_IF_ERROR(prepare_launch(device, small_work_kernel(), shape));
  return std::unique_ptr<JoinedKernels>(std::make_unique<SmallWorkLaunch>(std::move(buffer), params, shape));
}

}  // namespace blade::backends::cuda
