// blade compare: whether two models give the same answers; exit code 1 when they do not.
#include <cmath>
#include <cstring>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "feeds.h"
#include "verbs.h"

namespace blade::command {
namespace {

struct Difference {
  double largest = 0, scale = 0;
  bool comparable = true;
};

Difference difference(const Tensor& a, const Tensor& b) {
  Difference result;
  if (a.description().dtype != b.description().dtype || a.dims() != b.dims()) {
    result.comparable = false;
  } else if (a.description().dtype == BLADE_FLOAT32) {
    for (size_t i = 0; i < a.size<float>(); ++i) {
      const double x = a.data<float>()[i], y = b.data<float>()[i];
      if (x == y || (std::isnan(x) && std::isnan(y))) continue;
      if (!std::isfinite(x) || !std::isfinite(y)) result.comparable = false;
      result.largest = std::max(result.largest, std::fabs(x - y));
      result.scale = std::max(result.scale, std::fabs(x));
    }
  } else if (std::memcmp(a.bytes(), b.bytes(), a.description().bytes) != 0) {
    result.comparable = false;  // everything but float32 has to be equal
  }
  return result;
}

}  // namespace

void add_compare(CLI::App& app, Context& context) {
  struct Options {
    std::string first, second;
    ModelOptions wanted;
    double rtol = 1e-3, atol = 1e-6;
    bool reference = false;
    FeedOptions feed;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("compare", "Whether two models give the same answers (exit code 1: no)");
  verb->add_option("first", options->first, "The model whose answers are expected")->required();
  verb->add_option("second", options->second, "The model to check")->required();
  options->wanted.add_to(*verb);
  verb->add_option("--rtol", options->rtol, "Allowed difference relative to the output's largest value");
  verb->add_option("--atol", options->atol, "Allowed absolute difference, added");
  verb->add_flag("--json", context.json, "Print JSON");
  options->feed.add_to(*verb);
  verb->callback([options, &context] {
    Engine first(options->first, options->wanted.engine_options(0)),
        second(options->second, options->wanted.engine_options(0));
    const std::vector<Array> feed = make_feed(first, options->feed);
    const std::vector<Tensor> expected = first.run(tensors_of(feed)), got = second.run(tensors_of(feed));
    const std::vector<Engine::Info> infos = first.outputs();
    if (expected.size() != got.size())
      throw Error(BLADE_INVALID_ARGUMENT, "the models have different numbers of outputs; name them with --outputs");
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (size_t i = 0; i < expected.size(); ++i) {
      const Difference d = difference(expected[i], got[i]);
      const double allowed = options->atol + options->rtol * d.scale;
      const bool holds = d.comparable && d.largest <= allowed;
      if (!holds) context.exit_code = kCheckFailed;
      rows.push_back(
          {{"output", infos[i].name}, {"max_difference", d.largest}, {"allowed", allowed}, {"holds", holds}});
      if (!context.json) {
        std::cout << infos[i].name << ": largest difference " << d.largest << ", allowed " << allowed << ": "
                  << (holds ? "holds" : "FAILS") << "\n";
      }
    }
    if (context.json) std::cout << rows.dump(2) << "\n";
  });
}

}  // namespace blade::command
