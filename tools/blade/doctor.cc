// blade doctor: what is usable on this machine, and why the rest is not.
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "blade/blade.hpp"
#include "tensorflow_dir.h"
#include "verbs.h"

namespace blade::command {

void add_doctor(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand("doctor", "What is usable on this machine, and why the rest is not");
  verb->add_flag("--json", context.json, "Print JSON");
  verb->callback([&context] {
    char* text = nullptr;
    check(blade_doctor(find_tensorflow_dir().c_str(), &text));
    const std::unique_ptr<char, void (*)(void*)> held(text, blade_free);
    const auto report = nlohmann::ordered_json::parse(text);
    if (context.json) {
      std::cout << report.dump(2) << "\n";
      return;
    }
    for (const auto& [key, value] : report.items()) {
      std::cout << key << ": " << (value.is_string() ? value.get<std::string>() : value.dump()) << "\n";
    }
  });
}

}  // namespace blade::command
