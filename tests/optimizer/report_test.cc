// The report's field names and units are a contract with its readers: each is spelt out here.
#include "optimizer/report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace blade::optimizer {
namespace {

using json = nlohmann::ordered_json;

std::vector<std::string> keys(const json& object) {
  std::vector<std::string> names;
  for (const auto& [name, unused] : object.items()) names.push_back(name);
  return names;
}

Report sample() {
  Report report;
  report.software = {{"tensorflow", "2.21.0"}, {"blade", "0.1.0"}};
  report.microarchitecture = "zen4";
  report.user_config = "{}";
  report.model = "frozen.pb";
  report.test_data_source = "user provided";
  report.shape_variation = "static";
  report.test_data_info = "input_tensor:0 shape: (1, 224, 224, 3) data type: float32";
  report.messages = {"first", "second"};
  report.optimizations = {{"TfFoldConstants", StepStatus::kEffective, 6.81, 2.02, "", 3},
                          {"TfStripDebugOps", StepStatus::kPassed, {}, {}, "", 0},
                          {"Engine", StepStatus::kRolledBack, 1.0, 2.0, "slower", 0},
                          {"Other", StepStatus::kFailed, {}, {}, "why", 0}};
  report.baseline_ms = 6.98;
  report.optimized_ms = 2.11;
  return report;
}

json printed(const Report& report) { return json::parse(report.to_json()); }

TEST(ReportTest, TopLevelFields) {
  const std::vector<std::string> names = keys(printed(sample()));
  const std::vector<std::string> contract = {"software_context", "hardware_context",   "user_config",
                                             "diagnosis",        "optimizations",      "overall",
                                             "model_info",       "compatibility_list", "model_sdk"};
  ASSERT_GE(names.size(), contract.size());
  EXPECT_EQ(std::vector<std::string>(names.begin(), names.begin() + contract.size()), contract);
}

TEST(ReportTest, ContextAndDiagnosis) {
  const json root = printed(sample());
  EXPECT_EQ(root["software_context"].dump(),
            R"([{"software":"tensorflow","version":"2.21.0"},{"software":"blade","version":"0.1.0"}])");
  EXPECT_EQ(root["hardware_context"].dump(), R"({"device_type":"cpu","microarchitecture":"zen4"})");
  EXPECT_EQ(root["user_config"], "{}");
  EXPECT_EQ(keys(root["diagnosis"]),
            (std::vector<std::string>{"model", "test_data_source", "shape_variation", "message", "test_data_info"}));
  EXPECT_EQ(root["diagnosis"]["message"], "first; second");
  EXPECT_EQ(root["diagnosis"]["test_data_info"], "input_tensor:0 shape: (1, 224, 224, 3) data type: float32");
  EXPECT_EQ(root["model_info"].dump(), R"({"input_format":"frozen_pb"})");
  EXPECT_EQ(root["compatibility_list"].dump(), R"([{"device_type":"cpu","microarchitecture":"zen4"}])");
  EXPECT_EQ(root["model_sdk"].dump(), "{}");
}

TEST(ReportTest, StepsWithTimesAndWithout) {
  const json steps = printed(sample())["optimizations"];
  ASSERT_EQ(steps.size(), 4u);
  EXPECT_EQ(
      steps[0].dump(),
      R"({"name":"TfFoldConstants","status":"effective","speedup":"3.37","pre_run":"6.81 ms","post_run":"2.02 ms",)"
      R"("changes":3})");
  EXPECT_EQ(steps[1].dump(),
            R"({"name":"TfStripDebugOps","status":"passed","speedup":"na","pre_run":"na","post_run":"na"})");
  EXPECT_EQ(steps[2]["status"], "rolled back");
  EXPECT_EQ(steps[2]["message"], "slower");
  EXPECT_EQ(steps[3]["status"], "failed");
}

TEST(ReportTest, OverallInMilliseconds) {
  EXPECT_EQ(printed(sample())["overall"].dump(), R"({"baseline":"6.98 ms","optimized":"2.11 ms","speedup":"3.31"})");
  Report tiny = sample();
  tiny.baseline_ms = 0.0125;
  tiny.optimized_ms = 0.005;
  EXPECT_EQ(printed(tiny)["overall"].dump(), R"({"baseline":"0.0125 ms","optimized":"0.0050 ms","speedup":"2.50"})");
}

TEST(ReportTest, WithoutABaselineSaysWhy) {
  Report report = sample();
  report.baseline_ms.reset();
  report.baseline_note = "TensorFlow is not here";
  EXPECT_EQ(printed(report)["overall"].dump(),
            R"({"baseline":"na","optimized":"2.11 ms","speedup":"na","baseline_note":"TensorFlow is not here"})");
}

TEST(ReportTest, CoverageAccuracyAndProfile) {
  Report report = sample();
  report.nodes_total = 10;
  report.nodes_in_engines = 9;
  report.regions = 1;
  report.left_behind.emplace_back();
  report.left_behind.back().node = "lookup";
  report.left_behind.back().op = "LookupTableFind";
  report.left_behind.back().reason = "lookup tables";
  report.left_behind.emplace_back();
  report.left_behind.back().node = "add";
  report.left_behind.back().op = "AddV2";
  report.left_behind.back().reason = "too small";
  report.cost = {.flops = 200, .flops_left = 50, .boundary_bytes = 64, .left_flops = {std::nullopt, 50.0}};
  report.accuracy_reference = "TensorFlow, graph as written";
  OutputDifference output;
  output.output = "y";
  output.max_difference = 0.5;
  output.max_expected = 2;
  output.allowed = 1;
  report.accuracy.outputs = {output};
  report.profile_json = R"({"min":[[1]]})";
  const json root = printed(report);
  EXPECT_EQ(root["coverage"]["nodes"], 10);
  EXPECT_EQ(root["coverage"]["nodes_in_engines"], 9);
  EXPECT_EQ(root["coverage"]["regions"], 1);
  EXPECT_EQ(root["coverage"]["left_behind"].dump(),
            R"([{"node":"lookup","op":"LookupTableFind","reason":"lookup tables","flops_share":null},)"
            R"({"node":"add","op":"AddV2","reason":"too small","flops_share":0.25}])");
  EXPECT_EQ(root["coverage"]["nodes_share"], 0.9);
  EXPECT_EQ(root["coverage"]["flops_share"], 0.75);
  EXPECT_EQ(root["coverage"]["boundary_bytes"], 64);
  EXPECT_NE(report.to_html().find("75.0 % of the estimated work"), std::string::npos);
  EXPECT_EQ(root["accuracy"].dump(),
            R"({"reference":"TensorFlow, graph as written","holds":true,"outputs":[{"output":"y","max_difference":0.5,)"
            R"("max_expected":2.0,"allowed":1.0,"compared":0,"unequal":0,"holds":true}]})");
  EXPECT_EQ(root["profile"].dump(), R"({"min":[[1]]})");
}

TEST(ReportTest, NamesThatAreNoUtf8AreReplaced) {
  Report report = sample();
  report.model =
      "a\xff"
      "b";
  EXPECT_EQ(printed(report)["diagnosis"]["model"],
            "a\xef\xbf\xbd"
            "b");
}

TEST(ReportTest, HtmlIsSelfContainedAndEscaped) {
  Report report = sample();
  report.model = "<script>alert(\"1\")</script>&";
  const std::string html = report.to_html();
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_NE(html.find("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;"), std::string::npos);
  EXPECT_EQ(html.find("http"), std::string::npos);
  EXPECT_NE(html.find("3.31"), std::string::npos);
  EXPECT_NE(html.find("TfFoldConstants"), std::string::npos);
  EXPECT_EQ(html.rfind("</html>\n"), html.size() - 8);
}

}  // namespace
}  // namespace blade::optimizer
