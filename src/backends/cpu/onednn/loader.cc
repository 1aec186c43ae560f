// Loads the oneDNN module and checks its version.
#include "backends/cpu/onednn/loader.h"

#include "base/own_module.h"

namespace blade::backends::cpu {
namespace {

OneDnnModule load() {
  OneDnnModule module;
  const auto address = load_own_module("libblade_onednn.so", "blade_onednn_table");
  if (!address.ok()) {
    module.refusal = "the oneDNN module is not there: " + address.status().message();
    return module;
  }
  const BladeOneDnnTable* table = reinterpret_cast<BladeOneDnnTableFunction>(*address)();
  if (table == nullptr || table->version != BLADE_ONEDNN_TABLE_VERSION) {
    module.refusal = "the oneDNN module libblade_onednn.so is of another version of Blade";
    return module;
  }
  module.table = table;
  return module;
}

}  // namespace

const OneDnnModule& onednn_module() {
  static const OneDnnModule module = load();
  return module;
}

}  // namespace blade::backends::cpu
