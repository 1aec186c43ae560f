// The C++ interface over the C one: ownership, views of caller memory, and errors as exceptions.
#include <gtest/gtest.h>

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
