// Several steps as one kernel that takes strips of rows through all of them, so that what is between them stays in
// cache: the steps' own kernels, made for the rows of a strip.
#pragma once

#include <memory>
#include <span>

#include "engine/strip_schedule.h"

namespace blade::engine {

inline constexpr const char* kStripsName = "cpu.strips";

// A chain that was found to go by strips. All results but the last are read within it alone.
struct StripChain {
  std::vector<std::shared_ptr<const StripStep>> steps;
  std::vector<StripRows> rows;  // one a step
  int64_t strip = 0;            // rows of the last step's result that a strip makes
  int64_t quantum = 1;          // of which that is a multiple
  bool is_stored = false;       // tuning found that number
  int threads = 1;              // of a plan
  // Threads take images of their own where these divide evenly, or parts of each image, whose steps make the rows that
  // two parts need twice. Or all threads work on each strip, the only part.
  bool by_images = false;
  std::vector<std::vector<RowRange>> parts;  // rows of each step
  int threads_of_step() const { return by_images || parts.size() > 1 ? 1 : threads; }

  // The chain's operands: those of its steps, in order, without what is made within it.
  std::vector<ir::ValueId> inputs() const;
  int step_of(ir::ValueId value) const;  // that makes it, or -1
};

Result<std::unique_ptr<backends::Kernel>> make_strip_kernel(const StripChain& chain, backends::PackCache& packs);

}  // namespace blade::engine
