// Measured choices as decisions store them, and the machine they hold on.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "backends/kernel.h"
#include "engine/decisions.h"

namespace blade::engine {

// A row and how it cuts its work: "cpu.conv.direct_f32", "cpu.conv.direct_f32 vectors=3 threads=1".
struct KernelChoice {
  std::string kernel;
  backends::Blocking blocking;

  std::string text() const;
  // Nothing for a text that no version of this writes.
  static std::optional<KernelChoice> parse(std::string_view text);
};

// Stored for a pair of nodes that is faster as two steps.
inline constexpr const char* kApart = "apart";

// What is stored for the request, or nullptr.
const std::string* stored_choice(const backends::KernelRequest& request, const Decisions& decisions);

// What times depend on: processor (or card), instruction sets, caches and threads (0: as many as the process may use).
// Choices that were measured elsewhere are left aside.
std::string machine_signature(const backends::Device* device, int threads);
std::string machine_signature(const backends::Machine& machine, int threads);

}  // namespace blade::engine
