// Rates at which steps go, the traffic that strips save and the work that they add.
#include "engine/strip_cost.h"

#include <algorithm>
#include <numeric>

#include "base/checked_math.h"

namespace blade::engine {
namespace {

// Of two cores of a Zen 5; what matters is their relation.
constexpr double kMemoryBytesPerUs = 42e3, kCacheBytesPerUs = 60e3;
constexpr double kCallUs = 3;           // of a step in a strip: sections, and tiles that stay part empty
constexpr double kTilesCallUs = 1.5;    // the same on tile registers
constexpr double kMostRepeated = 0.08;  // of the steps' time, for threads that need not meet
constexpr double kLeastGain = 0.07;     // of it, for strips at all
constexpr double kComesTrue = 0.7;      // of what is predicted to be saved
constexpr double kOfL2ComesTrue = 0.25;
constexpr double kStayingWeights = 0.625;  // of L2, beside a strip
constexpr int64_t kMostQuantum = 256;      // rows

// Elementwise work and residuals mostly go where an operand was.
bool is_in_place(const StripStep& step) {
  const bool reads_rows = step.requests.back().node->op != ir::Op::kPointwise;
  for (size_t i = reads_rows ? 1 : 0; i < step.inputs.size(); ++i) {
    if (!step.windows[i].all && step.windows[i].reach == 1 && step.input_descs[i].bytes() == step.result().bytes())
      return true;
  }
  return false;
}

size_t operand_bytes(const StripStep& step) {
  size_t bytes = is_in_place(step) ? 0 : step.result().bytes();
  for (size_t i = 0; i < step.inputs.size(); ++i) bytes += step.windows[i].all ? 0 : step.input_descs[i].bytes();
  return bytes;
}

// What a strip costs beyond its share: calls, and rows within a step that the next strip computes again.
double strip_us(const StripStep& step, double call_us) {
  const backends::KernelRequest& request = step.requests.back();
  if (step.repeated == 0 || step.entry->predicted_us == nullptr) return call_us;
  constexpr double kColdStart = 2;  // rows that are computed again come with nothing in cache
  return call_us + kColdStart * step.entry->predicted_us(request) *
                       static_cast<double>(step.repeated * request.num_threads) /
                       static_cast<double>(step.rows() * step.images());
}

// Whether strips are to stay in L2, not in the last cache: rows on tile registers wait for what comes from behind L2,
// whatever type the chain's last result has.
bool is_for_l2(const StripCandidate& chain) {
  return std::any_of(chain.steps.begin(), chain.steps.end(),
                     [](const auto& step) { return step->entry->has(backends::kOnTiles); });
}

double bytes_of(const StripStep& step) { return static_cast<double>(step.result().bytes()); }

// Rows of each step for those of the last; nothing where two readers want different ones.
std::optional<std::vector<RowRate>> row_rates(std::span<const StripRows> rows) {
  std::vector<std::optional<RowRate>> found(rows.size());
  found.back() = RowRate();
  for (size_t k = rows.size(); k-- > 0;) {
    if (!found[k]) return std::nullopt;
    for (const StripRows::Read& read : rows[k].reads) {
      std::optional<RowRate>& from = found[static_cast<size_t>(read.step)];
      const RowRate rate = found[k]->times(read.window.stride, read.window.up);
      if (from && *from != rate) return std::nullopt;
      from = rate;
    }
  }
  std::vector<RowRate> all;
  for (const auto& rate : found) all.push_back(*rate);
  return all;
}

std::optional<int64_t> quantum_of(std::span<const StripRows> rows, const std::vector<RowRate>& rates) {
  int64_t quantum = 1;
  for (size_t k = 0; k < rates.size(); ++k) {
    // quantum * num / den must be a multiple of the unit.
    const int64_t whole = rates[k].den * rows[k].unit, needed = whole / std::gcd(whole, rates[k].num);
    quantum = std::lcm(quantum, needed);
    if (quantum > kMostQuantum) return std::nullopt;
  }
  return quantum;
}

// What the step with the most touches of its operands and its result in a strip.
size_t touched(const StripCandidate& chain, int64_t strip) {
  size_t most = 0;
  for (size_t k = 0; k < chain.steps.size(); ++k) {
    const StripStep& step = *chain.steps[k];
    const RowRate rate = chain.rates[k];
    size_t bytes = static_cast<size_t>(rate.of(strip)) * step.row_bytes();
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      const RowWindow& window = step.windows[i];
      if (window.all) continue;
      const int64_t rows = RowRate{rate.num * window.stride, rate.den * window.up}.of(strip) + window.reach;
      bytes += static_cast<size_t>(rows) * StripStep::row_bytes(step.input_descs[i]);
    }
    most = std::max(most, bytes);
  }
  return most;
}

// The most rows, in multiples of the quantum, with which no step touches more than `budget`; at least one quantum.
int64_t fitting_strip(const StripCandidate& chain, size_t budget) {
  int64_t fits = 1, beyond = ceil_div(chain.rows.back().rows, chain.quantum) + 1;  // quanta
  while (fits + 1 < beyond) {
    const int64_t middle = fits + (beyond - fits) / 2;
    (touched(chain, middle * chain.quantum) <= budget ? fits : beyond) = middle;
  }
  return fits * chain.quantum;
}

double weight_bytes(const StripCandidate& chain) {
  double bytes = 0;
  for (const auto& step : chain.steps) {
    for (size_t i = 0; i < step->inputs.size(); ++i) {
      const auto transformed = static_cast<double>(step->unit);  // Winograd's are so much larger
      if (step->is_constant[i] != 0) bytes += static_cast<double>(step->input_descs[i].bytes()) * transformed;
    }
  }
  return bytes;
}

// Of what the step touches, how much has left a cache of so many bytes when it is read, if all of it is made at once.
double missing(const StripStep& step, double cache) {
  return std::clamp((static_cast<double>(operand_bytes(step)) - cache / 2) / cache, 0.0, 1.0);
}

// Rows that wait for the next strip go there and back; where there are too many all have places of their own, which
// leave the cache.
double copies_us(const StripCandidate& chain, int64_t strip) {
  std::vector<StripRows> rows = chain.rows;
  std::vector<RowRange> whole;
  for (size_t k = 0; k < rows.size(); ++k) {
    rows[k].at_a_time = chain.rates[k].of(strip);
    whole.push_back({0, rows[k].rows});
  }
  std::vector<int64_t> waiting(rows.size(), 0), most(rows.size(), 0);
  for (const auto& kept : kept_rows(rows, whole, strip_schedule(rows, whole))) {
    for (size_t k = 0; k < kept.size(); ++k) {
      const int64_t count = kept[k].kept_end - kept[k].begin;
      waiting[k] += count;
      most[k] = std::max(most[k], count);
    }
  }
  double us = 0;
  for (size_t k = 0; k < rows.size(); ++k) {
    const StripStep& step = *chain.steps[k];
    const bool is_whole = most[k] > rows[k].at_a_time;
    us += is_whole ? 2 * bytes_of(step) / static_cast<double>(step.images()) / kMemoryBytesPerUs
                   : static_cast<double>(2 * waiting[k]) * static_cast<double>(step.row_bytes()) / kCacheBytesPerUs;
  }
  return us;
}

}  // namespace

RowRate RowRate::times(int64_t n, int64_t d) const {
  const int64_t over = num * n, under = den * d, common = std::gcd(over, under);
  return {over / common, under / common};
}

int64_t RowRate::of(int64_t rows) const { return ceil_div(rows * num, den); }

std::optional<StripCandidate> strip_candidate(std::span<const std::shared_ptr<const StripStep>> steps,
                                              std::vector<StripRows> rows) {
  auto rates = row_rates(rows);
  const auto quantum = rates ? quantum_of(rows, *rates) : std::nullopt;
  if (!quantum) return std::nullopt;
  return StripCandidate{steps, std::move(rows), std::move(*rates), *quantum};
}

std::vector<RowRange> cut_rows(int64_t rows, int threads, int64_t quantum) {
  std::vector<RowRange> parts;
  const int64_t quanta = ceil_div(rows, quantum);
  for (int64_t p = 0; p < threads; ++p) {
    parts.push_back(
        {std::min(rows, p * quanta / threads * quantum), std::min(rows, (p + 1) * quanta / threads * quantum)});
  }
  return parts;
}

bool StripCostModel::has_images_for_all(const StripCandidate& chain) const {
  return threads_ > 1 && chain.steps.back()->images() % threads_ == 0;
}

StripGain StripCostModel::forced(const StripCandidate& chain, int64_t rows) const {
  const auto twice = repeated(chain);
  const bool by_images = has_images_for_all(chain);
  const bool by_parts = !by_images && twice && twice->us < twice->of_us && threads_ > 1;
  return {static_cast<double>(chain.steps.size() - 1), ceil_div(rows, chain.quantum) * chain.quantum, by_images,
          by_parts};
}

std::optional<StripGain> StripCostModel::gain(const StripCandidate& chain) const {
  const bool in_l2 = is_for_l2(chain);
  const double saved = saved_us(chain, in_l2) * (in_l2 ? kOfL2ComesTrue : kComesTrue);
  if (saved <= 0) return std::nullopt;
  const size_t budget = (in_l2 ? machine_.l2_bytes : machine_.l3_bytes / static_cast<size_t>(threads_)) * 3 / 8;
  const int64_t rows = chain.rows.back().rows, images = chain.steps.back()->images();
  int64_t strip = fitting_strip(chain, budget);
  const int64_t of_image = ceil_div(rows, strip);
  strip = ceil_div(ceil_div(rows, of_image), chain.quantum) * chain.quantum;  // none much shorter than the others
  const auto strips = static_cast<double>(of_image * images) / threads_;
  if (strips < 2 || touched(chain, strip) > 2 * budget) return std::nullopt;
  StripGain gain = {saved, strip, has_images_for_all(chain), false};
  for (const auto& step : chain.steps) gain.us -= strips * strip_us(*step, in_l2 ? kTilesCallUs : kCallUs);
  gain.us -= weights_us(chain, static_cast<double>(of_image * images), in_l2);
  if (gain.us <= 0) return std::nullopt;
  // Each thread with images or a part of its own, if that is not bought with much work: strips that threads share move
  // on from layer to layer, to rows that the other core wrote, and lose on two chiplets.
  const auto twice = repeated(chain);
  if (!twice) return std::nullopt;
  if (threads_ > 1 && !gain.by_images) {
    if (in_l2) return std::nullopt;  // U-Net's parts of one image gained nothing
    if (twice->us > kMostRepeated * twice->of_us) return std::nullopt;
    gain.by_parts = true;
    gain.us -= twice->us;
  }
  const double least = kLeastGain * twice->of_us;
  if (gain.us < least) return std::nullopt;
  gain.us -= copies_us(chain, strip) * static_cast<double>(images);
  if (gain.us < least) return std::nullopt;
  return gain;
}

std::optional<StripCostModel::Repeated> StripCostModel::repeated(const StripCandidate& chain) const {
  std::vector<int64_t> made(chain.rows.size(), 0);
  for (const RowRange& last : cut_rows(chain.rows.back().rows, threads_, chain.quantum)) {
    if (last.count() == 0) return std::nullopt;
    const std::vector<RowRange> part = rows_for(chain.rows, last);
    for (size_t k = 0; k < part.size(); ++k) made[k] += part[k].count();
  }
  Repeated twice;
  for (size_t k = 0; k < chain.rows.size(); ++k) {
    const StripStep& step = *chain.steps[k];
    const double us = step.entry->predicted_us != nullptr ? step.entry->predicted_us(step.requests.back())
                                                          : bytes_of(step) / kCacheBytesPerUs;
    twice.of_us += us;
    twice.us += us * (static_cast<double>(made[k]) / static_cast<double>(chain.rows[k].rows) - 1);
  }
  return twice;
}

// Of memory traffic. What takes the place of an operand needs other memory in strips.
double StripCostModel::saved_us(const StripCandidate& chain, bool in_l2) const {
  double us = 0;
  for (size_t k = 0; k < chain.steps.size(); ++k) {
    const StripStep& step = *chain.steps[k];
    if (k + 1 < chain.steps.size()) {
      us += far_us(step, in_l2) * (is_in_place(step) ? 1 : 2) * bytes_of(step);
      if (is_in_place(step)) us -= bytes_of(step) / kCacheBytesPerUs;
    }
    for (const StripRows::Read& read : chain.rows[k].reads) {
      const StripStep& from = *chain.steps[static_cast<size_t>(read.step)];
      us += far_us(from, in_l2) * bytes_of(from);
    }
  }
  return us;
}

// Constants, which each strip reads again.
double StripCostModel::weights_us(const StripCandidate& chain, double strips, bool in_l2) const {
  const double bytes = weight_bytes(chain);
  if (!in_l2) return bytes / kCacheBytesPerUs * (strips - 1);
  const bool stay = bytes <= static_cast<double>(machine_.l2_bytes) * kStayingWeights;
  return bytes / (stay ? kCacheBytesPerUs : machine_.core_far_bytes_per_us) * (strips / threads_ - 1);
}

// What it takes to bring a byte of the step's result back into cache, or to move it out, if all of it is made at once.
double StripCostModel::far_us(const StripStep& step, bool in_l2) const {
  const double from_memory = missing(step, static_cast<double>(machine_.l3_bytes)) / kMemoryBytesPerUs;
  if (!in_l2) return from_memory;
  const double l2 = static_cast<double>(machine_.l2_bytes) * threads_;
  return std::max(from_memory, missing(step, l2) / machine_.far_bytes_per_us);
}

}  // namespace blade::engine
