// Steps judged by made-up limits.
#include "roofline.h"

#include <gtest/gtest.h>

namespace blade::command {
namespace {

using json = nlohmann::ordered_json;

// 100 and 1000 giga-operations, 10 GB a second.
MachineLimits limits() {
  MachineLimits limits;
  limits.fp32_fma = {50, 100};
  limits.bf16_amx = {500, 1000};
  limits.read = {{1, 10}};
  return limits;
}

json step(const char* kernel, double us, double million_operations, double kilobytes) {
  return {{"kernel", kernel}, {"median_us", us}, {"gflops", million_operations / us * 1e3}, {"gbytes", kilobytes / us}};
}

json judged(json step) {
  judge_step(step, limits());
  return step;
}

// 200 us of arithmetic, with 300 us of memory traffic alone, of which 100 us are left in strips.
json strips(const char* kernel, double us) {
  json made = step("cpu.strips", us, 200, 1000);
  made["steps"] = {step(kernel, us / 2, 100, 1500), step(kernel, us / 2, 100, 1500)};
  return made;
}

TEST(Roofline, TheLongerFloorBounds) {
  const json arithmetic = judged(step("cpu.conv.f32", 400, 20, 1000));
  EXPECT_NEAR(arithmetic["floor_us"], 200, 1e-6);
  EXPECT_NEAR(arithmetic["roofline"], 0.5, 1e-9);
  EXPECT_EQ(arithmetic["bound_by"], "arithmetic");
  const json memory = judged(step("cpu.conv.conv_amx_bf16", 400, 20, 1000));
  EXPECT_NEAR(memory["floor_us"], 100, 1e-6);
  EXPECT_EQ(memory["bound_by"], "memory");
  EXPECT_EQ(judged(step("cpu.conv.f32", 5, 0.01, 1))["bound_by"], "overhead");
  const json pieces = judged(step("cpu.conv.split_amx_f32", 400, 50, 1000));  // six products of bfloat16 each
  EXPECT_NEAR(pieces["floor_us"], 300, 1e-6);
}

TEST(Roofline, StripsDoTheArithmeticOfTheirStepsAndLeaveWhatLiesBetweenInCache) {
  const json bound = judged(strips("cpu.conv.conv_amx_bf16", 250));
  EXPECT_NEAR(bound["floor_us"], 200, 1e-6);
  EXPECT_NEAR(bound["roofline"], 0.8, 1e-9);
  EXPECT_EQ(bound["bound_by"], "arithmetic");
  EXPECT_EQ(bound["steps"][0]["bound_by"], "memory");
  EXPECT_FALSE(exceeds_limits(json::array({bound})));
  json wide = strips("cpu.conv.conv_amx_bf16", 400);
  wide["gbytes"] = 3000.0 / 400;
  EXPECT_NEAR(judged(wide)["floor_us"], 300, 1e-6);
  EXPECT_EQ(judged(wide)["bound_by"], "memory");
}

TEST(Roofline, OnlyWinogradIsFasterThanTheMachine) {
  const auto exceeds = [](const json& step) { return exceeds_limits(json::array({judged(step)})); };
  EXPECT_TRUE(exceeds(step("cpu.conv.f32", 100, 20, 10)));
  EXPECT_FALSE(exceeds(step("cpu.conv.winograd_f32", 100, 20, 10)));
  EXPECT_TRUE(exceeds(strips("cpu.conv.conv_amx_bf16", 100)));
  EXPECT_FALSE(exceeds(strips("cpu.conv.winograd_amx_bf16", 100)));
}

}  // namespace
}  // namespace blade::command
