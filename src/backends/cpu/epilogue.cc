// Peels the longest prefix of the program that raw kernels do themselves; the rest becomes a row program.
#include "backends/cpu/epilogue.h"

#include <algorithm>

namespace blade::backends::cpu {
namespace {

using ir::PointwiseInstr;
using ir::PointwiseOp;
using ir::PointwiseProgram;

// The other operand of an addition to value `current`; -1 if the instruction is something else.
int added_operand(const PointwiseInstr& instr, int current) {
  if (instr.op != PointwiseOp::kAdd || (instr.a == current) == (instr.b == current)) return -1;
  return instr.a == current ? instr.b : instr.a;
}

struct Range {
  float lo, hi;
};
std::optional<Range> clamp_of(const PointwiseInstr& instr, int current) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (instr.a != current) return std::nullopt;
  switch (instr.op) {
    case PointwiseOp::kRelu:
      return Range{0, kInfinity};
    case PointwiseOp::kRelu6:
      return Range{0, 6};
    case PointwiseOp::kClip:
      return instr.alpha <= instr.beta ? std::optional<Range>({instr.alpha, instr.beta}) : std::nullopt;
    default:
      return std::nullopt;
  }
}

// The slope of a leaky ReLU of value `current`.
std::optional<float> leaky_slope_of(const PointwiseInstr& instr, int current) {
  if (instr.op != PointwiseOp::kLeakyRelu || instr.a != current) return std::nullopt;
  return instr.alpha;
}

Curve curve_of(const PointwiseInstr& instr, int current) {
  if (instr.a != current) return Curve::kNone;
  switch (instr.op) {
    case PointwiseOp::kSwish:
      return Curve::kSwish;
    case PointwiseOp::kGeluErf:
      return Curve::kGeluErf;
    case PointwiseOp::kGeluTanh:
      return Curve::kGeluTanh;
    case PointwiseOp::kSigmoid:
      return Curve::kSigmoid;
    case PointwiseOp::kHardSigmoid:
      return Curve::kHardSigmoid;
    case PointwiseOp::kTanh:
      return Curve::kTanh;
    default:
      return Curve::kNone;
  }
}

// True if instructions from `length` on read no value that the first `length` make or overwrite, except their result.
bool can_cut(const PointwiseProgram& program, size_t length) {
  if (length == 0) return true;
  const int result = program.num_inputs + static_cast<int>(length) - 1;
  for (size_t i = length; i < program.code.size(); ++i) {
    for (int operand : {program.code[i].a, program.code[i].b, program.code[i].c}) {
      if (operand == 0 || (operand >= program.num_inputs && operand < result)) return false;
    }
  }
  return true;
}

// The program without its first `length` instructions: their result becomes input 0.
PointwiseProgram cut(const PointwiseProgram& program, size_t length) {
  PointwiseProgram rest;
  rest.num_inputs = program.num_inputs;
  const int result = program.num_inputs + static_cast<int>(length) - 1;
  auto renumber = [&](int16_t& value) {
    if (value < program.num_inputs || length == 0) return;
    value = static_cast<int16_t>(value == result ? 0 : value - static_cast<int>(length));
  };
  for (size_t i = length; i < program.code.size(); ++i) {
    PointwiseInstr instr = program.code[i];
    renumber(instr.a);
    renumber(instr.b);
    renumber(instr.c);
    rest.code.push_back(instr);
  }
  return rest;
}

// Types of the program's inputs: the product is float32, the rest are the node's.
std::vector<ir::DType> program_dtypes(const KernelRequest& request, const PointwiseProgram& program,
                                      size_t first_operand) {
  std::vector<ir::DType> dtypes(static_cast<size_t>(program.num_inputs), ir::DType::kFloat32);
  for (size_t k = 1; k < dtypes.size(); ++k) dtypes[k] = request.inputs[first_operand + k - 1].dtype;
  return dtypes;
}

}  // namespace

namespace {
int readers_of(const PointwiseProgram& program, int value) {
  int readers = 0;
  for (const PointwiseInstr& i : program.code) readers += (i.a == value) + (i.b == value) + (i.c == value);
  return readers;
}
}  // namespace

std::optional<LoweredEpilogue::Kind> LoweredEpilogue::kind_of(const KernelRequest& request, size_t input) {
  const TensorDesc &desc = request.inputs[input], &out = request.outputs[0];
  const int64_t count = desc.element_count(), channels = out.dims.back();
  if (count == 1 && channels != 1) return Kind::kScalar;
  if (count == channels && !desc.dims.empty() && desc.dims.back() == channels) return Kind::kChannels;
  if (desc.dims == out.dims) return Kind::kFull;
  if (count == 1) return Kind::kScalar;
  if (desc.dims.size() == out.dims.size() && desc.dims.back() < channels &&
      std::equal(desc.dims.begin(), desc.dims.end() - 1, out.dims.begin()))
    return Kind::kNarrow;
  return std::nullopt;
}

Support LoweredEpilogue::supports(const KernelRequest& request, const PointwiseProgram& program, size_t first_operand,
                                  ir::DType activations) {
  if (program.empty()) return Support::yes();
  if (program.num_inputs > kMaxOperands)
    return Support::no("the epilogue has more than " + std::to_string(kMaxOperands) + " operands");
  for (size_t i = first_operand; i + 1 < first_operand + static_cast<size_t>(program.num_inputs); ++i) {
    if (request.inputs[i].dtype != ir::DType::kFloat32 && request.inputs[i].dtype != activations) {
      return Support::no("epilogue operand " + std::to_string(i) + " has type " +
                         ir::dtype_name(request.inputs[i].dtype) + ", needs " + ir::dtype_name(activations));
    }
    if (!kind_of(request, i)) {
      return Support::no("epilogue operand " + std::to_string(i) +
                         " is neither a scalar, a vector of channels nor shaped like the output");
    }
  }
  const std::vector<ir::DType> dtypes = program_dtypes(request, program, first_operand);
  if (Support s = ProgramF32::supports(program, dtypes, ir::DType::kFloat32); !s.ok) return s;
  const LoweredEpilogue lowered(request, program, first_operand, activations);
  for (size_t k = 0; k < lowered.kinds_.size(); ++k) {
    if (lowered.kinds_[k] != Kind::kNarrow) continue;
    if (lowered.parts_.residual != static_cast<int>(first_operand + k) ||
        readers_of(program, static_cast<int>(k) + 1) != 1)
      return Support::no("epilogue operand " + std::to_string(first_operand + k) +
                         " has fewer channels than the output, which only a residual may");
  }
  return Support::yes();
}

LoweredEpilogue::LoweredEpilogue(const KernelRequest& request, const PointwiseProgram& program, size_t first_operand,
                                 ir::DType activations)
    : channels_(request.outputs[0].dims.back()), first_operand_(first_operand) {
  for (int k = 1; k < program.num_inputs; ++k)
    kinds_.push_back(*kind_of(request, first_operand + static_cast<size_t>(k) - 1));
  dtypes_ = program_dtypes(request, program, first_operand);
  size_t taken = 0;  // instructions known to be cuttable
  Parts next;
  // In this order: sums, a slope, clamps, a gate, a scale, a shift, a residual.
  bool clamped = false, bent = false, last = false;
  const auto is_vector = [&](int value) {
    return value > 0 && value < program.num_inputs && kinds_[static_cast<size_t>(value) - 1] == Kind::kChannels &&
           dtypes_[static_cast<size_t>(value)] == ir::DType::kFloat32;
  };
  const auto fits_residual = [&](int value) {
    if (value >= program.num_inputs || dtypes_[static_cast<size_t>(value)] != activations) return false;
    const Kind kind = kinds_[static_cast<size_t>(value) - 1];
    return kind == Kind::kFull || kind == Kind::kNarrow;
  };
  const auto channels_operand = [&](const PointwiseInstr& instr, PointwiseOp op, int current) -> int {
    if (instr.op != op || (instr.a == current) == (instr.b == current)) return -1;
    const int other = instr.a == current ? instr.b : instr.a;
    return is_vector(other) ? static_cast<int>(first_operand) + other - 1 : -1;
  };
  int current = 0;
  for (size_t i = 0; i < program.code.size(); ++i, current = program.num_inputs + static_cast<int>(i) - 1) {
    const PointwiseInstr& instr = program.code[i];
    const int added = added_operand(instr, current);
    const bool gated = next.gate.used(), is_residual = added > 0 && fits_residual(added);
    const bool ungated = !gated && !next.scaled && !next.shifted;
    if (last) break;
    if (const auto range = clamp_of(instr, current); range && ungated) {
      clamped = true;
      next.lo = std::min(std::max(next.lo, range->lo), range->hi);
      next.hi = std::max(std::min(next.hi, range->hi), range->lo);
    } else if (const auto slope = leaky_slope_of(instr, current); slope && !clamped && !bent && ungated) {
      bent = true;
      next.leaky_slope.assign(static_cast<size_t>(channels_), *slope);
    } else if (instr.op == PointwiseOp::kPRelu && instr.a == current && is_vector(instr.b) && !clamped && !bent &&
               ungated) {
      bent = true;
      next.slope = static_cast<int>(first_operand) + instr.b - 1;
    } else if (instr.op == PointwiseOp::kHardSwish && instr.a == current && ungated &&
               instr.alpha >= std::numeric_limits<float>::min()) {  // other factors are no gate
      next.gate = {instr.alpha, 3 * instr.alpha, 6 * instr.alpha};
    } else if (const Curve curve = curve_of(instr, current); curve != Curve::kNone && ungated) {
      if (curve == Curve::kHardSigmoid) next.gate = {instr.alpha, instr.beta, 1};
      next.gate.curve = curve;
      next.gate.coarse = activations == ir::DType::kBFloat16;
    } else if (const int scale = channels_operand(instr, PointwiseOp::kMul, current);
               scale >= 0 && !next.scaled && !next.shifted) {
      next.scaled = true;
      next.scale = scale;
    } else if (const int shift = channels_operand(instr, PointwiseOp::kAdd, current);
               shift >= 0 && !next.shifted && (next.scaled || clamped || bent || gated)) {
      next.shifted = true;
      next.shift = shift;
    } else if (instr.op == PointwiseOp::kAffine && instr.a == current && !next.scaled && !next.shifted) {
      next.scaled = next.shifted = true;
      next.own_scale.assign(static_cast<size_t>(channels_), instr.alpha);
      next.own_shift.assign(static_cast<size_t>(channels_), instr.beta);
    } else if (is_vector(added) && next.bias < 0 && !clamped && !bent && ungated) {
      next.bias = static_cast<int>(first_operand) + added - 1;
    } else if (is_residual && next.residual < 0) {
      next.residual = static_cast<int>(first_operand) + added - 1;
      next.residual_channels = request.inputs[static_cast<size_t>(next.residual)].dims.back();
      next.residual_last = last = clamped || bent || gated || next.scaled || next.shifted;
    } else {
      break;
    }
    if (can_cut(program, i + 1)) {
      taken = i + 1;
      parts_ = next;
    }
  }
  residual_like_output_ = activations == request.outputs[0].dtype;
  if (has_scale() && parts_.scale < 0 && parts_.own_scale.empty())
    parts_.own_scale.assign(static_cast<size_t>(channels_), 1.0f);
  if (has_scale() && parts_.shift < 0 && parts_.own_shift.empty())
    parts_.own_shift.assign(static_cast<size_t>(channels_), 0.0f);
  if (taken == program.code.size()) return;
  const PointwiseProgram rest = cut(program, taken);
  rest_ = std::make_shared<const ProgramF32>(rest, dtypes_, ir::DType::kFloat32);
}

template <class T>
void LoweredEpilogue::bind(const KernelArgs& args, BoundTo<T>& bound) const {
  bound.raw.bias = parts_.bias < 0 ? nullptr : input<float>(args, static_cast<size_t>(parts_.bias));
  bound.raw.residual = parts_.residual < 0 ? nullptr : input<T>(args, static_cast<size_t>(parts_.residual));
  bound.raw.residual_row_stride = bound.raw.residual_channels = parts_.residual_channels;
  if (parts_.slope >= 0) bound.raw.slope = input<float>(args, static_cast<size_t>(parts_.slope));
  if (!parts_.leaky_slope.empty()) bound.raw.slope = parts_.leaky_slope.data();
  bound.raw.clamp_lo = parts_.lo;
  bound.raw.clamp_hi = parts_.hi;
  bound.raw.gate = parts_.gate;
  bound.raw.residual_last = parts_.residual_last;
  if (has_scale()) {
    bound.raw.scale =
        parts_.scale >= 0 ? input<float>(args, static_cast<size_t>(parts_.scale)) : parts_.own_scale.data();
    bound.raw.shift =
        parts_.shift >= 0 ? input<float>(args, static_cast<size_t>(parts_.shift)) : parts_.own_shift.data();
  }
  bound.lowered = this;
  if (rest_ == nullptr) return;
  for (size_t k = 0; k < kinds_.size(); ++k) bound.operands[k] = input(args, first_operand_ + k);
  bound.raw.generic = run_tile;
  bound.raw.context = static_cast<Operands*>(&bound);
}
template void LoweredEpilogue::bind(const KernelArgs&, BoundTo<float>&) const;
template void LoweredEpilogue::bind(const KernelArgs&, BoundTo<BFloat16>&) const;

void LoweredEpilogue::run_tile(void* context, const EpilogueTile& tile) {
  const Operands& bound = *static_cast<const Operands*>(context);
  const LoweredEpilogue& self = *bound.lowered;
  ProgramF32::RowSource sources[kMaxOperands];
  sources[0] = {tile.data, tile.row_stride, false};
  for (size_t k = 0; k < self.kinds_.size(); ++k) {
    const std::byte* operand = bound.operands[k];
    const size_t size = ir::dtype_size(self.dtypes_[k + 1]);
    switch (self.kinds_[k]) {
      case Kind::kScalar:
        sources[k + 1] = {operand, 0, true};
        break;
      case Kind::kChannels:
        sources[k + 1] = {operand + static_cast<size_t>(tile.first_channel) * size, 0, self.channels_ == 1};
        break;
      case Kind::kFull:
      case Kind::kNarrow:  // never here: supports() saw to that
        sources[k + 1] = {operand + static_cast<size_t>(tile.first_pixel * self.channels_ + tile.first_channel) * size,
                          tile.pixel_step * self.channels_, false};
        break;
    }
  }
  self.rest_->run_rows(sources, tile.data, tile.row_stride, tile.rows, tile.channels);
}

}  // namespace blade::backends::cpu
