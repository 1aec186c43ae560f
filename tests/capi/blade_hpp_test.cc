// The C++ interface over the C one: ownership, views of caller memory, and errors as exceptions.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <fstream>

#include "blade/blade.hpp"
#include "capi/small_model.h"

namespace blade::capi::testing {
namespace {

TEST(BladeHppTest, LoadsDescribesAndRuns) {
  const ModelFile file;
  Engine::Options options;
  options.num_threads = 1;
  options.outputs = {"y"};
  Engine engine(file.path(), options);
  ASSERT_EQ(engine.inputs().size(), 1u);
  EXPECT_EQ(engine.inputs()[0].name, "x");
  EXPECT_EQ(engine.inputs()[0].description.dims[1], 4);
  const std::vector<float> x = {1, -2, 3, 4, 0, 1, 0, 1};
  const std::vector<Tensor> outputs = engine.run({view(x.data(), {2, 4})});
  ASSERT_EQ(outputs.size(), 1u);
  EXPECT_EQ(outputs[0].dims(), (std::vector<int64_t>{2, 3}));
  ASSERT_EQ(outputs[0].size<float>(), 6u);
  EXPECT_EQ(std::vector<float>(outputs[0].data<float>(), outputs[0].data<float>() + 6), expected_y(x));
  EXPECT_THROW(outputs[0].data<int32_t>(), Error);

  std::vector<float> y(6);
  std::vector<blade_tensor> memory = {view(y.data(), {2, 3})};
  engine.run({view(x.data(), {2, 4})}, memory);
  EXPECT_EQ(y, expected_y(x));
}

TEST(BladeHppTest, InputsAndOutputsOfASavedModelHaveKeys) {
  const wire::TempDir folder;
  std::ofstream(folder.file("saved_model.pb"), std::ios::binary) << small_saved_model();
  const Engine engine(folder.path());
  ASSERT_EQ(engine.inputs().size(), 1u);
  EXPECT_EQ(engine.inputs()[0].name, "x");
  EXPECT_EQ(engine.input_key(0), "features");
  EXPECT_EQ(engine.input_key(1), "");
  EXPECT_EQ(engine.output_key(0), "scores");
  EXPECT_EQ(engine.output_key(1), "");
  const ModelFile file;
  EXPECT_EQ(Engine(file.path()).input_key(0), "") << "a frozen graph has no signature";
  EXPECT_EQ(Engine(file.path()).output_key(0), "");
}

TEST(BladeHppTest, EveryElementTypeHasItsDtype) {
  const std::vector<int64_t> dims = {3};
  EXPECT_EQ(view(std::array<uint16_t, 3>().data(), dims).dtype, BLADE_UINT16);
  EXPECT_EQ(view(std::array<uint32_t, 3>().data(), dims).dtype, BLADE_UINT32);
  EXPECT_EQ(view(std::array<uint64_t, 3>().data(), dims).dtype, BLADE_UINT64);
  EXPECT_EQ(view(std::array<Float16, 3>().data(), dims).dtype, BLADE_FLOAT16);
  const blade_tensor bfloat16 = view(std::array<BFloat16, 3>().data(), dims);
  EXPECT_EQ(bfloat16.dtype, BLADE_BFLOAT16);
  EXPECT_EQ(bfloat16.bytes, 6u);
}

TEST(BladeHppTest, SixteenBitFloatsConvertAsTheProcessorDoes) {
  for (int bits = 0; bits < 65536; ++bits) {
    Float16 half;
    half.bits = static_cast<uint16_t>(bits);
    const float value(half);
    if (std::isnan(value)) continue;
    EXPECT_EQ(Float16(value).bits, bits);
    // Halfway to the neighbour goes to the even one, a little more to the neighbour.
    if ((bits & 0x7fff) >= 0x7bff) continue;
    Float16 next;
    next.bits = static_cast<uint16_t>(bits + 1);
    const float middle = (value + static_cast<float>(next)) / 2;
    EXPECT_EQ(Float16(middle).bits, bits % 2 == 0 ? bits : bits + 1);
    EXPECT_EQ(Float16(std::nextafter(middle, static_cast<float>(next))).bits, bits + 1);
  }
  EXPECT_EQ(Float16(65519.0f).bits, 0x7bff);
  EXPECT_EQ(Float16(-65520.0f).bits, 0xfc00);
  EXPECT_TRUE(std::isnan(static_cast<float>(Float16(std::nanf("")))));
  EXPECT_EQ(BFloat16(1.0f).bits, 0x3f80);
  EXPECT_EQ(BFloat16(1.00390625f).bits, 0x3f80);  // halfway: to the even one
  EXPECT_EQ(BFloat16(1.01171875f).bits, 0x3f82);
  EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(std::nanf("")))));
  EXPECT_EQ(static_cast<float>(BFloat16(-2.5f)), -2.5f);
}

TEST(BladeHppTest, OptionsReachTheEngine) {
  const ModelFile file;
  Engine::Options options;
  options.device = "abacus";
  EXPECT_THROW(Engine(file.path(), options), Error);
  options.device = "CPU";
  options.max_cached_plans = 1;
  Engine engine(file.path(), options);
  const std::vector<float> x(8);
  engine.run({view(x.data(), {2, 4})});
  engine.run({view(x.data(), {1, 4})});
  char* text = nullptr;
  check(blade_engine_explain(engine.get(), nullptr, 0, &text));
  EXPECT_NE(std::string(text).find("\"plans_cached\":1"), std::string::npos) << text;
  blade_free(text);
}

TEST(BladeHppTest, EnginesMove) {
  const ModelFile file;
  Engine first(file.path());
  const Engine second = std::move(first);
  EXPECT_EQ(second.outputs().size(), 2u);
}

TEST(BladeHppTest, ErrorsCarryStatusAndSentence) {
  try {
    Engine engine("/nowhere/model.pb");
    FAIL() << "no such file was loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), BLADE_NOT_FOUND);
    EXPECT_NE(std::string(error.what()).find("/nowhere/model.pb"), std::string::npos);
  }
  EXPECT_THROW(view(static_cast<const float*>(nullptr), std::vector<int64_t>(17, 1)), Error);
}

}  // namespace
}  // namespace blade::capi::testing
