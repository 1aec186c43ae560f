// Joins elementwise nodes into one program: each external operand becomes one program input however often it is read,
// and each result is computed once.
#pragma once

#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "passes/rewriter.h"

namespace blade::passes {

class ProgramBuilder {
 public:
  // Makes `value` the next program input.
  void add_input(ir::ValueId value);
  // Appends a Pointwise node's program; operands not computed by nodes appended before become inputs.
  void append(const ir::Node& node);
  // Appends `program` over `inputs`; its result is known as `result` afterwards.
  void append(const ir::PointwiseProgram& program, std::span<const ir::ValueId> inputs, ir::ValueId result);

  const std::vector<ir::ValueId>& inputs() const { return inputs_; }
  // nullopt where there are more inputs or instructions than operand numbers can name.
  std::optional<ir::PointwiseProgram> build() const;

 private:
  struct Ref {
    bool is_input = true;
    int index = 0;
  };
  struct Instr {
    ir::PointwiseInstr instr;
    Ref a, b, c;
  };
  Ref ref(ir::ValueId value);

  std::vector<ir::ValueId> inputs_;
  std::vector<Instr> code_;
  std::unordered_map<ir::ValueId, Ref> refs_;
};

}  // namespace blade::passes
