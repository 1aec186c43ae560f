// The file: {"version": 1, "machines": {machine: {work: {"among", "choice", "static", "static_us", "us"}}}}.
#include "optimizer/choice_cache.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/cache_folder.h"
#include "base/checksum.h"
#include "base/log.h"
#include "base/mapped_file.h"

namespace blade::optimizer {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;
constexpr uintmax_t kMostBytes = uintmax_t{64} << 20;

std::string hash_of(const std::vector<std::string>& alternatives) {
  std::string text = BLADE_VERSION;
  for (const std::string& one : alternatives) text += '\n' + one;
  return std::to_string(checksum({reinterpret_cast<const std::byte*>(text.data()), text.size()}));
}

Json read_file(const std::string& path) {
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(path, error);
  if (error || bytes > kMostBytes) return {};
  std::ifstream file(path, std::ios::binary);
  return Json::parse(file, nullptr, /*allow_exceptions=*/false);
}

const Json* object_at(const Json& json, const char* field) {
  const auto it = json.is_object() ? json.find(field) : json.end();
  return it != json.end() && it->is_object() ? &*it : nullptr;
}

std::string text_at(const Json& entry, const char* field) {
  const auto it = entry.find(field);
  return it != entry.end() && it->is_string() ? it->get<std::string>() : "";
}

double number_at(const Json& entry, const char* field) {
  const auto it = entry.find(field);
  return it != entry.end() && it->is_number() ? it->get<double>() : 0;
}

}  // namespace

ChoiceCache::ChoiceCache(const std::string& dir, std::string machine) : machine_(std::move(machine)) {
  const std::filesystem::path folder = cache_folder(dir);
  if (folder.empty()) return;
  path_ = (folder / "kernel_choices.json").string();
  known_ = read()[machine_];
}

ChoiceCache::Machines ChoiceCache::read() const {
  Machines machines;
  const Json json = read_file(path_);
  const Json* stored = object_at(json, "machines");
  if (stored == nullptr || number_at(json, "version") != kVersion) return machines;
  for (const auto& [machine, works] : stored->items()) {
    if (!works.is_object()) continue;
    for (const auto& [signature, entry] : works.items()) {
      if (!entry.is_object() || text_at(entry, "choice").empty()) continue;
      machines[machine][signature] = {
          text_at(entry, "among"),
          {text_at(entry, "choice"),
           {text_at(entry, "static"), number_at(entry, "static_us"), number_at(entry, "us")}}};
    }
  }
  return machines;
}

std::optional<CachedChoice> ChoiceCache::find(const std::string& signature,
                                              const std::vector<std::string>& alternatives,
                                              const std::string& static_choice) const {
  const auto found = known_.find(signature);
  if (found == known_.end() || found->second.among != hash_of(alternatives)) return std::nullopt;
  if (found->second.cached.figures.static_choice != static_choice) return std::nullopt;
  return found->second.cached;
}

void ChoiceCache::put(const std::string& signature, const std::vector<std::string>& alternatives, CachedChoice choice) {
  added_[signature] = {hash_of(alternatives), std::move(choice)};
}

void ChoiceCache::write() const {
  if (path_.empty() || added_.empty()) return;
  Machines machines = read();
  for (const auto& [signature, entry] : added_) machines[machine_][signature] = entry;
  Json works = Json::object();
  for (const auto& [machine, entries] : machines) {
    for (const auto& [signature, entry] : entries) {
      const engine::TunedFigures& figures = entry.cached.figures;
      works[machine][signature] = {{"among", entry.among},
                                   {"choice", entry.cached.choice},
                                   {"static", figures.static_choice},
                                   {"static_us", figures.static_us},
                                   {"us", figures.us}};
    }
  }
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), error);
  const std::string text =
      Json({{"version", kVersion}, {"machines", works}}).dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
  const Status status = write_file_atomically(path_, std::as_bytes(std::span(text)));
  if (!status.ok()) log_info("measured choices of kernels are not kept: " + status.message());
}

}  // namespace blade::optimizer
