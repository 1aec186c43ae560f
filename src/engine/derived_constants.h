// Weights that passes computed (folded batch norms), kept in pages that can be let go once kernels have packed them.
#pragma once

#include <memory>
#include <vector>

#include "engine/plan.h"
#include "ir/graph.h"

namespace blade::engine {

// Weights of the file cost nothing to keep: they are the file's own pages. Derived ones would be a second copy beside
// the packed form, so after the first plan their pages are released. The address stays, because packed weights are
// found by it. A second shape brings the content back by running the passes again (tens of milliseconds for ResNet-50),
// and then it stays: an engine that meets many shapes pays the time once and the memory from then on. Not thread-safe.
class DerivedConstants {
 public:
  // Moves constants of at least kMinBytes that `source` does not have, or has at addresses unfit for their type;
  // `graph` then points to the moved ones. Where there is no memory for it the graph stays as it is.
  DerivedConstants(ir::Graph& graph, const ir::Graph& source);

  // Lets go what `plan`'s runs do not read.
  void release(const Plan& plan);
  bool is_released() const { return released_; }
  // `fresh`: the same graph made again; false when it is not the same (then nothing changed).
  bool restore(const ir::Graph& fresh);

  size_t bytes() const { return bytes_; }
  size_t released_bytes() const { return released_bytes_; }

 private:
  static constexpr size_t kMinBytes = size_t{64} << 10;
  struct Pages;
  struct Moved {
    ir::ValueId value;
    std::byte* data;
    size_t bytes;
    ir::DType dtype;
    ir::Dims dims;
    uint64_t hash;
    bool released = false;
  };
  void adopt(ir::Graph& graph, const std::vector<ir::ValueId>& values);

  std::shared_ptr<Pages> pages_;
  std::vector<Moved> moved_;
  size_t bytes_ = 0, released_bytes_ = 0;
  bool released_ = false;
};

}  // namespace blade::engine
