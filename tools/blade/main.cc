// The `blade` command: picks the verb. Exit codes: 0 done, 1 a check failed, 2 wrong use or bad input. Results go to
// stdout, progress and errors to stderr.
#include <iostream>
#include <new>

#include "blade/blade.hpp"
#include "verbs.h"

int main(int argc, char** argv) {
  using namespace blade::command;
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
    const auto is_it = [&](const CLI::App* verb) { return verb->check_name(argv[1]); };
    if (argc > 1 && argv[1][0] != '-' && app.get_subcommands(is_it).empty()) {
      throw CLI::ParseError("'" + std::string(argv[1]) + "' is no verb; blade --help lists them",
                            CLI::ExitCodes::InvalidError);
    }
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kBadInput;
  } catch (const std::bad_alloc&) {
    std::cerr << "blade: there is not enough memory; use smaller shapes\n";
    return kBadInput;
  } catch (const std::exception& error) {
    std::cerr << "blade: " << error.what() << "\n";
    return kBadInput;
  }
  return context.exit_code;
}
