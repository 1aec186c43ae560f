// blade inspect: ops, inputs, outputs and coverage of a model; nothing is built.
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "blade/blade.hpp"
#include "feeds.h"
#include "tensorflow_dir.h"
#include "verbs.h"

namespace blade::command {
namespace {

using json = nlohmann::ordered_json;

std::string percent(double share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.1f%%", 100 * share);
  return text;
}

// One line an op: count, covered, what stays behind of all nodes and of the work, and why.
void print_coverage(const json& ops) {
  std::printf("%-34s %6s %8s %11s %10s  %s\n", "op", "nodes", "covered", "nodes left", "work left", "why");
  for (const json& row : ops) {
    const bool any_left = row.at("covered") < row.at("nodes");
    const json& work = row.at("flops_share_left");
    std::string reasons;
    for (const json& reason : row.at("reasons")) reasons += (reasons.empty() ? "" : "; ") + reason.get<std::string>();
    std::printf("%-34s %6d %8d %11s %10s  %s\n", row.at("op").get<std::string>().c_str(), row.at("nodes").get<int>(),
                row.at("covered").get<int>(), any_left ? percent(row.at("nodes_share_left")).c_str() : "",
                !any_left        ? ""
                : work.is_null() ? "unknown"
                                 : percent(work).c_str(),
                reasons.c_str());
  }
}

void print(const json& report, bool coverage) {
  std::printf("format: %s\n", report.at("format").get<std::string>().c_str());
  for (const char* side : {"inputs", "outputs"}) {
    for (const json& tensor : report.at(side)) {
      std::printf("%s: %s %s %s\n", side, tensor.at("name").get<std::string>().c_str(),
                  tensor.at("dtype").get<std::string>().c_str(), tensor.at("shape").get<std::string>().c_str());
    }
  }
  std::printf(
      "nodes: %d, in engines: %d, regions: %d, of the estimated work in engines: %s, handed over: %.0f bytes a run\n",
      report.at("nodes").get<int>(), report.at("nodes_in_engines").get<int>(), report.at("regions").get<int>(),
      percent(report.at("flops_share")).c_str(), report.at("boundary_bytes").get<double>());
  if (coverage) {
    print_coverage(report.at("ops"));
    return;
  }
  for (const json& left : report.at("left_behind")) {
    std::printf("stays in TensorFlow: %s (%s): %s\n", left.at("node").get<std::string>().c_str(),
                left.at("op").get<std::string>().c_str(), left.at("reason").get<std::string>().c_str());
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

char* inspect_text(const std::string& model, const ModelOptions& options, const std::string& tensorflow_dir) {
  std::vector<const char*> names;
  for (const std::string& name : options.outputs) names.push_back(name.c_str());
  blade_engine_options wanted = {};
  wanted.struct_size = sizeof wanted;
  wanted.outputs = names.data();
  wanted.num_outputs = static_cast<int32_t>(names.size());
  if (!options.signature.empty()) wanted.signature = options.signature.c_str();
  wanted.tensorflow_dir = tensorflow_dir.c_str();
  char* text = nullptr;
  check(blade_inspect(model.c_str(), &wanted, &text));
  return text;
}

void add_inspect(CLI::App& app, Context& context) {
  struct Options {
    std::string model;
    RunOptions wanted;
    bool coverage = false, plan = false, ops = false;
    FeedOptions feed;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("inspect", "Ops, shapes, coverage with reasons, and the memory plan");
  verb->add_option("model", options->model, ".pb, .pbtxt or SavedModel directory");
  verb->add_flag("--ops", options->ops, "Every op that Blade knows, as Markdown; needs no model");
  options->wanted.add_to(*verb);
  verb->add_flag("--coverage", options->coverage,
                 "A table of ops: how many are covered, why the others are not, and what that costs");
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
      const Engine engine(options->model, options->wanted.engine_options());
      const std::vector<Array> feed = make_feed(engine, options->feed);
      const std::vector<blade_tensor> inputs = tensors_of(feed);
      check(blade_engine_explain(engine.get(), inputs.data(), static_cast<int32_t>(inputs.size()), &text));
    } else {
      text = inspect_text(options->model, options->wanted, find_tensorflow_dir());
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
