// The verbs of the command: each adds its subcommand, whose callback sets the exit code.
#pragma once

#include <CLI/CLI.hpp>

namespace blade::command {

enum ExitCode { kDone = 0, kCheckFailed = 1, kBadInput = 2 };

struct Context {
  bool json = false;  // --json of the verb at hand
  int exit_code = kDone;
};

void add_bench(CLI::App& app, Context& context);
void add_compare(CLI::App& app, Context& context);
void add_doctor(CLI::App& app, Context& context);
void add_inspect(CLI::App& app, Context& context);
void add_optimize(CLI::App& app, Context& context);
void add_profile(CLI::App& app, Context& context);
void add_run(CLI::App& app, Context& context);

}  // namespace blade::command
