// The C interface as a program meets it: loading, describing, running with its own memory, wrong use, threads, and
// callers built against an older header.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "blade/blade.h"
#include "capi/small_model.h"

namespace blade::capi::testing {
namespace {

blade_tensor float_matrix(std::vector<float>& values, int64_t columns) {
  blade_tensor tensor = {};
  tensor.dtype = BLADE_FLOAT32;
  tensor.rank = 2;
  tensor.dims[0] = static_cast<int64_t>(values.size()) / columns;
  tensor.dims[1] = columns;
  tensor.data = values.data();
  tensor.bytes = values.size() * sizeof(float);
  return tensor;
}

blade_engine_options options_for(const std::vector<const char*>& outputs) {
  blade_engine_options options = {};
  options.struct_size = sizeof options;
  options.num_threads = 1;
  options.outputs = outputs.data();
  options.num_outputs = static_cast<int32_t>(outputs.size());
  return options;
}

// The small model with the output y alone.
class CapiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::vector<const char*> outputs = {"y"};
    const blade_engine_options options = options_for(outputs);
    ASSERT_EQ(blade_engine_load(file_.path(), &options, &engine_), BLADE_OK) << blade_last_error();
  }
  void TearDown() override { blade_engine_free(engine_); }

  ModelFile file_;
  blade_engine* engine_ = nullptr;
};

TEST_F(CapiTest, DescribesInputsAndOutputs) {
  ASSERT_EQ(blade_engine_num_inputs(engine_), 1);
  ASSERT_EQ(blade_engine_num_outputs(engine_), 1);
  blade_tensor description;
  EXPECT_STREQ(blade_engine_input(engine_, 0, &description), "x");
  EXPECT_EQ(description.dtype, BLADE_FLOAT32);
  ASSERT_EQ(description.rank, 2);
  EXPECT_EQ(description.dims[0], -1);
  EXPECT_EQ(description.dims[1], 4);
  EXPECT_STREQ(blade_engine_output(engine_, 0, &description), "y");
  ASSERT_EQ(description.rank, 2);
  EXPECT_EQ(description.dims[0], -1);
  EXPECT_EQ(description.dims[1], 3);
  EXPECT_STREQ(blade_engine_input(engine_, 0, nullptr), "x");
  EXPECT_EQ(blade_engine_input(engine_, 1, &description), nullptr);
  EXPECT_EQ(blade_engine_output(engine_, -1, &description), nullptr);
  EXPECT_EQ(blade_engine_input_key(engine_, 0), nullptr) << "a frozen graph has no signature";
  EXPECT_EQ(blade_engine_input_key(engine_, 7), nullptr);
  EXPECT_EQ(blade_engine_unread_input(engine_, 0, nullptr), nullptr);
}

TEST(CapiUnreadInputs, NamesPlaceholdersWithTheirBuiltInValues) {
  ModelFile file(
      "node { name: 'x' op: 'Placeholder' attr { key: 'dtype' value { type: DT_FLOAT } } }\n"
      "node { name: 'labels' op: 'Placeholder' attr { key: 'dtype' value { type: DT_INT64 } } }\n"
      "node { name: 'half' op: 'Const' attr { key: 'dtype' value { type: DT_FLOAT } }\n"
      "  attr { key: 'value' value { tensor { dtype: DT_FLOAT tensor_shape { } float_val: 0.5 } } } }\n"
      "node { name: 'scale' op: 'PlaceholderWithDefault' input: 'half' attr { key: 'dtype' value { type: DT_FLOAT } }\n"
      "  attr { key: 'shape' value { shape { } } } }\n"
      "node { name: 'y' op: 'Mul' input: 'x' input: 'scale' attr { key: 'T' value { type: DT_FLOAT } } }\n",
      ".pbtxt");
  blade_engine* engine = nullptr;
  ASSERT_EQ(blade_engine_load(file.path(), nullptr, &engine), BLADE_OK) << blade_last_error();
  ASSERT_EQ(blade_engine_num_inputs(engine), 1);
  blade_tensor value;
  EXPECT_STREQ(blade_engine_unread_input(engine, 0, &value), "labels");
  EXPECT_EQ(value.dtype, BLADE_INVALID_DTYPE);
  ASSERT_STREQ(blade_engine_unread_input(engine, 1, &value), "scale");
  ASSERT_EQ(value.dtype, BLADE_FLOAT32);
  EXPECT_EQ(value.rank, 0);
  EXPECT_EQ(*static_cast<const float*>(value.data), 0.5F);
  EXPECT_EQ(blade_engine_unread_input(engine, 2, &value), nullptr);
  EXPECT_EQ(blade_engine_check_unread_input(engine, 1, &value), BLADE_OK);
  float other = 0.25F;
  value.data = &other;
  EXPECT_EQ(blade_engine_check_unread_input(engine, 1, &value), BLADE_INVALID_ARGUMENT);
  EXPECT_NE(std::string(blade_last_error()).find("expected 0.5 (float32 [])"), std::string::npos);
  EXPECT_EQ(blade_engine_check_unread_input(engine, 0, &value), BLADE_OK) << "no output needs the labels";
  EXPECT_EQ(blade_engine_check_unread_input(engine, 2, &value), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(blade_engine_check_unread_input(engine, 1, nullptr), BLADE_INVALID_ARGUMENT);
  blade_engine_free(engine);
}

TEST_F(CapiTest, PreparesAndRunsInCallerMemory) {
  for (const size_t rows : {1, 5, 0, 5}) {
    std::vector<float> x(rows * 4);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) - 6;
    const blade_tensor input = float_matrix(x, 4);
    blade_tensor output = {};
    ASSERT_EQ(blade_engine_prepare(engine_, &input, 1, &output, 1), BLADE_OK) << blade_last_error();
    EXPECT_EQ(output.dtype, BLADE_FLOAT32);
    EXPECT_EQ(output.dims[0], static_cast<int64_t>(rows));
    ASSERT_EQ(output.bytes, rows * 3 * sizeof(float));
    std::vector<float> y(rows * 3 + 1, 77);
    output.data = y.data();
    ASSERT_EQ(blade_engine_run(engine_, &input, 1, &output, 1), BLADE_OK) << blade_last_error();
    EXPECT_EQ(y.back(), 77);
    y.pop_back();
    EXPECT_EQ(y, expected_y(x));
  }
}

TEST_F(CapiTest, AskedOutputsComeInTheOrderAsked) {
  const std::vector<const char*> outputs = {"rows:0", "y"};
  const blade_engine_options options = options_for(outputs);
  blade_engine* both = nullptr;
  ASSERT_EQ(blade_engine_load(file_.path(), &options, &both), BLADE_OK) << blade_last_error();
  std::vector<float> x(8, 1), y(6);
  std::vector<int32_t> rows(2);
  const blade_tensor input = float_matrix(x, 4);
  blade_tensor results[2] = {};
  results[0].data = rows.data();
  results[0].bytes = rows.size() * sizeof(int32_t);
  results[1].data = y.data();
  results[1].bytes = y.size() * sizeof(float);
  ASSERT_EQ(blade_engine_run(both, &input, 1, results, 2), BLADE_OK) << blade_last_error();
  EXPECT_EQ(results[0].dtype, BLADE_INT32);
  EXPECT_EQ(rows, (std::vector<int32_t>{2, 4}));
  EXPECT_EQ(y, expected_y(x));
  EXPECT_EQ(blade_engine_run(both, &input, 1, results, 1), BLADE_INVALID_ARGUMENT);
  EXPECT_STREQ(blade_last_error(),
               "the model has an output 1, the caller gave memory for 1 outputs; ask blade_engine_num_outputs");
  blade_engine_free(both);
}

TEST_F(CapiTest, TooLittleOutputMemoryIsRefusedAndLeftAlone) {
  std::vector<float> x(8, 1), y(6, 77);
  const blade_tensor input = float_matrix(x, 4);
  blade_tensor output = {};
  output.data = y.data();
  output.bytes = 20;
  EXPECT_EQ(blade_engine_run(engine_, &input, 1, &output, 1), BLADE_INVALID_ARGUMENT);
  EXPECT_STREQ(blade_last_error(),
               "output 0 needs 24 bytes, the caller gave 20; ask blade_engine_prepare for the sizes");
  EXPECT_EQ(output.bytes, 20u);
  EXPECT_EQ(y, std::vector<float>(6, 77));
  output.data = nullptr;
  output.bytes = 24;
  EXPECT_EQ(blade_engine_run(engine_, &input, 1, &output, 1), BLADE_INVALID_ARGUMENT);
  EXPECT_STREQ(blade_last_error(),
               "output 0 needs 24 bytes, the caller gave 0; ask blade_engine_prepare for the sizes");
}

TEST_F(CapiTest, RunsWithMemoryThatACallbackGives) {
  std::vector<float> x(8, 1), y;
  const blade_tensor input = float_matrix(x, 4);
  const auto allocate = [](void* arg, int32_t index, const blade_tensor* description) -> void* {
    auto& values = *static_cast<std::vector<float>*>(arg);
    EXPECT_EQ(index, 0);
    values.resize(description->bytes / sizeof(float));
    return values.data();
  };
  ASSERT_EQ(blade_engine_run_with(engine_, &input, 1, allocate, &y), BLADE_OK) << blade_last_error();
  EXPECT_EQ(y, expected_y(x));
  const auto nothing = [](void*, int32_t, const blade_tensor*) -> void* { return nullptr; };
  EXPECT_EQ(blade_engine_run_with(engine_, &input, 1, nothing, nullptr), BLADE_RESOURCE_EXHAUSTED);
  EXPECT_NE(std::string(blade_last_error()).find("'y'"), std::string::npos) << blade_last_error();
}

TEST_F(CapiTest, WrongInputsAreSentences) {
  std::vector<float> x(8, 1), y(6);
  const blade_tensor good = float_matrix(x, 4);
  blade_tensor output = float_matrix(y, 3);
  const auto refused = [&](const blade_tensor& input, const std::string& word) {
    EXPECT_EQ(blade_engine_run(engine_, &input, 1, &output, 1), BLADE_INVALID_ARGUMENT);
    EXPECT_NE(std::string(blade_last_error()).find(word), std::string::npos) << blade_last_error();
  };
  blade_tensor bad = good;
  bad.dtype = BLADE_INT32;
  refused(bad, "int32");
  bad = good;
  bad.dtype = static_cast<blade_dtype>(99);
  refused(bad, "unknown dtype 99");
  bad = good;
  bad.rank = 17;
  refused(bad, "rank 17");
  bad = good;
  bad.rank = -1;
  refused(bad, "rank -1");
  bad = good;
  bad.rank = 1;
  refused(bad, "x");
  bad = good;
  bad.dims[1] = 2;
  refused(bad, "x");
  bad = good;
  bad.dims[0] = -2;
  refused(bad, "negative dim");
  bad = good;
  bad.dims[0] = int64_t{1} << 61;
  refused(bad, "more elements than memory holds");
  bad = good;
  bad.bytes = 31;
  refused(bad, "31 bytes of data where its shape needs 32");
  bad = good;
  bad.data = nullptr;
  refused(bad, "without data");
  const blade_tensor twice[2] = {good, good};
  EXPECT_EQ(blade_engine_run(engine_, twice, 2, &output, 1), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(blade_engine_run(engine_, &good, 0, &output, 1), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(blade_engine_run(engine_, &good, -1, &output, 1), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(blade_engine_run(engine_, nullptr, 1, &output, 1), BLADE_INVALID_ARGUMENT);
  EXPECT_STREQ(blade_last_error(), "inputs is NULL");
  EXPECT_EQ(blade_engine_prepare(engine_, twice, 2, nullptr, 0), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(blade_engine_run(engine_, &good, 1, nullptr, 1), BLADE_INVALID_ARGUMENT);
}

TEST_F(CapiTest, ManyThreadsShareAnEngine) {
  const uint64_t before = blade_engine_runs();
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t, &wrong] {
      for (int run = 0; run < 25; ++run) {
        std::vector<float> x(4 * static_cast<size_t>(1 + (run + t) % 3)), y(x.size() / 4 * 3);
        for (size_t i = 0; i < x.size(); ++i)
          x[i] = static_cast<float>((static_cast<int>(i) * 7 + t * 3 + run) % 11 - 5);
        const blade_tensor input = float_matrix(x, 4);
        blade_tensor output = float_matrix(y, 3);
        if (blade_engine_run(engine_, &input, 1, &output, 1) != BLADE_OK || y != expected_y(x)) ++wrong[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0)) << blade_last_error();
  EXPECT_EQ(blade_engine_runs() - before, 100u);
}

TEST_F(CapiTest, TheLastErrorBelongsToItsThread) {
  EXPECT_EQ(blade_engine_load(nullptr, nullptr, nullptr), BLADE_INVALID_ARGUMENT);
  std::string other = "unset";
  std::thread([&other] { other = blade_last_error(); }).join();
  EXPECT_EQ(other, "");
  EXPECT_STREQ(blade_last_error(), "path is NULL");
}

TEST_F(CapiTest, FindsWhatNamesMean) {
  const char* names[] = {"x:0", "x", "z"};
  int32_t index = -1;
  ASSERT_EQ(blade_engine_find_inputs(engine_, names, 1, &index), BLADE_OK) << blade_last_error();
  EXPECT_EQ(index, 0);
  int32_t indices[2];
  EXPECT_EQ(blade_engine_find_inputs(engine_, names, 2, indices), BLADE_INVALID_ARGUMENT);
  EXPECT_STREQ(blade_last_error(), "the input 'x' is given twice, as 'x:0' and as 'x'; leave all but one out");
  EXPECT_EQ(blade_engine_find_inputs(engine_, names + 2, 1, &index), BLADE_INVALID_ARGUMENT);
  EXPECT_STREQ(blade_last_error(),
               "'z' is no input of the model; its inputs are 'x'; leave it out or give one of those");
  EXPECT_EQ(blade_engine_find_inputs(engine_, nullptr, 1, &index), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(blade_engine_find_inputs(nullptr, names, 1, &index), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(blade_engine_find_inputs(engine_, nullptr, 0, nullptr), BLADE_OK);
  EXPECT_EQ(blade_engine_find_output(engine_, "y:0"), blade_engine_find_output(engine_, "y"));
  EXPECT_GE(blade_engine_find_output(engine_, "y"), 0);
  EXPECT_EQ(blade_engine_find_output(engine_, "z"), -1);
  EXPECT_EQ(blade_engine_find_output(nullptr, "y"), -1);
}

TEST_F(CapiTest, TextsAreJsonForTheCallerToFree) {
  std::vector<float> x(8, 1);
  const blade_tensor input = float_matrix(x, 4);
  char* json = nullptr;
  ASSERT_EQ(blade_engine_explain(engine_, &input, 1, &json), BLADE_OK) << blade_last_error();
  EXPECT_EQ(json[0], '{');
  blade_free(json);
  ASSERT_EQ(blade_engine_explain(engine_, nullptr, 0, &json), BLADE_OK) << blade_last_error();
  blade_free(json);
  ASSERT_EQ(blade_engine_profile(engine_, &input, 1, 2, &json), BLADE_OK) << blade_last_error();
  EXPECT_NE(std::string(json).find("\"median_us\""), std::string::npos);
  blade_free(json);
  ASSERT_EQ(blade_inspect(file_.path(), nullptr, &json), BLADE_OK) << blade_last_error();
  EXPECT_EQ(json[0], '{');
  blade_free(json);
  ASSERT_EQ(blade_placeholder_types(file_.path(), nullptr, 0, nullptr, &json), BLADE_OK) << blade_last_error();
  EXPECT_NE(std::string(json).find("\"float32\""), std::string::npos) << json;
  blade_free(json);
  ASSERT_EQ(blade_doctor(nullptr, &json), BLADE_OK) << blade_last_error();
  blade_free(json);
  blade_free(nullptr);
}

TEST(CapiOptionsTest, AnOlderCallersStructIsReadOnlyAsFarAsItGoes) {
  const ModelFile file;
  struct Older {
    size_t struct_size;
    int32_t num_threads;
    unsigned char beyond[64];
  } older = {};
  older.struct_size = offsetof(blade_engine_options, max_cached_plans);
  older.num_threads = 1;
  std::memset(older.beyond, 0xee, sizeof older.beyond);  // would be a wild outputs pointer
  blade_engine* engine = nullptr;
  ASSERT_EQ(blade_engine_load(file.path(), reinterpret_cast<const blade_engine_options*>(&older), &engine), BLADE_OK)
      << blade_last_error();
  EXPECT_EQ(blade_engine_num_outputs(engine), 2);  // the model's own: y and rows
  blade_engine_free(engine);
}

TEST(CapiOptionsTest, ReferenceKernelsGiveTheSameAnswer) {
  const ModelFile file;
  const std::vector<const char*> outputs = {"y"};
  blade_engine_options options = options_for(outputs);
  options.use_reference = 1;
  blade_engine* engine = nullptr;
  ASSERT_EQ(blade_engine_load(file.path(), &options, &engine), BLADE_OK) << blade_last_error();
  std::vector<float> x = {1, 2, 3, 4}, y(3);
  const blade_tensor input = float_matrix(x, 4);
  blade_tensor output = float_matrix(y, 3);
  EXPECT_EQ(blade_engine_run(engine, &input, 1, &output, 1), BLADE_OK) << blade_last_error();
  EXPECT_EQ(y, expected_y(x));
  blade_engine_free(engine);
}

TEST(CapiOptionsTest, OutputsThatAreNotThere) {
  const ModelFile file;
  blade_engine* engine = nullptr;
  std::vector<const char*> outputs = {"nowhere"};
  blade_engine_options options = options_for(outputs);
  EXPECT_EQ(blade_engine_load(file.path(), &options, &engine), BLADE_NOT_FOUND);
  EXPECT_NE(std::string(blade_last_error()).find("nowhere"), std::string::npos);
  outputs[0] = nullptr;
  EXPECT_EQ(blade_engine_load(file.path(), &options, &engine), BLADE_INVALID_ARGUMENT);
  EXPECT_STREQ(blade_last_error(), "options->outputs[0] is NULL");
  EXPECT_EQ(engine, nullptr);
}

TEST(CapiNullTest, NoHandleIsAnErrorOrNothing) {
  blade_engine_free(nullptr);
  EXPECT_EQ(blade_engine_num_inputs(nullptr), 0);
  EXPECT_EQ(blade_engine_num_outputs(nullptr), 0);
  EXPECT_EQ(blade_engine_input(nullptr, 0, nullptr), nullptr);
  EXPECT_EQ(blade_engine_output(nullptr, 0, nullptr), nullptr);
  EXPECT_EQ(blade_engine_run(nullptr, nullptr, 0, nullptr, 0), BLADE_INVALID_ARGUMENT);
  EXPECT_STREQ(blade_last_error(), "engine is NULL");
  EXPECT_EQ(blade_engine_run_with(nullptr, nullptr, 0, nullptr, nullptr), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(blade_engine_prepare(nullptr, nullptr, 0, nullptr, 0), BLADE_INVALID_ARGUMENT);
  char* json = nullptr;
  EXPECT_EQ(blade_engine_explain(nullptr, nullptr, 0, &json), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(blade_engine_explain(nullptr, nullptr, 0, nullptr), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(blade_engine_profile(nullptr, nullptr, 0, 1, &json), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(blade_inspect(nullptr, nullptr, &json), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(json, nullptr);
  blade_count_fallback(nullptr);
}

TEST(CapiNullTest, OptimizingNeedsARequestOfThisVersion) {
  blade_optimize_result* result = nullptr;
  EXPECT_EQ(blade_optimize(nullptr, &result), BLADE_INVALID_ARGUMENT);
  blade_optimize_request request = {};
  EXPECT_EQ(blade_optimize(&request, &result), BLADE_INVALID_ARGUMENT);
  EXPECT_NE(std::string(blade_last_error()).find("struct_size is 0"), std::string::npos) << blade_last_error();
  request.struct_size = sizeof request;
  EXPECT_NE(blade_optimize(&request, &result), BLADE_OK);  // no model
  EXPECT_EQ(result, nullptr);
  blade_optimize_free(nullptr);
}

TEST(CapiOptimizeTest, AssertionsAreNoHindranceWithoutTensorFlow) {
  const std::string yes =
      wire::attr("dtype", wire::number(6, 10)) +
      wire::attr("value", wire::bytes(8, wire::tensor(10, {}, wire::bytes(4, std::string(1, '\1')))));
  const std::string type = wire::attr("T", wire::number(6, 1));
  const std::string assertion =
      wire::bytes(3, "yes") + wire::bytes(3, "x") + wire::attr("T", wire::bytes(1, wire::number(6, 1)));
  const std::string model =
      small_graph_def() + wire::bytes(1, wire::node("yes", "Const", yes)) +
      wire::bytes(1, wire::node("check", "Assert", assertion)) +
      wire::bytes(1, wire::node("checked", "Relu", wire::bytes(3, "y") + wire::bytes(3, "^check") + type));
  blade_optimize_request request = {};
  request.struct_size = sizeof request;
  request.model_bytes = model.data();
  request.model_size = model.size();
  request.options_json = R"({"outputs": ["checked"], "device_type": "cpu"})";
  blade_optimize_result* result = nullptr;
  ASSERT_EQ(blade_optimize(&request, &result), BLADE_OK) << blade_last_error();
  EXPECT_NE(std::string(blade_optimize_report(result)).find("reference kernels"), std::string::npos);
  blade_optimize_free(result);
}

TEST(CapiLoadTest, FilesThatAreNoModels) {
  blade_engine* engine = nullptr;
  EXPECT_EQ(blade_engine_load("/nowhere/model.pb", nullptr, &engine), BLADE_NOT_FOUND);
  EXPECT_NE(std::string(blade_last_error()).find("/nowhere/model.pb"), std::string::npos);
  const ModelFile good, truncated(small_graph_def().substr(0, 200)), garbage(std::string(300, '\x9c')), empty("");
  for (const ModelFile* file : {&truncated, &garbage, &empty}) {
    EXPECT_NE(blade_engine_load(file->path(), nullptr, &engine), BLADE_OK);
    EXPECT_STRNE(blade_last_error(), "");
  }
  EXPECT_EQ(blade_engine_load(good.path(), nullptr, nullptr), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(engine, nullptr);
}

TEST(CapiCountersTest, FallbacksAreCounted) {
  const uint64_t before = blade_fallback_runs();
  blade_count_fallback("a reason of a test");
  blade_count_fallback("a reason of a test");
  EXPECT_EQ(blade_fallback_runs() - before, 2u);
}

TEST(CapiVersionTest, IsThreeNumbers) {
  int major = -1, minor = -1, patch = -1;
  EXPECT_EQ(std::sscanf(blade_version(), "%d.%d.%d", &major, &minor, &patch), 3);
}

}  // namespace
}  // namespace blade::capi::testing
