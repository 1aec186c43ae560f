// The best cut of the steps into chains, by dynamic programming over what each possible chain is predicted to gain.
#include "engine/strip_choice.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <string>

#include "base/checked_math.h"
#include "engine/kernel_choice.h"
#include "engine/storage.h"

namespace blade::engine {
namespace {

// Of two cores of a Zen 5; what matters is their relation.
constexpr double kMemoryBytesPerUs = 42e3, kCacheBytesPerUs = 60e3;
constexpr double kCallUs = 3;           // of a step in a strip: sections, and tiles that stay part empty
constexpr double kMostRepeated = 0.08;  // of the steps' time, for threads that need not meet
constexpr double kLeastGain = 0.07;     // of it, for strips at all
constexpr double kComesTrue = 0.7;      // of what is predicted to be saved
constexpr int64_t kMostQuantum = 256;   // rows
constexpr size_t kLongestChain = 48, kMostOperands = 24;

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
double strip_us(const StripStep& step) {
  const backends::KernelRequest& request = step.requests.back();
  if (step.repeated == 0 || step.entry->predicted_us == nullptr) return kCallUs;
  constexpr double kColdStart = 2;  // rows that are computed again come with nothing in cache
  return kCallUs + kColdStart * step.entry->predicted_us(request) *
                       static_cast<double>(step.repeated * request.num_threads) /
                       static_cast<double>(step.rows() * step.images());
}

// Rows of something for each `den` rows of the chain's result.
struct Rate {
  int64_t num = 1, den = 1;
  Rate times(int64_t n, int64_t d) const {
    const int64_t over = num * n, under = den * d, common = std::gcd(over, under);
    return {over / common, under / common};
  }
  bool operator==(const Rate&) const = default;
  int64_t of(int64_t rows) const { return ceil_div(rows * num, den); }
};

class StripChooser {
 public:
  StripChooser(const ir::Graph& graph, const Decisions& decisions, const PlanOptions& options, Fusion& fusion)
      : graph_(graph), decisions_(decisions), options_(options), fusion_(fusion), machine_(machine_of(options)) {}

  void choose(std::span<const ir::NodeId> order) {
    if (options_.strip_rows == 0 && !has_large_value(order)) return;
    collect(order);
    find_last_readers();
    // A step of which a part would be another work is left out, and all is thought over.
    std::vector<StripChain> chains;
    for (bool settled = false; !settled;) {
      chains = best_chains();
      settled = true;
      for (const StripChain& chain : chains) {
        const StripStep* odd = unlike_step(chain);
        for (auto& step : steps_) {
          if (odd == nullptr || step.get() != odd) continue;
          step.reset();
          settled = false;
        }
      }
    }
    for (StripChain& chain : chains) fusion_.join(graph_, std::move(chain));
  }

 private:
  struct Gain {
    double us = 0;
    int64_t strip = 0, quantum = 1;
    bool by_parts = false;
  };
  static constexpr size_t kNever = static_cast<size_t>(-1);

  std::vector<StripChain> best_chains() {
    // best[n]: what the first n steps gain; the last of their chains begins at from[n], or there is none.
    const size_t n = steps_.size();
    std::vector<double> best(n + 1, 0);
    std::vector<size_t> from(n + 1, n);
    for (size_t end = 1; end <= n; ++end) {
      best[end] = best[end - 1];
      for (size_t begin = end - 1; begin-- > 0 && end - begin <= kLongestChain;) {
        if (!steps_[begin]) break;
        if (!steps_[end - 1] || !is_closed(begin, end) || !computes(begin, end)) continue;
        const auto& gain = known_gain(begin, end);
        if (!gain || best[begin] + gain->us <= best[end]) continue;
        best[end] = best[begin] + gain->us;
        from[end] = begin;
      }
    }
    std::vector<StripChain> chains;
    for (size_t end = n; end > 0;) {
      const size_t begin = from[end];
      if (begin < n) {
        StripChain chain = chain_of(begin, end, *known_gain(begin, end));
        if (take_stored_choice(chain)) chains.push_back(std::move(chain));
      }
      end = begin < n ? begin : end - 1;
    }
    return chains;
  }

  static const backends::Machine& machine_of(const PlanOptions& options) {
    return options.machine != nullptr ? *options.machine : backends::Machine::host();
  }

  bool has_large_value(std::span<const ir::NodeId> order) const {
    return std::any_of(order.begin(), order.end(), [&](ir::NodeId id) {
      const auto& outputs = graph_.node(id).outputs;
      return std::any_of(outputs.begin(), outputs.end(),
                         [&](ir::ValueId v) { return desc_of(graph_, v).bytes() > machine_.l3_bytes / 8; });
    });
  }

  void collect(std::span<const ir::NodeId> order) {
    step_of_node_.assign(static_cast<size_t>(graph_.num_node_slots()), kNever);
    for (ir::NodeId id : order) {
      const ir::Node& node = graph_.node(id);
      if (fusion_.is_absorbed(id) || is_view(graph_, node)) continue;
      for (const ir::Node* own : fusion_.nodes_of_step(graph_, node)) step_of_node_[own->id] = steps_.size();
      auto step = strip_step(graph_, node, fusion_, decisions_, options_);
      const bool fits = step && step->inputs.size() <= kMostOperands;
      steps_.push_back(fits ? std::make_shared<StripStep>(std::move(*step)) : nullptr);
    }
  }

  // The last step that reads each step's result; kNever where something else reads it.
  void find_last_readers() {
    const auto consumers = graph_.consumers();
    for (const auto& step : steps_) {
      size_t last = 0;
      const bool kept = !step || graph_.is_output(step->output);
      if (step) {
        for (ir::NodeId reader : consumers[step->output]) last = std::max(last, step_of_node_[reader]);
      }
      last_reader_.push_back(kept ? kNever : last);
    }
  }

  // Moves alone wait for memory in either way.
  bool computes(size_t begin, size_t end) const {
    for (size_t s = begin; s < end; ++s) {
      for (const backends::KernelRequest& request : steps_[s]->requests) {
        if (request.node->op == ir::Op::kConv || request.node->op == ir::Op::kConvTranspose) return true;
      }
    }
    return false;
  }

  // Whether all results of the steps but the last are read within them alone, strip by strip.
  bool is_closed(size_t begin, size_t end) const {
    for (size_t s = begin; s < end; ++s) {
      if (!steps_[s] || steps_[s]->images() != steps_[begin]->images()) return false;
      if (s + 1 < end && (last_reader_[s] >= end || last_reader_[s] == s)) return false;
      for (size_t i = 0; i < steps_[s]->inputs.size(); ++i) {
        if (steps_[s]->windows[i].all && maker(begin, end, steps_[s]->inputs[i]) != kNever) return false;
      }
    }
    return true;
  }

  size_t maker(size_t begin, size_t end, ir::ValueId value) const {
    const ir::NodeId producer = graph_.value(value).producer;
    const size_t step = producer == ir::kNone ? kNever : step_of_node_[producer];
    return step >= begin && step < end ? step : kNever;
  }

  // Rows of each step for those of the last; nothing where two readers want different ones.
  std::optional<std::vector<Rate>> rates(size_t begin, size_t end) const {
    std::vector<std::optional<Rate>> found(end - begin);
    found.back() = Rate();
    for (size_t s = end; s-- > begin;) {
      if (!found[s - begin]) return std::nullopt;
      for (size_t i = 0; i < steps_[s]->inputs.size(); ++i) {
        const size_t from = maker(begin, end, steps_[s]->inputs[i]);
        if (from == kNever) continue;
        const RowWindow& window = steps_[s]->windows[i];
        const Rate rate = found[s - begin]->times(window.stride, window.up);
        if (found[from - begin] && *found[from - begin] != rate) return std::nullopt;
        found[from - begin] = rate;
      }
    }
    std::vector<Rate> all;
    for (const auto& rate : found) all.push_back(*rate);
    return all;
  }

  // Rows of the last step by which strips grow: whole units of every step.
  std::optional<int64_t> quantum_of(size_t begin, const std::vector<Rate>& rates) const {
    int64_t quantum = 1;
    for (size_t k = 0; k < rates.size(); ++k) {
      const int64_t unit = steps_[begin + k]->unit;
      // quantum * num / den must be a multiple of the unit.
      const int64_t whole = rates[k].den * unit, needed = whole / std::gcd(whole, rates[k].num);
      quantum = std::lcm(quantum, needed);
      if (quantum > kMostQuantum) return std::nullopt;
    }
    return quantum;
  }

  // What the step with the most touches of its operands and its result in a strip.
  size_t touched(size_t begin, const std::vector<Rate>& rates, int64_t strip) const {
    size_t most = 0;
    for (size_t k = 0; k < rates.size(); ++k) {
      const StripStep& step = *steps_[begin + k];
      size_t bytes = static_cast<size_t>(rates[k].of(strip)) * step.row_bytes();
      for (size_t i = 0; i < step.inputs.size(); ++i) {
        const RowWindow& window = step.windows[i];
        if (window.all) continue;
        const Rate rate = {rates[k].num * window.stride, rates[k].den * window.up};
        const int64_t rows = rate.of(strip) + window.reach;
        bytes += static_cast<size_t>(rows) * StripStep::row_bytes(step.input_descs[i]);
      }
      most = std::max(most, bytes);
    }
    return most;
  }

  // The most rows, in multiples of the quantum, with which no step touches more than `budget`; at least one quantum.
  int64_t fitting_strip(size_t begin, const std::vector<Rate>& rates, int64_t quantum, int64_t rows,
                        size_t budget) const {
    int64_t fits = 1, beyond = ceil_div(rows, quantum) + 1;  // quanta
    while (fits + 1 < beyond) {
      const int64_t middle = fits + (beyond - fits) / 2;
      (touched(begin, rates, middle * quantum) <= budget ? fits : beyond) = middle;
    }
    return fits * quantum;
  }

  // Parts of the image for the threads: of all steps' predicted time, what two parts both do.
  struct Repeated {
    double us = 0, of_us = 0;
  };
  std::optional<Repeated> repeated_us(size_t begin, size_t end, int64_t quantum) const {
    const int threads = std::max(1, options_.num_threads);
    std::vector<StripRows> rows;
    for (size_t s = begin; s < end; ++s) rows.push_back(rows_of(begin, end, s));
    std::vector<int64_t> made(rows.size(), 0);
    for (const RowRange& last : cut_rows(rows.back().rows, threads, quantum)) {
      if (last.count() == 0) return std::nullopt;
      const std::vector<RowRange> part = rows_for(rows, last);
      for (size_t k = 0; k < part.size(); ++k) made[k] += part[k].count();
    }
    Repeated repeated;
    for (size_t k = 0; k < rows.size(); ++k) {
      const StripStep& step = *steps_[begin + k];
      const double us = step.entry->predicted_us != nullptr ? step.entry->predicted_us(step.requests.back())
                                                            : bytes_of(step) / kCacheBytesPerUs;
      repeated.of_us += us;
      repeated.us += us * (static_cast<double>(made[k]) / static_cast<double>(rows[k].rows) - 1);
    }
    return repeated;
  }

  // Into as many parts as threads, at multiples of the quantum.
  static std::vector<RowRange> cut_rows(int64_t rows, int threads, int64_t quantum) {
    std::vector<RowRange> parts;
    const int64_t quanta = ceil_div(rows, quantum);
    for (int64_t p = 0; p < threads; ++p) {
      parts.push_back(
          {std::min(rows, p * quanta / threads * quantum), std::min(rows, (p + 1) * quanta / threads * quantum)});
    }
    return parts;
  }

  // It depends on the chain's own steps alone: it stays true where others are left out.
  const std::optional<Gain>& known_gain(size_t begin, size_t end) {
    const auto [place, is_new] = gains_.try_emplace({begin, end});
    if (is_new) place->second = gain_us(begin, end);
    return place->second;
  }

  std::optional<Gain> gain_us(size_t begin, size_t end) const {
    const double saved = saved_us(begin, end) * kComesTrue;
    if (saved <= 0 && options_.strip_rows == 0) return std::nullopt;
    const auto found = rates(begin, end);
    const auto quantum = found ? quantum_of(begin, *found) : std::nullopt;
    if (!quantum) return std::nullopt;
    const StripStep& last = *steps_[end - 1];
    if (options_.strip_rows > 0) {
      const int64_t forced = ceil_div(options_.strip_rows, *quantum) * *quantum;
      const auto repeated = repeated_us(begin, end, *quantum);
      const bool by_parts = repeated && repeated->us < repeated->of_us && options_.num_threads > 1;
      return Gain{static_cast<double>(end - begin - 1), forced, *quantum, by_parts};
    }
    const int threads = std::max(1, options_.num_threads);
    const bool by_images = last.images() % threads == 0;
    const auto repeated = repeated_us(begin, end, *quantum);
    // Each thread with a strip of its own, if that is not bought with much work.
    const bool by_parts = !by_images && repeated && repeated->us <= kMostRepeated * repeated->of_us;
    // Strips that threads share move on from layer to layer, to rows that the other core wrote: on two chiplets they
    // lose.
    if (!by_images && !by_parts) return std::nullopt;
    const size_t budget = machine_.l3_bytes * 3 / 8 / static_cast<size_t>(threads);
    int64_t strip = fitting_strip(begin, *found, *quantum, last.rows(), budget);
    const int64_t of_image = ceil_div(last.rows(), strip);
    strip = ceil_div(ceil_div(last.rows(), of_image), *quantum) * *quantum;  // none much shorter than the others
    const auto strips = static_cast<double>(of_image * last.images()) / threads;
    if (!repeated || strips < 2 || touched(begin, *found, strip) > 2 * budget) return std::nullopt;
    Gain gain = {0, strip, *quantum, by_parts};
    gain.us = saved - (by_parts ? repeated->us : 0);
    for (size_t s = begin; s < end; ++s) gain.us -= strips * strip_us(*steps_[s]);
    gain.us -= weights_us(begin, end) * static_cast<double>(of_image * last.images() - 1);
    const double least = kLeastGain * repeated->of_us;
    if (gain.us < least) return std::nullopt;
    gain.us -= copies_us(begin, end, *found, strip) * static_cast<double>(last.images());
    if (gain.us < least) return std::nullopt;
    return gain;
  }

  // Of memory traffic. What takes the place of an operand needs other memory in strips.
  double saved_us(size_t begin, size_t end) const {
    double us = 0;
    for (size_t s = begin; s < end; ++s) {
      const StripStep& step = *steps_[s];
      if (s + 1 < end) {
        us += missing(step) * (is_in_place(step) ? 1 : 2) * bytes_of(step) / kMemoryBytesPerUs;
        if (is_in_place(step)) us -= bytes_of(step) / kCacheBytesPerUs;
      }
      for (ir::ValueId input : step.inputs) {
        const size_t from = maker(begin, end, input);
        if (from != kNever) us += missing(*steps_[from]) * bytes_of(*steps_[from]) / kMemoryBytesPerUs;
      }
    }
    return us;
  }

  // Constants, which each strip reads again.
  double weights_us(size_t begin, size_t end) const {
    double bytes = 0;
    for (size_t s = begin; s < end; ++s) {
      const StripStep& step = *steps_[s];
      for (size_t i = 0; i < step.inputs.size(); ++i) {
        const auto transformed = static_cast<double>(step.unit);  // Winograd's are so much larger
        if (step.is_constant[i] != 0) bytes += static_cast<double>(step.input_descs[i].bytes()) * transformed;
      }
    }
    return bytes / kCacheBytesPerUs;
  }

  // Rows that wait for the next strip go there and back; where there are too many all have places of their own, which
  // leave the cache.
  double copies_us(size_t begin, size_t end, const std::vector<Rate>& rates, int64_t strip) const {
    std::vector<StripRows> rows;
    std::vector<RowRange> whole;
    for (size_t s = begin; s < end; ++s) {
      rows.push_back(rows_of(begin, end, s));
      rows.back().at_a_time = rates[s - begin].of(strip);
      whole.push_back({0, rows.back().rows});
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
      const StripStep& step = *steps_[begin + k];
      const bool is_whole = most[k] > rows[k].at_a_time;
      us += is_whole ? 2 * bytes_of(step) / static_cast<double>(step.images()) / kMemoryBytesPerUs
                     : static_cast<double>(2 * waiting[k]) * static_cast<double>(step.row_bytes()) / kCacheBytesPerUs;
    }
    return us;
  }

  static double bytes_of(const StripStep& step) { return static_cast<double>(step.result().bytes()); }

  // How much of what the step makes has left the last cache when it is read, if all of it is made at once.
  double missing(const StripStep& step) const {
    const auto cache = static_cast<double>(machine_.l3_bytes), touched = static_cast<double>(operand_bytes(step));
    return std::clamp((touched - cache / 2) / cache, 0.0, 1.0);
  }

  StripChain chain_of(size_t begin, size_t end, const Gain& gain) const {
    StripChain chain;
    chain.threads = std::max(1, options_.num_threads);
    chain.quantum = gain.quantum;
    for (size_t s = begin; s < end; ++s) {
      chain.steps.push_back(steps_[s]);
      chain.rows.push_back(rows_of(begin, end, s));
    }
    set_strip(chain, gain.strip);
    chain.by_images = chain.threads > 1 && steps_[begin]->images() % chain.threads == 0;
    const int64_t rows = chain.rows.back().rows;
    for (const RowRange& last : cut_rows(rows, !chain.by_images && gain.by_parts ? chain.threads : 1, chain.quantum))
      chain.parts.push_back(rows_for(chain.rows, last));
    return chain;
  }

  // `strip` is a multiple of the quantum, so that all steps make whole units.
  void set_strip(StripChain& chain, int64_t strip) const {
    chain.strip = strip;
    const size_t count = chain.steps.size();
    std::vector<Rate> rates(count);
    for (size_t s = count; s-- > 0;) {
      for (const StripRows::Read& read : chain.rows[s].reads)
        rates[static_cast<size_t>(read.step)] = rates[s].times(read.window.stride, read.window.up);
      chain.rows[s].at_a_time = rates[s].of(strip);
    }
  }

  StripRows rows_of(size_t begin, size_t end, size_t s) const {
    const StripStep& step = *steps_[s];
    StripRows rows = {step.rows(), step.unit, 1, {}};
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      const size_t from = maker(begin, end, step.inputs[i]);
      if (from != kNever) rows.reads.push_back({static_cast<int>(from - begin), step.windows[i]});
    }
    return rows;
  }

  // False where the steps were found to be faster one after the other.
  bool take_stored_choice(StripChain& chain) const {
    if (decisions_.kernels.empty()) return true;
    const auto stored = decisions_.kernels.find(strips_signature(chain));
    if (stored == decisions_.kernels.end()) return true;
    if (stored->second == kApart) return false;
    const auto choice = KernelChoice::parse(stored->second);
    if (!choice || choice->kernel != kStripsName || choice->blocking.strip == 0) return true;
    const int64_t wanted = std::min<int64_t>(choice->blocking.strip, chain.steps.back()->rows());
    set_strip(chain, ceil_div(wanted, chain.quantum) * chain.quantum);
    chain.is_stored = true;
    return true;
  }

  // A step whose rows in a strip its row does not take, or gives other bits for; nullptr: none.
  static const StripStep* unlike_step(const StripChain& chain) {
    std::vector<std::set<std::string>> seen(chain.steps.size());
    for (const auto& rows : chain.parts) {
      const auto schedule = strip_schedule(chain.rows, rows);
      if (schedule.empty()) return chain.steps.back().get();
      for (const auto& strip : schedule) {
        for (size_t s = 0; s < chain.steps.size(); ++s) {
          if (strip[s].count() == 0) continue;
          const StepPart part = part_of(*chain.steps[s], strip[s], chain.threads_of_step());
          if (seen[s].insert(part.key).second && !part.is_like(*chain.steps[s])) return chain.steps[s].get();
        }
      }
    }
    return nullptr;
  }

  const ir::Graph& graph_;
  const Decisions& decisions_;
  const PlanOptions& options_;
  Fusion& fusion_;
  const backends::Machine& machine_;
  std::vector<std::shared_ptr<const StripStep>> steps_;  // in order; nothing: it does not go by rows
  std::vector<size_t> step_of_node_, last_reader_;
  std::map<std::pair<size_t, size_t>, std::optional<Gain>> gains_;  // by the chain's first step and its end
};

}  // namespace

void choose_strips(const ir::Graph& graph, std::span<const ir::NodeId> order, const Decisions& decisions,
                   const PlanOptions& options, Fusion& fusion) {
  if (options.device == nullptr && !options.reference_only && options.strip_rows >= 0)
    StripChooser(graph, decisions, options, fusion).choose(order);
}

std::string strips_signature(const StripChain& chain) {
  std::string text = "Strips";
  for (const auto& step : chain.steps) text += " | " + kernel_signature(step->requests.back());
  return text;
}

std::vector<std::string> strips_alternatives(const StripChain& chain) {
  std::vector<std::string> all = {kStripsName, kApart};
  for (int64_t strip : {chain.strip / 2, chain.strip * 2}) {
    backends::Blocking blocking;
    blocking.strip = static_cast<int>(ceil_div(strip, chain.quantum) * chain.quantum);
    if (blocking.strip != chain.strip && blocking.strip < chain.steps.back()->rows())
      all.push_back(KernelChoice{kStripsName, blocking}.text());
  }
  return all;
}

std::string strips_choice(const StripChain& chain) {
  backends::Blocking blocking;
  if (chain.is_stored) blocking.strip = static_cast<int>(chain.strip);
  return KernelChoice{kStripsName, blocking}.text();
}

}  // namespace blade::engine
