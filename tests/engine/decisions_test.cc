// Decisions survive JSON, and no JSON of whatever kind does harm.
#include "engine/decisions.h"

#include <gtest/gtest.h>

#include <random>

#include "ir/text.h"

namespace blade::engine {
namespace {

TEST(Decisions, RoundTrip) {
  Decisions d;
  d.blade_version = "0.1.0";
  d.tuned_on = "zen4";
  d.disabled_passes = {"TfFoldBatchNorms"};
  d.kernels.emplace("Conv f32[1,2]", "cpu.conv.direct_f32");
  d.kernels.emplace("MatMul f32[3]", "cpu.matmul.packed_f32 vectors=3");
  d.figures["MatMul f32[3]"] = {"cpu.matmul.batched_f32", 12.5, 4};
  d.device = "gpu";
  d.num_threads = 3;
  d.precision = "bf16";
  d.keep_float32 = {"dense/MatMul"};
  d.for_tiles = true;
  d.input_moments["dense/MatMul"] = {{-1.5f, 0, 0x1.02p-100f}, {2, 0, 0x1.FEp100f}};
  d.input_moments["empty"] = {};
  d.profile = Profile{{{1, 3}}, {{8, 3}}, {{{4, 3}}, {{2, 3}}}};
  auto back = Decisions::from_json(d.to_json());
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->blade_version, d.blade_version);
  EXPECT_EQ(back->tuned_on, d.tuned_on);
  EXPECT_EQ(back->disabled_passes, d.disabled_passes);
  EXPECT_EQ(back->kernels, d.kernels);
  ASSERT_EQ(back->figures.size(), 1u);
  const TunedFigures& figures = back->figures["MatMul f32[3]"];
  EXPECT_EQ(figures.static_choice, "cpu.matmul.batched_f32");
  EXPECT_EQ(figures.static_us, 12.5);
  EXPECT_EQ(figures.us, 4);
  EXPECT_EQ(back->device, d.device);
  EXPECT_EQ(back->num_threads, d.num_threads);
  EXPECT_EQ(back->precision, d.precision);
  EXPECT_EQ(back->keep_float32, d.keep_float32);
  EXPECT_TRUE(back->for_tiles);
  EXPECT_EQ(back->input_moments, d.input_moments);
  ASSERT_TRUE(back->profile);
  EXPECT_EQ(back->profile->min, d.profile->min);
  EXPECT_EQ(back->profile->max, d.profile->max);
  EXPECT_EQ(back->profile->opts, d.profile->opts);
}

TEST(Decisions, FieldsMayBeAbsentAndUnknown) {
  auto d = Decisions::from_json(R"({"later": {"x": [1, 2]}})");
  ASSERT_TRUE(d.ok());
  EXPECT_EQ(d->precision, "fp32");
  EXPECT_FALSE(d->for_tiles);
  EXPECT_FALSE(d->profile);
}

TEST(Decisions, NamesThatAreNotUtf8DoNotThrow) {
  Decisions d;
  d.kernels.emplace("\xff\xfe", "\x80");
  EXPECT_TRUE(Decisions::from_json(d.to_json()).ok());
}

TEST(Decisions, WrongTypesAreRefusedBySentence) {
  const char* bad[] = {"",
                       "[]",
                       "3",
                       "{",
                       R"({"kernels": [1]})",
                       R"({"kernels": ["a"]})",
                       R"({"num_threads": "2"})",
                       R"({"num_threads": 1.5})",
                       R"({"num_threads": -1})",
                       R"({"num_threads": 1025})",
                       R"({"input_moments": ["3f803f80"]})",
                       R"({"input_moments": {"a": [1, 2]}})",
                       R"({"input_moments": {"a": "3f803f8"}})",
                       R"({"input_moments": {"a": "3f803f8g"}})",
                       R"({"input_moments": {"a": "g0003f80"}})",
                       R"({"input_moments": {"a": "3f803f803f80"}})",
                       R"({"input_moments": {"a": "7fc03f80"}})",
                       R"({"input_moments": {"a": "3f80bf80"}})",
                       R"({"kernels": {"a": 1}})",
                       R"({"kernels": {"a": "b"}, "kernel_figures": 3})",
                       R"({"kernels": {"a": "b"}, "kernel_figures": []})",
                       R"({"kernels": {"a": "b"}, "kernel_figures": {"a": null}})",
                       R"({"kernels": {"a": "b"}, "kernel_figures": [["c", 1]]})",
                       R"({"kernels": {"a": "b"}, "kernel_figures": [["c", "1", 2]]})",
                       R"({"precision": 1})",
                       R"({"for_tiles": 1})",
                       R"({"disabled_passes": "x"})",
                       R"({"disabled_passes": [1]})",
                       R"({"profile": 1})",
                       R"({"profile": []})",
                       R"({"profile": {"min": [[1]]}})",
                       R"({"profile": {"max": [[1]]}})",
                       R"({"profile": {"min": {}, "max": {}}})",
                       R"({"profile": {"min": [{}], "max": [{}]}})",
                       R"({"profile": {"min": [[1]], "max": [[2]], "opts": {"a": [[1]]}}})",
                       R"({"profile": {"min": [[1]], "max": [[1, 2]]}})",
                       R"({"profile": {"min": [[-1]], "max": [[1]]}})",
                       R"({"profile": {"min": [[1.5]], "max": [[2]]}})",
                       R"({"profile": {"min": [[1]], "max": [[99999999999999999999999]]}})",
                       R"({"profile": {"min": [[18446744073709551615]], "max": [[1]]}})",
                       R"({"profile": {"min": [[1]], "max": [[2]], "opts": [[[1], [2]]]}})"};
  for (const char* json : bad) {
    auto d = Decisions::from_json(json);
    EXPECT_FALSE(d.ok()) << json;
    EXPECT_EQ(d.status().code(), StatusCode::kDataLoss);
    EXPECT_EQ(d.status().message().back(), '.');
  }
}

TEST(Decisions, ShapesBeyondAnyModelAreRefused) {
  const auto list = [](const std::string& one, int count) {
    std::string text = "[" + one;
    for (int i = 1; i < count; ++i) text += "," + one;
    return text + "]";
  };
  const auto accepts = [](const std::string& shapes, const std::string& groups) {
    return Decisions::from_json(R"({"profile": {"min": )" + shapes + R"(, "max": )" + shapes + R"(, "opts": )" +
                                groups + "}}")
        .ok();
  };
  EXPECT_TRUE(accepts(list(list("1", 8), 2), list(list(list("1", 8), 2), 3)));
  EXPECT_FALSE(accepts(list(list("1", 1000), 1), "[]"));
  EXPECT_FALSE(accepts(list("[1]", 100000), "[]"));
  EXPECT_FALSE(accepts("[[1]]", list("[[1]]", 100000)));
}

TEST(Profile, HoldsWhatIsBetweenItsBounds) {
  const Profile profile{{{1, 3}, {2}}, {{8, 3}, {2}}, {}};
  using Shapes = std::vector<ir::Dims>;
  for (const Shapes& inside : {Shapes{{1, 3}, {2}}, Shapes{{8, 3}, {2}}, Shapes{{5, 3}, {2}}})
    EXPECT_TRUE(profile.contains(inside));
  for (const Shapes& outside : {Shapes{{0, 3}, {2}}, Shapes{{9, 3}, {2}}, Shapes{{5, 3}, {1}}, Shapes{{5, 3}},
                                Shapes{{5}, {2}}, Shapes{{5, 3, 1}, {2}}})
    EXPECT_FALSE(profile.contains(outside));
}

TEST(Decisions, DeepNestingAndNoiseAreSafe) {
  EXPECT_FALSE(Decisions::from_json(std::string(200000, '[')).ok());
  EXPECT_FALSE(
      Decisions::from_json(ir::concat("{\"profile\":", std::string(200000, '['), std::string(200000, ']'), "}")).ok());
  std::mt19937 rng(3);
  for (int round = 0; round < 2000; ++round) {
    std::string json = R"({"kernels":{"a":"b"},"profile":{"min":[[1]],"max":[[2]],"opts":[[[1]]]}})";
    for (int k = 0; k < 3; ++k) json[rng() % json.size()] = static_cast<char>(rng());
    (void)Decisions::from_json(json).ok();
  }
}

}  // namespace
}  // namespace blade::engine
