// Prints the report.
#include "optimizer/report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace blade::optimizer {
namespace {

using json = nlohmann::ordered_json;

const char* status_name(StepStatus status) {
  switch (status) {
    case StepStatus::kEffective:
      return "effective";
    case StepStatus::kPassed:
      return "passed";
    case StepStatus::kFailed:
      return "failed";
    case StepStatus::kRolledBack:
      return "rolled back";
  }
  return "failed";
}

std::string fixed(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

// Small models take less than 10 us: two decimals of a millisecond would say nothing.
std::string milliseconds(const std::optional<double>& ms) {
  if (!ms) return "na";
  if (*ms >= 1) return fixed(*ms) + " ms";
  char text[32];
  std::snprintf(text, sizeof text, "%.4f ms", *ms);
  return text;
}

std::string speedup(const std::optional<double>& before, const std::optional<double>& after) {
  return before && after && *after > 0 ? fixed(*before / *after) : "na";
}

json step_json(const OptimizationStep& step) {
  json entry = {{"name", step.name},
                {"status", status_name(step.status)},
                {"speedup", speedup(step.pre_run_ms, step.post_run_ms)},
                {"pre_run", milliseconds(step.pre_run_ms)},
                {"post_run", milliseconds(step.post_run_ms)}};
  if (step.changes > 0) entry["changes"] = step.changes;
  if (!step.message.empty()) entry["message"] = step.message;
  return entry;
}

json accuracy_json(const Report& report) {
  json outputs = json::array();
  for (const OutputDifference& output : report.accuracy.outputs) {
    outputs.push_back({{"output", output.output},
                       {"max_difference", output.max_difference},
                       {"max_expected", output.max_expected},
                       {"allowed", output.allowed},
                       {"compared", output.compared},
                       {"unequal", output.unequal},
                       {"holds", output.holds}});
    if (!output.message.empty()) outputs.back()["message"] = output.message;
  }
  return {{"reference", report.accuracy_reference}, {"holds", report.accuracy.holds}, {"outputs", outputs}};
}

double share(double part, double all) { return all > 0 ? part / all : 1; }

// Of an entry of left_behind: its share of all estimated work, null where that has no estimate.
json work_share(const Report& report, size_t i) {
  if (i >= report.cost.left_flops.size() || !report.cost.left_flops[i]) return nullptr;
  return report.cost.flops > 0 ? *report.cost.left_flops[i] / report.cost.flops : 0;
}

int nodes_without_estimate(const Report& report) {
  const auto& left = report.cost.left_flops;
  return static_cast<int>(std::count(left.begin(), left.end(), std::nullopt));
}

json coverage_json(const Report& report) {
  json left = json::array();
  for (size_t i = 0; i < report.left_behind.size(); ++i) {
    const auto& node = report.left_behind[i];
    left.push_back(
        {{"node", node.node}, {"op", node.op}, {"reason", node.reason}, {"flops_share", work_share(report, i)}});
  }
  return {{"nodes", report.nodes_total},
          {"nodes_in_engines", report.nodes_in_engines},
          {"nodes_folded", report.nodes_folded},
          {"regions", report.regions},
          {"nodes_share", share(report.nodes_in_engines, report.nodes_total)},
          {"flops_share", share(report.cost.flops - report.cost.flops_left, report.cost.flops)},
          {"nodes_without_estimate", nodes_without_estimate(report)},
          {"boundary_bytes", report.cost.boundary_bytes},
          {"left_behind", left}};
}

std::string percent(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * value);
  return text;
}

std::string coverage_text(const Report& report) {
  return std::to_string(report.nodes_in_engines) + " of " + std::to_string(report.nodes_total) + " nodes run in " +
         std::to_string(report.regions) + " engine region(s), " +
         percent(share(report.cost.flops - report.cost.flops_left, report.cost.flops)) + " of the estimated work (" +
         std::to_string(nodes_without_estimate(report)) +
         " nodes have no estimate); what stays in TensorFlow costs a hand-over of " +
         std::to_string(static_cast<int64_t>(report.cost.boundary_bytes)) + " bytes a run.";
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : "; ") + part;
  return text;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string row(std::initializer_list<std::string> cells) {
  std::string text = "<tr>";
  for (const std::string& cell : cells) text += "<td>" + escaped(cell) + "</td>";
  return text + "</tr>\n";
}

json build_json(const Report& report) {
  json software = json::array();
  for (const auto& [name, version] : report.software) software.push_back({{"software", name}, {"version", version}});
  json steps = json::array();
  for (const OptimizationStep& step : report.optimizations) steps.push_back(step_json(step));
  json root = {
      {"software_context", software},
      {"hardware_context", {{"device_type", report.device_type}, {"microarchitecture", report.microarchitecture}}},
      {"user_config", report.user_config},
      {"diagnosis",
       {{"model", report.model},
        {"test_data_source", report.test_data_source},
        {"shape_variation", report.shape_variation},
        {"message", joined(report.messages)},
        {"test_data_info", report.test_data_info}}},
      {"optimizations", steps},
      {"overall",
       {{"baseline", milliseconds(report.baseline_ms)},
        {"optimized", milliseconds(report.optimized_ms)},
        {"speedup", speedup(report.baseline_ms, report.optimized_ms)}}},
      {"model_info", {{"input_format", report.input_format}}},
      {"compatibility_list",
       json::array({{{"device_type", report.device_type}, {"microarchitecture", report.microarchitecture}}})},
      {"model_sdk", json::object()}};
  if (!report.baseline_note.empty()) root["overall"]["baseline_note"] = report.baseline_note;
  root["accuracy"] = accuracy_json(report);
  root["coverage"] = coverage_json(report);
  root["interface"] = {{"inputs", report.inputs}, {"outputs", report.outputs}, {"inferred", report.inferred}};
  root["size"] = {{"original_bytes", report.original_bytes}, {"optimized_bytes", report.optimized_bytes}};
  if (!report.profile_json.empty()) root["profile"] = json::parse(report.profile_json, nullptr, false);
  return root;
}

}  // namespace

std::string to_string(const OptimizationStep& step) {
  std::string text = step.name + ": " + status_name(step.status);
  if (step.changes > 0) text += ", " + std::to_string(step.changes) + " changes";
  if (step.pre_run_ms && step.post_run_ms)
    text += ", " + milliseconds(step.pre_run_ms) + " before, " + milliseconds(step.post_run_ms) + " after";
  return step.message.empty() ? text : text + ": " + step.message;
}

std::string Report::to_json() const { return build_json(*this).dump(2, ' ', false, json::error_handler_t::replace); }

std::string Report::to_html() const {
  std::string html =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Blade report</title>\n"
      "<style>body{font:15px sans-serif;margin:2em "
      "auto;max-width:60em;color:#222}table{border-collapse:collapse;width:100%}"
      "td,th{border-bottom:1px solid #ddd;padding:.35em .6em;text-align:left}h2{margin-top:1.6em}b.big{font-size:2em}"
      "pre{background:#f6f6f6;padding:1em;overflow:auto}</style></head><body>\n";
  html += "<h1>Blade report: " + escaped(model) + "</h1>\n";
  html += "<p><b class=\"big\">" + escaped(speedup(baseline_ms, optimized_ms)) +
          "</b> times: " + escaped(milliseconds(baseline_ms)) + " before, " + escaped(milliseconds(optimized_ms)) +
          " after, on " + escaped(device_type + " (" + microarchitecture + ")") + ". " + escaped(joined(messages)) +
          "</p>\n";
  html += "<h2>Optimizations</h2>\n<table><tr><th>name<th>status<th>before<th>after<th>speedup<th>note</tr>\n";
  for (const OptimizationStep& step : optimizations) {
    html += row({step.name, status_name(step.status), milliseconds(step.pre_run_ms), milliseconds(step.post_run_ms),
                 speedup(step.pre_run_ms, step.post_run_ms), step.message});
  }
  html += "</table>\n<h2>Accuracy</h2>\n<p>Against " + escaped(accuracy_reference) + ".</p>\n";
  html += "<table><tr><th>output<th>largest difference<th>allowed<th>holds</tr>\n";
  for (const OutputDifference& output : accuracy.outputs) {
    char difference[32], allowed[32];
    std::snprintf(difference, sizeof difference, "%.3g", output.max_difference);
    std::snprintf(allowed, sizeof allowed, "%.3g", output.allowed);
    html += row({output.output, difference, allowed, (output.holds ? "yes. " : "") + output.message});
  }
  html += "</table>\n<h2>Coverage</h2>\n<p>" + escaped(coverage_text(*this)) + "</p>\n";
  if (!left_behind.empty()) html += "<table><tr><th>node<th>op<th>stays in TensorFlow because<th>of the work</tr>\n";
  for (size_t i = 0; i < left_behind.size(); ++i) {
    const json part = work_share(*this, i);
    const std::string of_work = part.is_null() ? "not estimated" : percent(part.get<double>());
    html += row({left_behind[i].node, left_behind[i].op, left_behind[i].reason, of_work});
  }
  if (!left_behind.empty()) html += "</table>\n";
  return html + "<h2>All of it</h2>\n<pre>" + escaped(to_json()) + "</pre>\n</body></html>\n";
}

}  // namespace blade::optimizer
