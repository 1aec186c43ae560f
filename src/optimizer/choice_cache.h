// Measured choices of kernels, kept between runs of optimize() in a file of the user's cache folder.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/decisions.h"

namespace blade::optimizer {

// What was found for one piece of work.
struct CachedChoice {
  std::string choice;
  engine::TunedFigures figures;
};

// A file that cannot be read, is damaged or is of another version counts as empty: its choices are measured again.
class ChoiceCache {
 public:
  // `dir`: config.tuning.cache_dir; empty: the user's cache folder, "off": nothing is kept. `machine`:
  // engine::machine_signature().
  ChoiceCache(const std::string& dir, std::string machine);

  // Only what was chosen among these very alternatives, against the same static choice, by this version.
  std::optional<CachedChoice> find(const std::string& signature, const std::vector<std::string>& alternatives,
                                   const std::string& static_choice) const;
  void put(const std::string& signature, const std::vector<std::string>& alternatives, CachedChoice choice);
  // Adds what was put to the file, which other processes may have changed meanwhile; replaces it in one step. What
  // cannot be written is measured again next time.
  void write() const;

 private:
  struct Entry {
    std::string among;  // hash of version and alternatives
    CachedChoice cached;
  };
  using Machines = std::map<std::string, std::map<std::string, Entry>>;
  Machines read() const;

  std::string path_;  // empty: off
  std::string machine_;
  std::map<std::string, Entry> known_, added_;
};

}  // namespace blade::optimizer
