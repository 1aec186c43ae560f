// Decides which values are kept, and where: a place is free again behind the last instruction that reads it.
#include "backends/cuda/vector_program.h"

#include <algorithm>
#include <vector>

namespace blade::backends::cuda {
namespace {

constexpr int kNever = -1;
constexpr int kMostWithInputs = 8;  // beyond, inputs are read again instead

class Encoder {
 public:
  Encoder(const ir::PointwiseProgram& program, VectorProgramParams& params)
      : program_(program),
        params_(params),
        inputs_(program.num_inputs),
        place_(static_cast<size_t>(inputs_) + program.code.size(), kNever) {}

  int encode(bool keeps_inputs) {
    params_.num_inputs = inputs_;
    params_.num_code = static_cast<int>(program_.code.size());
    std::fill_n(params_.keep_input, kMaxProgramInputs, int8_t{kNever});
    for (int i = 0; i < inputs_; ++i) {
      if (keeps_inputs && readers(i) > 1)
        params_.keep_input[i] = static_cast<int8_t>(place_[static_cast<size_t>(i)] = take_place());
    }
    for (int i = 0; i < params_.num_code; ++i) {
      const ir::PointwiseInstr& instr = program_.code[static_cast<size_t>(i)];
      VectorInstr& out = params_.code[i];
      out.op = static_cast<uint8_t>(instr.op);
      out.a = operand(instr.a, i);
      out.b = operand(instr.b, i);
      out.c = operand(instr.c, i);
      out.alpha = instr.alpha;
      out.beta = instr.beta;
      free_places(i);
      const int own = inputs_ + i;
      if (last_reader(own) > i + 1) out.keep = static_cast<int8_t>(place_[static_cast<size_t>(own)] = take_place());
    }
    return static_cast<int>(taken_.size());
  }

 private:
  static bool reads(const ir::PointwiseInstr& instr, int value) {
    return instr.a == value || instr.b == value || instr.c == value;
  }
  int readers(int value) const {
    return static_cast<int>(
        std::ranges::count_if(program_.code, [&](const auto& instr) { return reads(instr, value); }));
  }
  int last_reader(int value) const {
    for (int i = params_.num_code - 1; i >= 0; --i) {
      if (reads(program_.code[static_cast<size_t>(i)], value)) return i;
    }
    return kNever;
  }
  int8_t operand(int value, int i) const {
    if (value < 0) return -1;
    if (i > 0 && value == inputs_ + i - 1) return kLastResult;
    const int place = place_[static_cast<size_t>(value)];
    return static_cast<int8_t>(place == kNever ? value : kFirstKept + place);
  }
  int take_place() {
    const auto free = std::ranges::find(taken_, false);
    const auto place = free - taken_.begin();
    if (free == taken_.end()) taken_.push_back(false);
    taken_[static_cast<size_t>(place)] = true;
    return static_cast<int>(place);
  }
  void free_places(int i) {
    for (size_t value = 0; value < place_.size(); ++value) {
      if (place_[value] != kNever && last_reader(static_cast<int>(value)) == i) {
        taken_[static_cast<size_t>(place_[value])] = false;
      }
    }
  }

  const ir::PointwiseProgram& program_;
  VectorProgramParams& params_;
  int inputs_;
  std::vector<int> place_;   // of each value; kNever: not kept
  std::vector<bool> taken_;  // of each place
};

}  // namespace

int encode_program(const ir::PointwiseProgram& program, VectorProgramParams& params) {
  const int kept = Encoder(program, params).encode(true);
  if (kept <= kMostWithInputs) return kept;
  params = {};
  return Encoder(program, params).encode(false);
}

}  // namespace blade::backends::cuda
