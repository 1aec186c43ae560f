// Cells of recurrent layers found in the body of a loop over time.
#pragma once

#include "passes/time_loop.h"

namespace blade::passes {

// What a select of a loop's body puts in place of what a step computes for samples that do not count in it.
struct StepMask {
  ir::ValueId condition = ir::kNone;  // of the body, one element a sample; kNone: all count
  bool when_true = true;              // samples count where it is true
  bool operator==(const StepMask&) const = default;
};

// A select(mask, fresh, kept), or only what is computed.
struct MaskedValue {
  ir::ValueId fresh = ir::kNone, kept = ir::kNone;
  StepMask mask;
};

// Columns of some rows of a weight matrix, which is a constant of the body.
struct WeightColumns {
  ir::ValueId weights = ir::kNone;
  int64_t first_row = 0, rows = 0, first_column = 0;
};

// What a gate adds up before its activation: input * from_input + state * from_state + bias.
struct GateSum {
  ir::ValueId input = ir::kNone, state = ir::kNone;
  WeightColumns from_input, from_state;
  std::vector<double> bias;
  float hard_slope = 0;  // of the activation: see ir::RecurrenceAttrs
};

struct RecurrentLayer {
  ir::RecurrentCell cell = ir::RecurrentCell::kPlain;
  int hidden = -1, cell_state = -1;  // variables; the second only for kLstm
  ir::ValueId next = ir::kNone;      // the new h, whether the mask keeps it or not
  StepMask mask;
  std::vector<GateSum> gates;      // in the order of the weights' columns
  std::vector<double> state_bias;  // for kGru: of what comes from h in the candidate
  ir::ValueId input() const { return gates[0].input; }
};

// The parts of `value` for a variable or list: `kept` is what a select holds in place of it. Where there is no select
// that a mask makes, all is `fresh`.
std::vector<MaskedValue> unmasked(const TimeLoop& loop, ir::ValueId value);

// The layer whose h is variable `hidden`; nullopt where that is no state of a layer of `cells` cells.
std::optional<RecurrentLayer> match_layer(const TimeLoop& loop, int hidden, int64_t cells);

}  // namespace blade::passes
