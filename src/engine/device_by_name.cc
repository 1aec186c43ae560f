// Users name devices; engines want them.
#include <algorithm>
#include <cctype>

#include "backends/cuda/loader.h"
#include "engine/engine.h"

namespace blade::engine {

Result<backends::Device*> device_by_name(const std::string& name) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower == "cpu") return static_cast<backends::Device*>(nullptr);
  if (lower != "gpu" && lower != "auto") {
    return invalid_argument("device is '" + name + "'; expected 'cpu', 'gpu' or 'auto'");
  }
  const Result<backends::Device*>& card = backends::cuda_device();
  if (card.ok()) return *card;
  if (lower == "auto") return static_cast<backends::Device*>(nullptr);
  return unavailable("device is 'gpu', but no usable GPU was found (" + card.status().message() +
                     "); use 'cpu' or 'auto'");
}

}  // namespace blade::engine
