// Rows that become computable, and rows that must stay.
#include "engine/strip_schedule.h"

#include <algorithm>

namespace blade::engine {
namespace {

// Where the step's rows end after a strip, if `done` are made and the operands' rows end at `ends`.
int64_t next_end(const StripRows& step, std::span<const StripRows> steps, const std::vector<int64_t>& ends,
                 int64_t done) {
  int64_t end = std::min(step.rows, done + step.at_a_time);
  for (const StripRows::Read& read : step.reads) {
    if (read.window.all || ends[read.step] == steps[read.step].rows) continue;
    end = std::min(end, read.window.computable(ends[read.step]));
  }
  if (end < step.rows) end -= end % step.unit;
  return std::max(end, done);
}

}  // namespace

std::vector<std::vector<RowRange>> strip_schedule(std::span<const StripRows> steps) {
  std::vector<std::vector<RowRange>> strips;
  std::vector<int64_t> ends(steps.size(), 0);
  while (ends.back() < steps.back().rows) {
    std::vector<RowRange>& strip = strips.emplace_back();
    bool any = false;
    for (size_t s = 0; s < steps.size(); ++s) {
      const int64_t end = next_end(steps[s], steps, ends, ends[s]);
      strip.push_back({ends[s], end});
      any = any || end > ends[s];
      ends[s] = end;
    }
    if (!any) return {};
  }
  return strips;
}

std::vector<std::vector<KeptRows>> kept_rows(std::span<const StripRows> steps,
                                             const std::vector<std::vector<RowRange>>& schedule) {
  std::vector<std::vector<KeptRows>> kept;
  for (const std::vector<RowRange>& strip : schedule) {
    std::vector<KeptRows>& now = kept.emplace_back();
    for (size_t s = 0; s + 1 < steps.size(); ++s) now.push_back({strip[s].begin, strip[s].begin, strip[s].end});
    for (size_t s = 0; s < steps.size(); ++s) {
      for (const StripRows::Read& read : steps[s].reads) {
        if (strip[s].begin == steps[s].rows) continue;  // reads no more
        const RowRange next = {strip[s].begin, strip[s].begin + 1};
        KeptRows& rows = now[static_cast<size_t>(read.step)];
        rows.begin = std::min(rows.begin, std::max<int64_t>(0, read.window.rows(next).begin));
      }
    }
  }
  return kept;
}

}  // namespace blade::engine
