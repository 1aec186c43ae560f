// Choices to text and back: the text comes from files, so anything may stand in it.
#include "engine/kernel_choice.h"

#include <charconv>

#include "base/thread_pool.h"
#include "engine/plan.h"

namespace blade::engine {
namespace {

using backends::Blocking;

constexpr int kMostPieces = 1 << 16;

struct Field {
  const char* name;
  int Blocking::*member;
};
constexpr Field kFields[] = {{"threads", &Blocking::threads},
                             {"vectors", &Blocking::vectors},
                             {"tile_parts", &Blocking::tile_parts},
                             {"panel_parts", &Blocking::panel_parts},
                             {"strip", &Blocking::strip}};

bool parse_field(std::string_view text, Blocking& blocking) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) return false;
  for (const Field& field : kFields) {
    if (text.substr(0, equals) != field.name) continue;
    int value = 0;
    const auto [end, error] = std::from_chars(text.data() + equals + 1, text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > kMostPieces) return false;
    blocking.*field.member = value;
    return true;
  }
  return false;
}

std::string cache_text(size_t bytes) { return std::to_string(bytes >> 10) + " KiB"; }

}  // namespace

std::string KernelChoice::text() const {
  std::string text = kernel;
  for (const Field& field : kFields) {
    const int value = blocking.*field.member;
    if (value != 0) text += std::string(" ") + field.name + "=" + std::to_string(value);
  }
  return text;
}

std::optional<KernelChoice> KernelChoice::parse(std::string_view text) {
  KernelChoice choice;
  size_t end = std::min(text.find(' '), text.size());
  choice.kernel = text.substr(0, end);
  while (end < text.size()) {
    const size_t begin = end + 1;
    end = std::min(text.find(' ', begin), text.size());
    if (!parse_field(text.substr(begin, end - begin), choice.blocking)) return std::nullopt;
  }
  if (choice.kernel.empty()) return std::nullopt;
  return choice;
}

const std::string* stored_choice(const backends::KernelRequest& request, const Decisions& decisions) {
  if (decisions.kernels.empty()) return nullptr;
  const auto found = decisions.kernels.find(kernel_signature(request));
  return found != decisions.kernels.end() ? &found->second : nullptr;
}

std::string machine_signature(const backends::Device* device, int threads) {
  if (device != nullptr) {
    const backends::DeviceInfo& info = device->info();
    return info.name + " (" + info.architecture + ", " + std::to_string(info.multiprocessors) + " multiprocessors)";
  }
  return machine_signature(backends::Machine::host(), threads);
}

std::string machine_signature(const backends::Machine& machine, int threads) {
  const int count = threads > 0 ? threads : ThreadPool::usable_cpus();
  return machine.model_name + " (" + machine.microarchitecture + ", " + machine.instruction_sets() + ", caches " +
         cache_text(machine.l1d_bytes) + ", " + cache_text(machine.l2_bytes) + ", " + cache_text(machine.l3_bytes) +
         "), " + std::to_string(count) + (count == 1 ? " thread" : " threads");
}

}  // namespace blade::engine
