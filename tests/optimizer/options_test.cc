// The options of optimize(): the grammar of shapes, ranges and profiles, and the sentence of every refusal.
#include "optimizer/options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/thread_pool.h"
#include "optimizer/option_table.h"

namespace blade::optimizer {
namespace {

using nlohmann::json;

// The sentence of the refusal; "" where the options are taken.
std::string refusal(const json& options) {
  const auto parsed = parse_options(options.dump());
  if (parsed.ok()) return "";
  EXPECT_EQ(parsed.status().code(), StatusCode::kInvalidArgument);
  return parsed.status().message();
}

OptimizeOptions accepted(const json& options) {
  auto parsed = parse_options(options.dump());
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  return parsed.ok() ? *parsed : OptimizeOptions();
}

json with_config(const char* field, const json& value) { return {{"config", {{field, value}}}}; }
json with_tuning(const json& shapes) { return with_config("dynamic_tuning_shapes", shapes); }

std::vector<engine::TensorInfo> inputs_named(const std::vector<std::string>& names) {
  std::vector<engine::TensorInfo> inputs;
  for (const std::string& name : names) inputs.push_back({name, ir::DType::kFloat32, ir::Shape::unknown()});
  return inputs;
}

std::string profile_refusal(const json& shapes, const std::vector<std::string>& names) {
  const auto profile = resolve_profile(accepted(with_tuning(shapes)).tuning_shapes, inputs_named(names));
  return profile.ok() ? "" : profile.status().message();
}

TEST(OptionsTest, ParsesShapes) {
  EXPECT_EQ(*parse_shape("1*224*224*3"), (ir::Dims{1, 224, 224, 3}));
  EXPECT_EQ(*parse_shape(" 1 * 50 "), (ir::Dims{1, 50}));
  EXPECT_EQ(*parse_shape("7"), (ir::Dims{7}));
  EXPECT_EQ(*parse_shape("0*3"), (ir::Dims{0, 3}));
  EXPECT_EQ(*parse_shape(""), ir::Dims{});  // a scalar
}

TEST(OptionsTest, RefusesWhatIsNoShape) {
  for (const char* text : {"1x2", "1**2", "1*", "*1", "*", "-1*3", "1.5*2", "1*99999999999999999999", "1,2", "a"}) {
    const auto shape = parse_shape(text);
    ASSERT_FALSE(shape.ok()) << text;
    EXPECT_EQ(shape.status().message(),
              "'" + std::string(text) + "' is no shape; expected dims with * between them, as 1*224*224*3");
  }
}

TEST(OptionsTest, ParsesRanges) {
  EXPECT_EQ(*parse_range("[0,255]"), (std::pair<double, double>(0, 255)));
  EXPECT_EQ(*parse_range(" [ -1.5 , 2e3 ] "), (std::pair<double, double>(-1.5, 2000)));
  EXPECT_EQ(*parse_range("[3,3]"), (std::pair<double, double>(3, 3)));
}

TEST(OptionsTest, RefusesWhatIsNoRange) {
  for (const char* text : {"", "[]", "[,]", "[0]", "0,1", "[1,0]", "[0,1,2]", "(0,1)", "[a,b]", "[nan,nan]", "[0,inf]",
                           "[-1e308,1e308]"}) {
    const auto range = parse_range(text);
    ASSERT_FALSE(range.ok()) << text;
    EXPECT_EQ(range.status().message(), "'" + std::string(text) + "' is no range; expected [low,high], as [0,255]");
  }
}

TEST(OptionsTest, EmptyTextGivesDefaults) {
  const auto options = parse_options("");
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->level, "o1");
  EXPECT_EQ(options->device, "cpu");
  EXPECT_EQ(options->precision, "auto");
  EXPECT_EQ(options->num_threads, 0);
  EXPECT_TRUE(options->tuning_shapes.empty());
}

TEST(OptionsTest, RefusesTextThatIsNoObject) {
  for (const char* text : {"[]", "3", "{", "null", "\"o1\""}) {
    const auto options = parse_options(text);
    ASSERT_FALSE(options.ok()) << text;
    EXPECT_EQ(options.status().message(),
              "the options are no JSON object; expected one with the names of blade_option_table(), as "
              "{\"device_type\": \"cpu\"}");
  }
}

TEST(OptionsTest, LevelAndDeviceAreCaseInsensitive) {
  const OptimizeOptions options = accepted({{"optimization_level", "O2"}, {"device_type", "GPU"}});
  EXPECT_EQ(options.level, "o2");
  EXPECT_EQ(options.device, "gpu");
}

TEST(OptionsTest, RefusesUnknownLevelAndDevice) {
  EXPECT_EQ(refusal({{"optimization_level", "o3"}}), "optimization_level is 'o3'; expected 'o1' or 'o2'");
  EXPECT_EQ(refusal({{"device_type", "tpu"}}), "device_type is 'tpu'; expected 'cpu', 'gpu' or 'auto'");
}

TEST(OptionsTest, ReadsNamesShapesAndRanges) {
  const OptimizeOptions options = accepted(
      {{"inputs", json::array({"a", "b:0"})},
       {"outputs", {"c"}},
       {"custom_ops", {"ops.so"}},
       {"input_shapes",
        json::array({json::array({"1*2", "3"}), json::array({"4*2", "5"}), {{"a", "1*2"}, {"b:0", ""}, {"", "7"}}})},
       {"input_ranges", json::array({json::array({"[0,1]", "[2,3]"})})},
       {"verbose", true}});
  EXPECT_EQ(options.inputs, (std::vector<std::string>{"a", "b:0"}));
  EXPECT_EQ(options.outputs, (std::vector<std::string>{"c"}));
  EXPECT_EQ(options.custom_ops, (std::vector<std::string>{"ops.so"}));
  ASSERT_EQ(options.input_shapes.size(), 3u);
  EXPECT_EQ(options.input_shapes[0].by_order, (std::vector<ir::Dims>{{1, 2}, {3}}));
  EXPECT_EQ(options.input_shapes[1].by_order, (std::vector<ir::Dims>{{4, 2}, {5}}));
  EXPECT_EQ(options.input_shapes[2].by_name, (std::map<std::string, ir::Dims>{{"a", {1, 2}}, {"b:0", {}}, {"", {7}}}));
  EXPECT_EQ(options.input_ranges, (std::vector<std::vector<std::pair<double, double>>>{{{0, 1}, {2, 3}}}));
  EXPECT_TRUE(options.verbose);
}

TEST(OptionsTest, RefusesWrongListsOfNamesAndGroups) {
  const std::string groups = "; expected a list of groups, each a list of strings, one an input";
  EXPECT_EQ(refusal({{"inputs", "x"}}), "inputs is \"x\"; expected a list of names");
  EXPECT_EQ(refusal({{"outputs", {1}}}), "outputs holds 1; expected names");
  const std::string named = groups + ", or a dict of strings by input name";
  EXPECT_EQ(refusal({{"input_shapes", "1*2"}}), "input_shapes is \"1*2\"" + named);
  EXPECT_EQ(refusal({{"input_shapes", {"1*2"}}}), "input_shapes holds \"1*2\"" + named);
  EXPECT_EQ(refusal({{"input_shapes", {{1, 2}}}}), "input_shapes holds 1" + named);
  EXPECT_EQ(refusal({{"input_shapes", json::array({{{"x", 1}}})}}), "input_shapes holds 1" + named);
  EXPECT_EQ(refusal({{"input_ranges", json::array({{{"x", "[0,1]"}}})}}),
            "input_ranges holds {\"x\":\"[0,1]\"}" + groups);
  EXPECT_EQ(refusal({{"input_shapes", {{"1x2"}}}}),
            "input_shapes: '1x2' is no shape; expected dims with * between them, as 1*224*224*3");
  EXPECT_EQ(refusal({{"input_ranges", {{"1"}}}}), "input_ranges: '1' is no range; expected [low,high], as [0,255]");
}

TEST(OptionsTest, RefusesFieldsOfTheWrongType) {
  EXPECT_EQ(refusal({{"optimization_level", 1}}), "optimization_level is 1; expected a text");
  EXPECT_EQ(refusal({{"verbose", "yes"}}), "verbose is \"yes\"; expected true or false");
  EXPECT_EQ(refusal(with_config("cpu_config", {{"precision", 7}})),
            "config.cpu_config.precision is 7; expected a text");
  EXPECT_EQ(refusal(with_config("accuracy", {{"rtol", "1e-3"}})),
            "config.accuracy.rtol is \"1e-3\"; expected a number");
  EXPECT_EQ(refusal(with_config("cpu_config", {{"num_threads", int64_t{1} << 32}})),
            "config.cpu_config.num_threads is 4294967296; expected an integer");
  EXPECT_EQ(refusal(with_config("cpu_config", 3)),
            "config.cpu_config is 3; expected an object with the fields 'precision', 'num_threads'");
}

TEST(OptionsTest, RefusesUnknownFieldsAndNamesTheNearest) {
  EXPECT_EQ(refusal({{"optimisation_level", "o1"}}),
            "the options have no field 'optimisation_level'; did you mean 'optimization_level'?");
  EXPECT_EQ(refusal(with_config("acuracy", {{"rtol", 1}})), "config has no field 'acuracy'; did you mean 'accuracy'?");
  EXPECT_EQ(refusal(with_config("gpu_config", {{"tensorrt", {{"enabled", true}}}})),
            "config.gpu_config.tensorrt has no field 'enabled'; did you mean 'enable'?");
  EXPECT_EQ(refusal(with_config("tuning", {{"zzzzzzzzzzzzzzz", 1}})),
            "config.tuning has no field 'zzzzzzzzzzzzzzz'; its fields are 'time_limit_s', 'disable_perf_check', "
            "'cache_dir'");
}

// The defaults that the table documents are those that hold where nothing is given.
TEST(OptionsTest, TheTablesDefaultsAreTheOptions) {
  json given = json::object();
  for (const OptionRow& row : option_table()) {
    std::string pointer = "/" + std::string(row.name);
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    given[json::json_pointer(pointer)] = json::parse(row.default_value);
  }
  const OptimizeOptions table = accepted(given), none = accepted(json::object());
  EXPECT_TRUE(table.changed.empty());
  EXPECT_EQ(table.level, none.level);
  EXPECT_EQ(table.device, none.device);
  EXPECT_EQ(table.accuracy.rtol, none.accuracy.rtol);
  EXPECT_EQ(table.accuracy.atol, none.accuracy.atol);
  EXPECT_EQ(table.accuracy.metric, none.accuracy.metric);
  EXPECT_EQ(table.precision, none.precision);
  EXPECT_EQ(table.gpu_precision, none.gpu_precision);
  EXPECT_EQ(table.num_threads, none.num_threads);
  EXPECT_EQ(table.check_fp16_accuracy, none.check_fp16_accuracy);
  EXPECT_EQ(table.check_fp16_speed, none.check_fp16_speed);
  EXPECT_EQ(table.compile_chains, none.compile_chains);
  EXPECT_EQ(table.time_limit_s, none.time_limit_s);
  EXPECT_EQ(table.check_speed, none.check_speed);
  EXPECT_EQ(table.verbose, none.verbose);
}

TEST(OptionsTest, CompilingCanBeSwitchedOff) {
  EXPECT_TRUE(accepted(json::object()).compile_chains);
  EXPECT_FALSE(accepted(with_config("gpu_config", {{"aicompiler", {{"enable", false}}}})).compile_chains);
}

TEST(OptionsTest, SettingsWithoutEffectAreSaid) {
  const json config = {{"quantization", {{"enable", true}}},
                       {"gpu_config", {{"disable_fp16_perf_check", true}, {"tensorrt", {{"enable", true}}}}},
                       {"cpu_config", {{"precision", "bf16"}}}};
  const OptimizeOptions options = accepted({{"config", config}, {"calib_data", 2}});
  EXPECT_EQ(without_effect(options.changed, "cpu"),
            (std::vector<std::string>{"calib_data has no effect: int8 is not available yet",
                                      "config.gpu_config.disable_fp16_perf_check has no effect on device_type 'cpu'",
                                      "config.quantization.enable has no effect: int8 is not available yet"}));
  EXPECT_EQ(without_effect(options.changed, "gpu"),
            (std::vector<std::string>{"calib_data has no effect: int8 is not available yet",
                                      "config.cpu_config.precision has no effect on device_type 'gpu'",
                                      "config.quantization.enable has no effect: int8 is not available yet"}));
}

TEST(OptionsTest, MoreThreadsThanCpusAreSaid) {
  const int cpus = ThreadPool::usable_cpus();
  const OptimizeOptions most = accepted(with_config("cpu_config", {{"num_threads", 1024}}));
  EXPECT_EQ(most.asked_threads, 1024);
  EXPECT_EQ(most.num_threads, std::min(cpus, 1024));
  EXPECT_EQ(most.notes.size(), cpus < 1024 ? 1u : 0u);
  EXPECT_TRUE(accepted(with_config("cpu_config", {{"num_threads", 1}})).notes.empty());
}

TEST(OptionsTest, ReadsTheConfig) {
  const json config = {{"cpu_config", {{"precision", "bf16"}, {"num_threads", 1}}},
                       {"gpu_config", {{"precision", "fp16"}}},
                       {"accuracy", {{"rtol", 0.5}, {"atol", 0.25}, {"metric", "max_absolute"}}},
                       {"tuning", {{"time_limit_s", 7}}}};
  const OptimizeOptions options = accepted({{"config", config}});
  EXPECT_EQ(options.precision, "bf16");
  EXPECT_EQ(options.gpu_precision, "fp16");
  EXPECT_EQ(options.num_threads, 1);
  EXPECT_EQ(options.accuracy.rtol, 0.5);
  EXPECT_EQ(options.accuracy.atol, 0.25);
  EXPECT_EQ(options.accuracy.metric, "max_absolute");
  EXPECT_EQ(options.time_limit_s, 7);
  EXPECT_EQ(json::parse(options.user_config), config);
}

TEST(OptionsTest, RefusesConfigValues) {
  EXPECT_EQ(refusal(with_config("cpu_config", {{"precision", "fp8"}})),
            "config.cpu_config.precision is 'fp8'; expected 'auto', 'fp32' or 'bf16'");
  EXPECT_EQ(refusal(with_config("gpu_config", {{"precision", "int8"}})),
            "config.gpu_config.precision is 'int8'; expected 'auto', 'fp32', 'fp16' or 'bf16'");
  for (const int threads : {-1, 1025}) {
    EXPECT_EQ(refusal(with_config("cpu_config", {{"num_threads", threads}})),
              "config.cpu_config.num_threads is " + std::to_string(threads) +
                  "; expected 0 (all the process may use) to 1024");
  }
  EXPECT_EQ(refusal(with_config("accuracy", {{"metric", "psnr"}})),
            "config.accuracy.metric is 'psnr'; expected 'max_relative' or 'max_absolute'");
  EXPECT_EQ(refusal(with_config("accuracy", {{"rtol", -1}})),
            "config.accuracy.rtol is -1; expected a number of at least 0");
  EXPECT_EQ(refusal(with_config("accuracy", {{"atol", -2}})),
            "config.accuracy.atol is -2; expected a number of at least 0");
  EXPECT_EQ(refusal(with_config("tuning", {{"time_limit_s", -3}})),
            "config.tuning.time_limit_s is -3; expected a number of at least 0");
}

TEST(OptionsTest, NullsAreDefaults) {
  EXPECT_EQ(refusal({{"inputs", nullptr}, {"input_shapes", nullptr}, {"config", nullptr}}), "");
  EXPECT_EQ(refusal(with_config("dynamic_tuning_shapes", nullptr)), "");
  EXPECT_EQ(refusal(with_config("dynamic_tuning_shapes", json::object())), "");
}

TEST(TuningShapesTest, OneInputMayLeaveTheInnerListOut) {
  const json shapes = {{"min", {1, 8}}, {"opts", {{1, 16}, {2, 32}}}, {"max", {4, 64}}};
  const auto profile = resolve_profile(accepted(with_tuning(shapes)).tuning_shapes, inputs_named({"x"}));
  ASSERT_TRUE(profile.ok()) << profile.status().message();
  EXPECT_EQ(profile->min, (std::vector<ir::Dims>{{1, 8}}));
  EXPECT_EQ(profile->max, (std::vector<ir::Dims>{{4, 64}}));
  EXPECT_EQ(profile->opts, (std::vector<std::vector<ir::Dims>>{{{1, 16}}, {{2, 32}}}));
}

TEST(TuningShapesTest, SeveralInputsInPlaceholderOrder) {
  const json shapes = {{"min", {{1, 3, 224, 224}, {1, 50}}},
                       {"opts", {{{1, 3, 512, 512}, {1, 60}}}},
                       {"max", {{1, 3, 1024, 1024}, {1, 70}}}};
  const auto profile = resolve_profile(accepted(with_tuning(shapes)).tuning_shapes, inputs_named({"image", "text"}));
  ASSERT_TRUE(profile.ok()) << profile.status().message();
  EXPECT_EQ(profile->opts, (std::vector<std::vector<ir::Dims>>{{{1, 3, 512, 512}, {1, 60}}}));
}

TEST(TuningShapesTest, InputsByNameWithOrWithoutThePort) {
  const json shapes = {
      {"min", {{"b:0", {1}}, {"a", {2}}}}, {"opts", {{{"a", {3}}, {"b", {2}}}}}, {"max", {{"a:0", {4}}, {"b", {5}}}}};
  const auto profile = resolve_profile(accepted(with_tuning(shapes)).tuning_shapes, inputs_named({"a", "b"}));
  ASSERT_TRUE(profile.ok()) << profile.status().message();
  EXPECT_EQ(profile->min, (std::vector<ir::Dims>{{2}, {1}}));
  EXPECT_EQ(profile->max, (std::vector<ir::Dims>{{4}, {5}}));
}

TEST(TuningShapesTest, OptsOutOfBoundsSaysWhichInputDimAndNumbers) {
  const json low = {{"min", {{4}, {1, 50}}}, {"opts", {{{4}, {1, 49}}}}, {"max", {{4}, {1, 70}}}};
  EXPECT_EQ(profile_refusal(low, {"image", "text"}),
            "Dim value in 'opts' is not between min_dim and max_dim: input 'text', dim 1: 49 is not between 50 and 70");
  const json high = {{"min", {1}}, {"opts", {{2}, {9}}}, {"max", {8}}};
  EXPECT_EQ(profile_refusal(high, {"x"}),
            "Dim value in 'opts' is not between min_dim and max_dim: input 'x', dim 0: 9 is not between 1 and 8");
}

TEST(TuningShapesTest, BoundsBelongToTheProfile) {
  const std::vector<engine::TensorInfo> model = {{"x", ir::DType::kFloat32, ir::Shape({ir::Dim(1), ir::Dim(16)})}};
  const json other = {{"min", {1, 17}}, {"opts", {{1, 17}}}, {"max", {1, 17}}};
  EXPECT_EQ(resolve_profile(accepted(with_tuning(other)).tuning_shapes, model).status().message(),
            "dynamic_tuning_shapes['min'] gives the input 'x' the shape [1,17], the model expects [1,16]");
  EXPECT_EQ(profile_refusal({{"min", {1, 8}}, {"opts", {{1, 8}, {4, 64}}}, {"max", {4, 64}}}, {"x"}), "");
}

TEST(TuningShapesTest, RefusesMinAboveMax) {
  const std::string sentence =
      "dynamic_tuning_shapes: the min shape of the input 'x' is not at most its max shape in every dim";
  EXPECT_EQ(profile_refusal({{"min", {2}}, {"opts", {{2}}}, {"max", {1}}}, {"x"}), sentence);
  EXPECT_EQ(profile_refusal({{"min", {2}}, {"opts", {{2}}}, {"max", {2, 2}}}, {"x"}), sentence);
}

TEST(TuningShapesTest, RefusesWrongRanksAndCounts) {
  EXPECT_EQ(profile_refusal({{"min", {2}}, {"opts", {{2, 2}}}, {"max", {2}}}, {"x"}),
            "dynamic_tuning_shapes['opts'] gives the input 'x' 2 dims where min has 1");
  EXPECT_EQ(profile_refusal({{"min", {2}}, {"opts", {{2}}}, {"max", {2}}}, {"x", "y"}),
            "dynamic_tuning_shapes['min'] has shapes for 1 inputs, the model has 2; give one shape an input");
  EXPECT_EQ(profile_refusal({{"min", {{"x", {1}}}}, {"opts", {{2}}}, {"max", {2}}}, {"x", "y"}),
            "dynamic_tuning_shapes['min'] has no shape for the input 'y'");
  EXPECT_EQ(profile_refusal({{"min", {{"x", {1}}, {"z", {1}}}}, {"opts", {{2}}}, {"max", {2}}}, {"x"}),
            "dynamic_tuning_shapes['min']: 'z' is no input of the model; its inputs are 'x'; leave it out or give one "
            "of those");
}

TEST(TuningShapesTest, RefusesBadGrammar) {
  const std::string field = "config.dynamic_tuning_shapes";
  EXPECT_EQ(refusal(with_tuning({1, 2})), field + " is [1,2]; expected a dict with min, opts and max");
  EXPECT_EQ(refusal(with_tuning({{"min", {1}}, {"max", {1}}})),
            field + " lacks 'opts'; min, opts and max are all needed");
  EXPECT_EQ(refusal(with_tuning({{"min", {1}}, {"max", {1}}, {"opts", {{1}}}, {"opt", {1}}})),
            field + " has the key 'opt'; only min, opts and max are known");
  EXPECT_EQ(refusal(with_tuning({{"min", {1}}, {"max", {1}}, {"opts", json::array()}})),
            field + "['opts'] is []; expected a list of shape groups");
  EXPECT_EQ(refusal(with_tuning({{"min", {-1}}, {"max", {1}}, {"opts", {{1}}}})),
            field + "['min'] has a dim -1; dims are integers of at least 0");
  EXPECT_EQ(refusal(with_tuning({{"min", {1}}, {"max", {1.5}}, {"opts", {{1}}}})),
            field + "['max'] has a dim 1.5; dims are integers of at least 0");
  EXPECT_EQ(refusal(with_tuning({{"min", {1}}, {"max", {1}}, {"opts", {{{{1}}}}}})),
            field + "['opts'][0] holds [[1]]; a list of dims was expected");
  EXPECT_EQ(
      refusal(with_tuning({{"min", 5}, {"max", {1}}, {"opts", {{1}}}})),
      field + "['min'] is 5; expected a list of dims, a list of such lists (one an input) or a dict by input name");
  EXPECT_EQ(refusal(with_tuning({{"min", {{"x", 5}}}, {"max", {1}}, {"opts", {{1}}}})),
            field + "['min']['x'] is 5; a list of dims was expected");
}

TEST(TuningShapesTest, MayStandAtTheTensorRtSettings) {
  const json one = {{"min", {1}}, {"opts", {{1}}}, {"max", {1}}}, other = {{"min", {1}}, {"opts", {{2}}}, {"max", {2}}};
  const auto both = [](const json& general, const json& tensorrt) -> json {
    return {
        {"config",
         {{"dynamic_tuning_shapes", general}, {"gpu_config", {{"tensorrt", {{"dynamic_tuning_shapes", tensorrt}}}}}}}};
  };
  EXPECT_EQ(accepted(both(json::object(), other)).tuning_shapes.opts[0].by_order, (std::vector<ir::Dims>{{2}}));
  EXPECT_EQ(refusal(both(one, one)), "");
  EXPECT_EQ(
      refusal(both(one, other)),
      "config.dynamic_tuning_shapes and config.gpu_config.tensorrt.dynamic_tuning_shapes are both set and differ; set "
      "one");
  EXPECT_EQ(refusal(both(json::object(), {{"min", {1}}})),
            "config.gpu_config.tensorrt.dynamic_tuning_shapes lacks 'max'; min, opts and max are all needed");
}

TEST(NamedShapes, InputsGoByNodeOrTensorOrPlace) {
  const NamedShapes named{{}, {{"a", {1}}, {"b:0", {2}}, {"c:1", {3}}}};
  for (const char* name : {"a", "a:0"}) EXPECT_EQ(*named.find(1, name), ir::Dims{1});
  for (const char* name : {"b", "b:0"}) EXPECT_EQ(*named.find(0, name), ir::Dims{2});
  EXPECT_EQ(named.find(2, "c"), nullptr);
  EXPECT_EQ(*named.find(2, "c:1"), ir::Dims{3});
  const NamedShapes ordered{{{4}, {5}}, {}};
  EXPECT_EQ(*ordered.find(1, "a"), ir::Dims{5});
  EXPECT_EQ(ordered.find(2, "a"), nullptr);
}

}  // namespace
}  // namespace blade::optimizer
