// Blocks of tiles of AMX that go through a panel in one call: what a convolution does around each of its tiles else
// takes a tenth of its time.
#pragma once

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/tile_driver.h"

namespace blade::backends::cpu {

// Whether AmxKernels::tiles takes all panels of a job: rows in place, whole blocks of K and whole panels.
inline bool has_plain_panels(const TileJob<BFloat16>& job) {
  const Epilogue<BFloat16>& e = *job.epilogue;
  const bool in_place = job.readable_past_end && !job.copy_rows && job.run_length % kAmxElements == 0;
  const bool adds_to_all = e.residual == nullptr || e.residual_channels >= job.b.n;
  return takes_whole_panels(job.b, e) && job.run_offsets != nullptr && in_place && adds_to_all &&
         job.wide_out == nullptr && !job.to_half;
}

// The arguments for all tiles of such a job that depend on the panel.
inline void set_panel(const TileJob<BFloat16>& job, int64_t panel, TileArgs<BFloat16>& args) {
  const Epilogue<BFloat16>& e = *job.epilogue;
  const int64_t column = panel * job.b.width();
  args.run_offsets = job.run_offsets;
  args.panel = job.b.panel(panel);
  args.columns = job.b.columns(panel);
  args.out = job.out + column;
  args.residual = e.residual != nullptr ? e.residual + column : nullptr;
  args.residual_columns = args.columns;
  args.bias = e.bias != nullptr ? e.bias + column : nullptr;
}

}  // namespace blade::backends::cpu
