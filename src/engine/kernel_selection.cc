// Which row of the kernel tables a node gets: a pure function of the request and the stored decisions.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/kernel_choice.h"
#include "engine/plan.h"

namespace blade::engine {
namespace {

struct Candidate {
  const backends::KernelEntry* entry = nullptr;
  std::optional<double> us;
};

std::string microseconds(double us) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f us", us);
  return text;
}

void say_slower(const Candidate& loser, const Candidate& winner, std::vector<std::string>* refused) {
  if (refused == nullptr) return;
  std::string why = ": supported, but '" + std::string(winner.entry->name) + "' ";
  why += loser.us && winner.us
             ? "is predicted faster (" + microseconds(*winner.us) + " against " + microseconds(*loser.us) + ")"
             : std::string("stands before it in the table");
  refused->push_back(loser.entry->name + why);
}

std::vector<Candidate> supporting_rows(std::span<const backends::KernelEntry> table,
                                       const backends::KernelRequest& request, std::vector<std::string>* refused) {
  std::vector<Candidate> rows;
  for (const backends::KernelEntry& entry : table) {
    if (entry.op != request.node->op) continue;
    const backends::Support support = entry.supports(request);
    if (support.ok) {
      rows.push_back({&entry, entry.predicted_us ? std::optional(entry.predicted_us(request)) : std::nullopt});
    } else if (refused != nullptr) {
      refused->push_back(std::string(entry.name) + ": " + support.reason);
    }
  }
  return rows;
}

// The cheapest by prediction; a row without one is neither overtaken nor overtakes.
const backends::KernelEntry* cheapest(const std::vector<Candidate>& rows, std::vector<std::string>* refused) {
  Candidate best = rows.front();
  for (size_t i = 1; i < rows.size(); ++i) {
    if (best.us && rows[i].us && *rows[i].us < *best.us) best = rows[i];
  }
  for (const Candidate& row : rows) {
    if (row.entry != best.entry) say_slower(row, best, refused);
  }
  return best.entry;
}

// A signature without the first dims of what is no constant, and the first dim of the last of these: equal work at
// another batch size has the same text.
struct Family {
  std::string text;
  int64_t size = 0;
};

Family family_of(const std::string& signature) {
  Family family;
  for (size_t at = 0; at < signature.size();) {
    const size_t end = std::min(signature.find(' ', at), signature.size());
    const std::string token = signature.substr(at, end - at);
    const size_t open = token.find('['), first_end = token.find_first_of(",]", open);
    at = end + 1;
    if (open == std::string::npos || token.back() != ']') {
      family.text += token + ' ';
      continue;
    }
    family.size = std::atoll(token.c_str() + open + 1);
    family.text += token.substr(0, open + 1) + token.substr(first_end) + ' ';
  }
  return family;
}

// What was stored for the same work at the next larger size, or else at the largest.
const std::string* stored_nearby(const Decisions& decisions, const std::string& signature) {
  const Family own = family_of(signature);
  const std::string* best = nullptr;
  int64_t best_size = 0;
  // Equal up to the first dim: a small part of all, which are sorted.
  const std::string start = signature.substr(0, std::min(signature.find('['), signature.size()));
  for (auto it = decisions.kernels.lower_bound(start); it != decisions.kernels.end(); ++it) {
    const auto& [stored, kernel] = *it;
    if (!stored.starts_with(start)) break;
    const Family other = family_of(stored);
    if (other.text != own.text) continue;
    const bool larger = other.size >= own.size, best_larger = best_size >= own.size;
    const bool better = best == nullptr || (larger != best_larger ? larger
                                            : larger              ? other.size < best_size
                                                                  : other.size > best_size);
    if (!better) continue;
    best = &kernel;
    best_size = other.size;
  }
  return best;
}

// Compiling takes long: only a stored choice asks for it.
void leave_compiling_rows(std::vector<Candidate>& rows, std::vector<std::string>* refused) {
  std::erase_if(rows, [&](const Candidate& row) {
    if (row.entry->has(backends::kCompiles) && refused != nullptr) {
      refused->push_back(std::string(row.entry->name) + ": supported, but compiles code, which only tuning chooses");
    }
    return row.entry->has(backends::kCompiles);
  });
}

Status no_kernel(const backends::KernelRequest& request) {
  return unimplemented("Node '" + request.node->name + "' (" + ir::op_name(request.node->op) + ") has no kernel for " +
                       kernel_signature(request) + ".");
}

// Compiled code of a chain serves all sizes, of a convolution one: a size that was not measured does not wait for it.
bool compiles_each_size(const backends::KernelEntry& row) {
  return row.has(backends::kCompiles) && row.op == ir::Op::kConv;
}

}  // namespace

Result<const backends::KernelEntry*> select_kernel(const backends::KernelRequest& request, const Decisions& decisions,
                                                   std::span<const backends::KernelEntry> table,
                                                   std::vector<std::string>* refused) {
  std::vector<Candidate> rows = supporting_rows(table, request, refused);
  if (rows.empty()) return no_kernel(request);
  const std::string* stored = stored_choice(request, decisions);
  const bool exact = stored != nullptr;
  // A device's tiles were measured at some batch sizes: those between are better off with a neighbour's.
  if (!exact && request.device != nullptr && !decisions.kernels.empty())
    stored = stored_nearby(decisions, kernel_signature(request));
  if (stored != nullptr) {
    const auto choice = KernelChoice::parse(*stored);
    for (const Candidate& row : rows) {
      if (!exact && compiles_each_size(*row.entry)) continue;
      if (choice && choice->kernel == row.entry->name) return row.entry;
    }
    if (refused != nullptr && exact)
      refused->push_back(*stored + ": the stored choice is not available on this machine");
  }
  leave_compiling_rows(rows, refused);
  if (rows.empty()) return no_kernel(request);
  return cheapest(rows, refused);
}

Result<const backends::KernelEntry*> select_kernel(const backends::KernelRequest& request, const Decisions& decisions,
                                                   bool reference_only, std::vector<std::string>* refused) {
  if (request.device != nullptr) return select_kernel(request, decisions, request.device->kernels(), refused);
  if (!reference_only) {
    auto chosen = select_kernel(request, decisions, backends::cpu_kernels(), refused);
    if (chosen.ok()) return chosen;
  }
  // The naive kernels take everything: slow, but never a hole.
  return select_kernel(request, Decisions(), backends::reference_kernels(), refused);
}

std::span<const backends::KernelEntry> fused_kernels(const PlanOptions& options) {
  return options.device != nullptr ? options.device->fused_kernels() : backends::cpu_fused_kernels();
}

namespace {

// One thread, and what the row itself offers.
void add_blockings(const backends::KernelEntry& row, const backends::KernelRequest& request,
                   std::vector<std::string>& to) {
  backends::Blocking inline_run;
  inline_run.threads = 1;
  if (request.num_threads > 1) to.push_back(KernelChoice{row.name, inline_run}.text());
  if (row.blockings == nullptr) return;
  for (const backends::Blocking& blocking : row.blockings(request))
    to.push_back(KernelChoice{row.name, blocking}.text());
}

}  // namespace

std::vector<std::string> supporting_kernels(const backends::KernelRequest& request,
                                            const backends::KernelEntry* chosen) {
  backends::Device* device = request.device;
  const bool is_pair = request.producer != nullptr;
  const auto table = device != nullptr ? (is_pair ? device->fused_kernels() : device->kernels())
                                       : (is_pair ? backends::cpu_fused_kernels() : backends::cpu_kernels());
  std::vector<Candidate> rows = supporting_rows(table, request, nullptr);
  std::stable_sort(rows.begin(), rows.end(), [](const Candidate& a, const Candidate& b) {
    constexpr double kUnknown = 1e9;
    return a.us.value_or(kUnknown) < b.us.value_or(kUnknown);
  });
  std::vector<std::string> names;
  for (const Candidate& row : rows) names.emplace_back(row.entry->name);
  if (device != nullptr) return names;
  if (is_pair) names.emplace_back(kApart);
  if (chosen != nullptr) add_blockings(*chosen, request, names);
  return names;
}

}  // namespace blade::engine
