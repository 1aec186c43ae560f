// Rows that become computable, and rows that must stay.
#include "engine/strip_schedule.h"

#include <algorithm>

#include "base/checked_math.h"

namespace blade::engine {
namespace {

// Where the rows of step `s` end after a strip, if those of all steps end at `ends` now.
int64_t next_end(size_t s, std::span<const StripRows> steps, std::span<const RowRange> part,
                 const std::vector<int64_t>& ends) {
  const StripRows& step = steps[s];
  int64_t end = std::min(part[s].end, ends[s] + step.at_a_time);
  for (const StripRows::Read& read : step.reads) {
    const auto from = static_cast<size_t>(read.step);
    if (ends[from] < part[from].end) end = std::min(end, read.window.computable(ends[from]));
  }
  if (end < part[s].end) end -= end % step.unit;
  return std::max(end, ends[s]);
}

}  // namespace

std::vector<RowRange> rows_for(std::span<const StripRows> steps, RowRange last) {
  std::vector<RowRange> part(steps.size());
  for (size_t s = 0; s < steps.size(); ++s) part[s] = {steps[s].rows, 0};
  part.back() = last;
  for (size_t s = steps.size(); s-- > 0;) {
    const StripRows& step = steps[s];
    part[s].begin -= part[s].begin % step.unit;
    part[s].end = std::min(step.rows, ceil_div(part[s].end, step.unit) * step.unit);
    for (const StripRows::Read& read : step.reads) {
      const RowRange rows = read.window.rows(part[s]);
      RowRange& from = part[static_cast<size_t>(read.step)];
      from.begin = std::min(from.begin, std::max<int64_t>(0, rows.begin));
      from.end = std::max(from.end, rows.end);
    }
  }
  return part;
}

std::vector<std::vector<RowRange>> strip_schedule(std::span<const StripRows> steps, std::span<const RowRange> part) {
  std::vector<std::vector<RowRange>> strips;
  std::vector<int64_t> ends;
  for (const RowRange& rows : part) ends.push_back(rows.begin);
  while (ends.back() < part.back().end) {
    std::vector<RowRange>& strip = strips.emplace_back();
    bool any = false;
    for (size_t s = 0; s < steps.size(); ++s) {
      const int64_t end = next_end(s, steps, part, ends);
      strip.push_back({ends[s], end});
      any = any || end > ends[s];
      ends[s] = end;
    }
    if (!any) return {};
  }
  return strips;
}

std::vector<std::vector<KeptRows>> kept_rows(std::span<const StripRows> steps, std::span<const RowRange> part,
                                             const std::vector<std::vector<RowRange>>& schedule) {
  std::vector<std::vector<KeptRows>> kept;
  for (const std::vector<RowRange>& strip : schedule) {
    std::vector<KeptRows>& now = kept.emplace_back();
    for (size_t s = 0; s + 1 < steps.size(); ++s) now.push_back({strip[s].begin, strip[s].begin, strip[s].end});
    for (size_t s = 0; s < steps.size(); ++s) {
      for (const StripRows::Read& read : steps[s].reads) {
        if (strip[s].begin == part[s].end) continue;  // reads no more
        const RowRange next = {strip[s].begin, strip[s].begin + 1};
        KeptRows& rows = now[static_cast<size_t>(read.step)];
        rows.begin = std::min(rows.begin, std::max<int64_t>(0, read.window.rows(next).begin));
      }
    }
  }
  return kept;
}

}  // namespace blade::engine
