// blade compare: whether two models give the same answers; exit code 1 when they do not.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "feeds.h"
#include "verbs.h"

namespace blade::command {
namespace {

template <class T>
std::vector<double> widened(const Tensor& tensor) {
  const T* data = tensor.data<T>();
  std::vector<double> values(tensor.size<T>());
  for (size_t i = 0; i < values.size(); ++i) {
    if constexpr (std::is_class_v<T>) {
      values[i] = static_cast<double>(static_cast<float>(data[i]));
    } else {
      values[i] = static_cast<double>(data[i]);
    }
  }
  return values;
}

// The elements of a floating-point tensor; nothing for another type.
std::vector<double> floating_elements(const Tensor& tensor) {
  switch (tensor.description().dtype) {
    case BLADE_FLOAT32:
      return widened<float>(tensor);
    case BLADE_FLOAT64:
      return widened<double>(tensor);
    case BLADE_FLOAT16:
      return widened<Float16>(tensor);
    case BLADE_BFLOAT16:
      return widened<BFloat16>(tensor);
    default:
      return {};
  }
}

struct Tolerance {
  double rtol = 1e-3, atol = 1e-6;
};

struct Difference {
  double largest = 0, allowed = 0;
  std::string why;  // it does not hold; empty: it does
};

std::string shape_text(const Tensor& tensor) {
  std::string text;
  for (const int64_t dim : tensor.dims()) text += (text.empty() ? "" : ",") + std::to_string(dim);
  return "[" + text + "]";
}

// Floating-point outputs: as docs/report.md says. What is not finite must be so in both, the same way.
void compare_floating(const Tensor& expected, const Tensor& got, const Tolerance& tolerance, Difference& result) {
  const std::vector<double> x = floating_elements(expected), y = floating_elements(got);
  double scale = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isfinite(x[i]) && std::isfinite(y[i])) {
      scale = std::max(scale, std::fabs(x[i]));
      result.largest = std::max(result.largest, std::fabs(x[i] - y[i]));
    } else if (result.why.empty() && x[i] != y[i] && !(std::isnan(x[i]) && std::isnan(y[i]))) {
      result.why =
          "element " + std::to_string(i) + " is " + std::to_string(y[i]) + ", expected " + std::to_string(x[i]);
    }
  }
  result.allowed = tolerance.atol + tolerance.rtol * scale;
  if (result.why.empty() && !(result.largest <= result.allowed)) result.why = "the difference is too large";
}

Difference difference(const Tensor& expected, const Tensor& got, const Tolerance& tolerance) {
  Difference result;
  const blade_dtype dtype = expected.description().dtype;
  if (dtype != got.description().dtype) {
    result.why = std::string("its dtype is ") + dtype_name(got.description().dtype) + ", expected " + dtype_name(dtype);
  } else if (expected.dims() != got.dims()) {
    result.why = "its shape is " + shape_text(got) + ", expected " + shape_text(expected);
  } else if (dtype == BLADE_FLOAT32 || dtype == BLADE_FLOAT64 || dtype == BLADE_FLOAT16 || dtype == BLADE_BFLOAT16) {
    compare_floating(expected, got, tolerance, result);
  } else if (!std::equal(expected.bytes(), expected.bytes() + expected.description().bytes, got.bytes())) {
    result.why = std::string("its elements of type ") + dtype_name(dtype) + " are not equal";
  }
  return result;
}

std::string names_text(const std::vector<Engine::Info>& infos) {
  std::string text;
  for (const Engine::Info& info : infos) text += (text.empty() ? "'" : ", '") + info.name + "'";
  return text;
}

// For each output of the first model, which of the second it is compared with: that of the same name.
std::vector<size_t> counterparts(const std::vector<Engine::Info>& first, const std::vector<Engine::Info>& second) {
  if (first.size() != second.size()) {
    throw Error(BLADE_INVALID_ARGUMENT, "the first model has the outputs " + names_text(first) + ", the second " +
                                            names_text(second) + "; name those to compare with --outputs");
  }
  std::vector<size_t> places;
  for (const Engine::Info& info : first) {
    const auto is_it = [&](const Engine::Info& other) { return other.name == info.name; };
    places.push_back(static_cast<size_t>(std::find_if(second.begin(), second.end(), is_it) - second.begin()));
  }
  if (std::find(places.begin(), places.end(), second.size()) == places.end()) return places;
  std::cerr << "The outputs have different names and are compared in their order: " << names_text(first)
            << " of the first model, " << names_text(second) << " of the second.\n";
  for (size_t i = 0; i < places.size(); ++i) places[i] = i;
  return places;
}

std::string check_tolerance(const std::string& text) {
  double value = -1;
  const bool is_number = CLI::detail::lexical_cast(text, value);
  return is_number && value >= 0 && std::isfinite(value) ? "" : "'" + text + "' is no number of at least 0";
}

}  // namespace

void add_compare(CLI::App& app, Context& context) {
  struct Options {
    std::string first, second;
    RunOptions wanted;
    Tolerance tolerance;
    FeedOptions feed;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("compare", "Whether two models give the same answers (exit code 1: no)");
  verb->add_option("first", options->first, "The model whose answers are expected")->required();
  verb->add_option("second", options->second, "The model to check")->required();
  options->wanted.add_to(*verb);
  verb->add_option("--rtol", options->tolerance.rtol, "Allowed difference relative to the output's largest value")
      ->check(check_tolerance)
      ->capture_default_str();
  verb->add_option("--atol", options->tolerance.atol, "Allowed absolute difference, added")
      ->check(check_tolerance)
      ->capture_default_str();
  verb->add_flag("--json", context.json, "Print JSON");
  options->feed.add_to(*verb);
  verb->callback([options, &context] {
    Engine first(options->first, options->wanted.engine_options()),
        second(options->second, options->wanted.engine_options());
    const std::vector<Engine::Info> infos = first.outputs();
    const std::vector<size_t> places = counterparts(infos, second.outputs());
    const std::vector<Array> feed = make_feed(first, options->feed);
    const std::vector<Tensor> expected = first.run(tensors_of(feed)),
                              got = second.run(feed_in_order(first, feed, second));
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (size_t i = 0; i < expected.size(); ++i) {
      const Difference d = difference(expected[i], got[places[i]], options->tolerance);
      if (!d.why.empty()) context.exit_code = kCheckFailed;
      rows.push_back(
          {{"output", infos[i].name}, {"max_difference", d.largest}, {"allowed", d.allowed}, {"holds", d.why.empty()}});
      if (!d.why.empty()) rows.back()["message"] = d.why;
      if (!context.json) {
        std::cout << infos[i].name << ": largest difference " << d.largest << ", allowed " << d.allowed << ": "
                  << (d.why.empty() ? "holds" : "FAILS: " + d.why) << "\n";
      }
    }
    if (context.json) std::cout << rows.dump(2) << "\n";
  });
}

}  // namespace blade::command
