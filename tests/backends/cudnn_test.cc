// How plans of convolutions are made by a cuDNN that computes nothing: what is refused, what is kept, which handle is
// used. What the real one computes is tested in cuda_libraries_test.cc.
#include "backends/cuda/cudnn.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "backends/cuda/cudnn_api.h"
#include "backends/fake_cudnn.h"

namespace blade::backends::cuda {
namespace {

using ir::PointwiseOp;

// x + bias + residual, and what else reads its values.
CudnnConv conv_of_sums(std::vector<ir::PointwiseInstr> code) {
  CudnnConv conv;
  conv.program.num_inputs = 3;
  conv.program.code = std::move(code);
  conv.by_channel = {true, false};
  return conv;
}

TEST(Cudnn, TheResidualComesFirstWhereNothingElseReadsTheSum) {
  const ir::PointwiseInstr bias = {PointwiseOp::kAdd, 0, 1}, residual = {PointwiseOp::kAdd, 3, 2};
  CudnnConv plain = conv_of_sums({bias, residual, {PointwiseOp::kRelu, 4}});
  put_residual_first(plain);
  EXPECT_EQ(plain.program.code[0].b, 2);
  EXPECT_EQ(plain.program.code[1].b, 1);
  const CudnnConv others[] = {conv_of_sums({bias, residual, {PointwiseOp::kMul, 4, 3}}),
                              conv_of_sums({bias, {PointwiseOp::kAdd, 0, 2}, {PointwiseOp::kMul, 3, 4}}),
                              conv_of_sums({bias, {PointwiseOp::kAdd, 2, 2}, {PointwiseOp::kMul, 3, 4}}),
                              conv_of_sums({{PointwiseOp::kAdd, 1, 1}, residual, {PointwiseOp::kMul, 4, 0}})};
  for (CudnnConv conv : others) {
    const std::vector<ir::PointwiseInstr> before = conv.program.code;
    put_residual_first(conv);
    for (size_t i = 0; i < before.size(); ++i) {
      EXPECT_EQ(conv.program.code[i].a, before[i].a);
      EXPECT_EQ(conv.program.code[i].b, before[i].b);
    }
  }
}

// A library whose every call returns this code.
int& fake_code() {
  static int code = 0;
  return code;
}

CudnnFunctions fake_cudnn() {
  CudnnFunctions f;
  f.error_string = [](int) { return "WHY"; };
  f.descriptor_create = [](int, void**) { return 0; };
  f.finalize = [](void*) { return fake_code(); };
  return f;
}

TEST(Cudnn, RefusalsAreOtherThanFailures) {
  const CudnnFunctions f = fake_cudnn();
  for (const auto& [code, status] : {std::pair<int, StatusCode>{0, StatusCode::kOk},
                                     {3000, StatusCode::kUnavailable},
                                     {3014, StatusCode::kUnavailable},
                                     {2008, StatusCode::kUnavailable},
                                     {4001, StatusCode::kUnavailable},
                                     {4003, StatusCode::kResourceExhausted},
                                     {4004, StatusCode::kResourceExhausted},
                                     {4000, StatusCode::kInternal},
                                     {5001, StatusCode::kInternal},
                                     {1001, StatusCode::kInternal}}) {
    fake_code() = code;
    const Status got = CudnnDescriptor(f, cudnn::kEngine).finalize("the engine");
    EXPECT_EQ(got.code(), status) << code;
    if (code != 0) {
      EXPECT_TRUE((got.message().find("the engine (WHY, status " + std::to_string(code)) != std::string::npos))
          << got.message();
    }
  }
}

// The library that plans are made by from now on.
FakeCudnn& fake_library() {
  static FakeCudnn* const fake = [] {
    setenv("CUDA_HOME", BLADE_FAKE_CUDA, 1);
    void* library = dlopen(BLADE_FAKE_CUDA "/lib64/libcudnn.so.9", RTLD_NOW);
    if (library == nullptr) std::abort();
    return reinterpret_cast<FakeCudnn* (*)()>(dlsym(library, "blade_fake_cudnn"))();
  }();
  return *fake;
}

// One that no other test asks for.
CudnnConv new_conv() {
  static int64_t images = 0;
  CudnnConv conv;
  conv.images = ++images;
  conv.in_channels = conv.channels = 8;
  conv.dims = {{}, {}};
  return conv;
}

TEST(Cudnn, RefusalsAreKeptAndFailuresTriedAgain) {
  FakeCudnn& fake = fake_library();
  for (const auto& [code, status, is_kept] :
       {std::tuple{3000, StatusCode::kUnavailable, true}, std::tuple{4000, StatusCode::kUnavailable, false},
        std::tuple{4004, StatusCode::kResourceExhausted, false}}) {
    const CudnnConv conv = new_conv();
    fake.plan_code = code;
    EXPECT_EQ(CudnnPlan::create(conv).status().code(), status) << code;
    const int before = fake.plans;
    EXPECT_EQ(CudnnPlan::create(conv).status().code(), status) << code;
    EXPECT_EQ(fake.plans == before, is_kept) << code;
    fake.plan_code = 0;
    EXPECT_EQ(CudnnPlan::create(conv).ok(), !is_kept) << code;
  }
}

TEST(Cudnn, EnginesWhoseNotesCannotBeReadAreRefused) {
  FakeCudnn& fake = fake_library();
  fake.notes_code = 4000;
  EXPECT_EQ(CudnnPlan::create(new_conv()).status().code(), StatusCode::kUnavailable);
  fake.notes_code = 0;
  EXPECT_TRUE(CudnnPlan::create(new_conv()).ok());
}

// One thread may make a plan while another runs one.
TEST(Cudnn, PlansAreMadeWithAHandleOfTheirOwn) {
  FakeCudnn& fake = fake_library();
  const auto plan = CudnnPlan::create(new_conv());
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const Status status = (*plan)->run({});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_NE(fake.planning_handle, fake.running_handle);
  EXPECT_EQ(fake.handles, 2);
}

}  // namespace
}  // namespace blade::backends::cuda
