// blade inspect: ops, inputs, outputs and coverage of a model; nothing is built.
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "blade/blade.hpp"
#include "feeds.h"
#include "verbs.h"

namespace blade::command {
namespace {

using json = nlohmann::ordered_json;

void print(const json& report, bool coverage) {
  std::cout << "format: " << report.at("format").get<std::string>() << "\n";
  for (const char* side : {"inputs", "outputs"}) {
    for (const json& tensor : report.at(side)) {
      std::cout << side << ": " << tensor.at("name").get<std::string>() << " " << tensor.at("dtype").get<std::string>()
                << " " << tensor.at("shape").get<std::string>() << "\n";
    }
  }
  std::cout << "nodes: " << report.at("nodes") << ", in engines: " << report.at("nodes_in_engines")
            << ", regions: " << report.at("regions") << "\n";
  if (coverage) {
    for (const auto& [op, counts] : report.at("ops").items()) {
      std::cout << "  " << op << ": " << counts.at("covered") << " of " << counts.at("total") << " covered\n";
    }
  }
  for (const json& left : report.at("left_behind")) {
    std::cout << "stays in TensorFlow: " << left.at("node").get<std::string>() << " ("
              << left.at("op").get<std::string>() << "): " << left.at("reason").get<std::string>() << "\n";
  }
}

std::string join(const json& words, const std::string& between) {
  std::string text;
  for (const json& word : words) text += (text.empty() ? "" : between) + word.get<std::string>();
  return text;
}

// The page docs/ops.md.
void print_op_table(const json& table) {
  size_t covered = 0;
  for (const json& op : table.at("ops")) covered += op.at("covered").get<bool>() ? 1 : 0;
  std::cout
      << "# Op table\n\nMade by `blade inspect --ops`; a test compares this page with the library.\n\n"
      << "Blade runs " << covered << " TensorFlow ops. Types are those that the op's attribute `T` may be. Where one\n"
      << "form of an op is refused (an operand that must be constant is not, say), the report names the node and the\n"
      << "reason, and that node stays in TensorFlow.\n\n| op | types |\n| --- | --- |\n";
  for (const json& op : table.at("ops")) {
    if (!op.at("covered").get<bool>()) continue;
    const json& types = op.at("types");
    std::cout << "| " << op.at("op").get<std::string>() << " | "
              << (types.size() == 13 ? "any"
                  : types.empty()    ? "as declared"
                                     : join(types, " "))
              << " |\n";
  }
  std::cout
      << "\n## Ops that stay in TensorFlow\n\nRegions grow around them. An op in neither list stays, too: Blade does "
         "not know it.\n\n| op | why |\n| --- | --- |\n";
  for (const json& op : table.at("ops")) {
    if (op.at("covered").get<bool>()) continue;
    std::cout << "| " << op.at("op").get<std::string>() << " | " << op.at("reason").get<std::string>() << " |\n";
  }
  std::cout << "\n## Kernels of Blade's own ops\n\nTensorFlow's ops become these. Rows are tried in this order; the "
               "`reference` ones take what no other does.\n\n| op | kernels |\n| --- | --- |\n";
  for (const json& op : table.at("kernels")) {
    std::cout << "| " << op.at("op").get<std::string>() << " | " << join(op.at("rows"), ", ") << " |\n";
  }
}

}  // namespace

void add_inspect(CLI::App& app, Context& context) {
  struct Options {
    std::string model;
    std::vector<std::string> outputs;
    bool coverage = false, plan = false, ops = false;
    FeedOptions feed;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("inspect", "Ops, shapes, coverage with reasons, and the memory plan");
  verb->add_option("model", options->model, ".pb, .pbtxt or SavedModel directory");
  verb->add_flag("--ops", options->ops, "Every op that Blade knows, as Markdown; needs no model");
  verb->add_option("--outputs", options->outputs, "Node or tensor names");
  verb->add_flag("--coverage", options->coverage, "How many nodes of each op are covered");
  verb->add_flag("--plan", options->plan, "Kernels and memory for the shapes given by --shape, --input or --data");
  verb->add_flag("--json", context.json, "Print JSON");
  options->feed.add_to(*verb);
  verb->callback([options, &context] {
    char* text = nullptr;
    if (options->model.empty() != options->ops) {
      throw CLI::RequiredError(options->ops ? "inspect takes a model or --ops, not both; one of them"
                                            : "inspect needs a model (or --ops); a path");
    }
    if (options->ops) {
      check(blade_op_table(&text));
    } else if (options->plan) {
      Engine::Options engine_options;
      engine_options.outputs = options->outputs;
      const Engine engine(options->model, engine_options);
      const std::vector<Array> feed = make_feed(engine, options->feed);
      const std::vector<blade_tensor> inputs = tensors_of(feed);
      check(blade_engine_explain(engine.get(), inputs.data(), static_cast<int32_t>(inputs.size()), &text));
    } else {
      std::vector<const char*> names;
      for (const std::string& name : options->outputs) names.push_back(name.c_str());
      check(blade_inspect(options->model.c_str(), names.data(), static_cast<int32_t>(names.size()), &text));
    }
    const std::unique_ptr<char, void (*)(void*)> held(text, blade_free);
    const json report = json::parse(text);
    if (options->ops && !context.json) {
      print_op_table(report);
    } else if (context.json || options->plan) {
      std::cout << report.dump(2) << "\n";
    } else {
      print(report, options->coverage);
    }
  });
}

}  // namespace blade::command
