// The `blade` command: picks the verb. Exit codes: 0 done, 1 a check failed, 2 wrong use or bad input. Results go to
// stdout, progress and errors to stderr.
#include <csignal>
#include <iostream>
#include <new>

#include "blade/blade.hpp"
#include "verbs.h"

namespace {

// CLI11 would only say that a subcommand is missing.
void check_first(const CLI::App& app, const std::string& word) {
  const bool option = word.starts_with('-');
  const auto is_it = [&](const CLI::App* verb) { return verb->check_name(word); };
  if (option ? app.get_option_no_throw(word) != nullptr : !app.get_subcommands(is_it).empty()) return;
  throw CLI::ParseError("'" + word + "' is no " + (option ? "option of blade" : "verb") + "; blade --help lists them",
                        CLI::ExitCodes::InvalidError);
}

// A full disk takes what was written without a word until it is asked.
int exit_code(int code) {
  if (std::cout.flush()) return code;
  std::cerr << "blade: the standard output could not be written; is the disk full?\n";
  return blade::command::kBadInput;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace blade::command;
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files is an error of writing, not the end
  CLI::App app{"Blade: makes trained TensorFlow graphs answer the same, faster.", "blade"};
  app.set_version_flag("--version", blade_version());
  app.require_subcommand(1);
  Context context;
  add_optimize(app, context);
  add_run(app, context);
  add_bench(app, context);
  add_compare(app, context);
  add_inspect(app, context);
  add_profile(app, context);
  add_doctor(app, context);
  try {
    if (argc > 1) check_first(app, argv[1]);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return exit_code(app.exit(error) == 0 ? kDone : kBadInput);
  } catch (const std::bad_alloc&) {
    std::cerr << "blade: there is not enough memory; use smaller shapes\n";
    return kBadInput;
  } catch (const std::exception& error) {
    std::cerr << "blade: " << error.what() << "\n";
    return kBadInput;
  }
  return exit_code(context.exit_code);
}
