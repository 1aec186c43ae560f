// The best cut of the steps into chains, by dynamic programming over what each possible chain is predicted to gain.
#include "engine/strip_choice.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "base/checked_math.h"
#include "engine/kernel_choice.h"
#include "engine/storage.h"
#include "engine/strip_cost.h"

namespace blade::engine {
namespace {

constexpr size_t kLongestChain = 48, kMostOperands = 24;

class StripChooser {
 public:
  StripChooser(const ir::Graph& graph, const Decisions& decisions, const PlanOptions& options, Fusion& fusion)
      : graph_(graph),
        decisions_(decisions),
        options_(options),
        fusion_(fusion),
        machine_(machine_of(options)),
        costs_(machine_, threads_of(options)) {}

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
        if (auto chain = chain_of(begin, end)) chains.push_back(std::move(*chain));
      }
      end = begin < n ? begin : end - 1;
    }
    return chains;
  }

  static const backends::Machine& machine_of(const PlanOptions& options) {
    return options.machine != nullptr ? *options.machine : backends::Machine::host();
  }

  static int threads_of(const PlanOptions& options) { return std::max(1, options.num_threads); }

  bool has_large_value(std::span<const ir::NodeId> order) const {
    const size_t large = machine_.amx_bf16 ? machine_.l2_bytes / 2 : machine_.l3_bytes / 8;
    return std::any_of(order.begin(), order.end(), [&](ir::NodeId id) {
      const auto& outputs = graph_.node(id).outputs;
      return std::any_of(outputs.begin(), outputs.end(),
                         [&](ir::ValueId v) { return desc_of(graph_, v).bytes() > large; });
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

  // It depends on the chain's own steps alone: it stays true where others are left out.
  const std::optional<StripGain>& known_gain(size_t begin, size_t end) {
    const auto [place, is_new] = gains_.try_emplace({begin, end});
    if (is_new) place->second = gain_of(begin, end);
    return place->second;
  }

  std::optional<StripGain> gain_of(size_t begin, size_t end) const {
    const auto candidate = candidate_of(begin, end);
    if (!candidate) return std::nullopt;
    if (options_.strip_rows > 0) return costs_.forced(*candidate, options_.strip_rows);
    return costs_.gain(*candidate);
  }

  std::optional<StripCandidate> candidate_of(size_t begin, size_t end) const {
    std::vector<StripRows> rows;
    for (size_t s = begin; s < end; ++s) rows.push_back(rows_of(begin, end, s));
    return strip_candidate(std::span(steps_).subspan(begin, end - begin), std::move(rows));
  }

  // Nothing where tuning found the steps to be faster one after the other: other cuts of them were not measured.
  std::optional<StripChain> chain_of(size_t begin, size_t end) {
    const StripGain gain = *known_gain(begin, end);
    StripCandidate candidate = *candidate_of(begin, end);
    StripChain chain;
    chain.steps.assign(candidate.steps.begin(), candidate.steps.end());
    chain.quantum = candidate.quantum;
    chain.strip = gain.strip;
    if (!take_stored_choice(chain)) return std::nullopt;
    chain.rows = std::move(candidate.rows);
    for (size_t k = 0; k < chain.rows.size(); ++k) chain.rows[k].at_a_time = candidate.rates[k].of(chain.strip);
    chain.threads = threads_of(options_);
    chain.by_images = gain.by_images;
    const int parts = gain.by_parts ? chain.threads : 1;
    for (const RowRange& last : cut_rows(chain.rows.back().rows, parts, chain.quantum))
      chain.parts.push_back(rows_for(chain.rows, last));
    return chain;
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
    chain.strip = ceil_div(wanted, chain.quantum) * chain.quantum;
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
  const StripCostModel costs_;
  std::vector<std::shared_ptr<const StripStep>> steps_;  // in order; nothing: it does not go by rows
  std::vector<size_t> step_of_node_, last_reader_;
  std::map<std::pair<size_t, size_t>, std::optional<StripGain>> gains_;  // by the chain's first step and its end
};

}  // namespace

void choose_strips(const ir::Graph& graph, std::span<const ir::NodeId> order, const Decisions& decisions,
                   const PlanOptions& options, Fusion& fusion) {
  if (options.device == nullptr && !options.reference_only && options.strip_rows >= 0)
    StripChooser(graph, decisions, options, fusion).choose(order);
}

std::string strips_signature(const StripChain& chain) {
  std::string text = "Strips";
  for (const auto& step : chain.steps) {
    text += " | " + kernel_signature(step->requests.back());
    for (const ir::ValueId operand : step->inputs) {
      if (const int maker = chain.step_of(operand); maker >= 0) text += " @" + std::to_string(maker);
    }
  }
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
