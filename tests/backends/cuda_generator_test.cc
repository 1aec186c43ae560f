// The text of generated kernels, the form that is interpreted, the cache of compiled code and, where NVRTC is at hand,
// that every op compiles: all without a card.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>

#include "backends/cuda/code_cache.h"
#include "backends/cuda/nvrtc.h"
#include "backends/cuda/pointwise_source.h"
#include "backends/cuda/vector_program.h"
#include "backends/cuda/vendor_library.h"
#include "backends/reference/pointwise_math.h"
#include "backends/reference/special_functions.h"

namespace blade::backends::cuda {
namespace {

using ir::PointwiseOp;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::set<PointwiseOp> float_ops() {
  return {
#define BLADE_FLOAT_OP(name, ...) PointwiseOp::name,
#define BLADE_LONG_FLOAT_OP(name, ...) PointwiseOp::name,
#include "backends/cuda/kernels/float_ops.inc"
  };
}

PointwiseSource flat_source(const ir::PointwiseProgram& program, ElementType type, int vector) {
  PointwiseSource source;
  source.program = &program;
  source.types.assign(static_cast<size_t>(program.num_inputs), type);
  source.output = type;
  source.vector = vector;
  source.moves.assign(static_cast<size_t>(program.num_inputs), {true});
  return source;
}

TEST(PointwiseSource, SaysWhatTheProgramSays) {
  ir::PointwiseProgram program;
  program.num_inputs = 2;
  program.code = {{PointwiseOp::kMul, 0, 1, -1, 0, 0}, {PointwiseOp::kAffine, 2, -1, -1, 0.5f, 1.0f}};
  const std::string text = pointwise_source(flat_source(program, ElementType::kFloat16, 8));
  EXPECT_TRUE(contains(text, "op_mul(float a, float b, float c, float alpha, float beta) { return a * b; }"));
  EXPECT_TRUE(contains(text, "t2 = op_mul(t0, t1, 0.0f,"));
  EXPECT_TRUE(contains(text, "t3 = op_affine(t2, 0.0f, 0.0f, __int_as_float(0x3f000000), __int_as_float(0x3f800000))"));
  EXPECT_TRUE(contains(text, "Pack<half_t, 8> v0_0"));
  EXPECT_FALSE(contains(text, "Divisor dims"));
}

TEST(PointwiseSource, RepeatsWhatIsBroadcast) {
  ir::PointwiseProgram program = ir::PointwiseProgram::binary(PointwiseOp::kAdd);
  PointwiseSource source = flat_source(program, ElementType::kFloat32, 4);
  source.moves = {{true, true}, {true, false}};  // a value a row
  const std::string text = pointwise_source(source);
  EXPECT_TRUE(contains(text, "Pack<float, 4> v0_0"));
  EXPECT_TRUE(contains(text, "Pack<float, 1> v1_0"));
  EXPECT_TRUE(contains(text, "to_float(v1_0.at[0])"));
  EXPECT_TRUE(contains(text, "Divisor dims[1]"));
  EXPECT_FALSE(contains(text, "p.strides[1][1]")) << "the last dim of a broadcast operand has no stride";
}

TEST(PointwiseSource, DependsOnWhatTheCodeDependsOn) {
  ir::PointwiseProgram add = ir::PointwiseProgram::binary(PointwiseOp::kAdd);
  ir::PointwiseProgram affine = ir::PointwiseProgram::unary(PointwiseOp::kAffine, 1, 2);
  ir::PointwiseProgram other = ir::PointwiseProgram::unary(PointwiseOp::kAffine, 1, 3);
  const std::set<std::string> texts = {pointwise_source(flat_source(add, ElementType::kFloat32, 4)),
                                       pointwise_source(flat_source(add, ElementType::kFloat32, 2)),
                                       pointwise_source(flat_source(add, ElementType::kBFloat16, 4)),
                                       pointwise_source(flat_source(affine, ElementType::kFloat32, 4)),
                                       pointwise_source(flat_source(other, ElementType::kFloat32, 4))};
  EXPECT_EQ(texts.size(), 5u);
}

// The line of an op as the host computes it.
float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
float erfinvf(float a) { return static_cast<float>(erf_inverse(a)); }
float normcdfinvf(float a) { return static_cast<float>(normal_quantile(a)); }
float float_value(PointwiseOp op, float a, float b, float c, float alpha, float beta) {
  switch (op) {
#define BLADE_FLOAT_OP(name, ...) \
  case PointwiseOp::name:         \
    return __VA_ARGS__;
#define BLADE_LONG_FLOAT_OP(name, ...) BLADE_FLOAT_OP(name, __VA_ARGS__)
#include "backends/cuda/kernels/float_ops.inc"
    default:
      return 0;
  }
}

TEST(FloatOps, LoseNoNan) {
  for (const PointwiseOp op : float_ops()) {
    const int arity = ir::pointwise_arity(op);
    for (int which = 0; which < arity; ++which) {
      float values[3] = {0.25f, 0.5f, 0.75f};
      values[which] = NAN;
      const ir::PointwiseInstr instr = {op, 0, 1, 2, 0.5f, 0.625f};
      reference::MathError error = reference::MathError::kNone;
      const double want = reference::apply_instr(instr, static_cast<double>(values[0]), static_cast<double>(values[1]),
                                                 static_cast<double>(values[2]), ir::DType::kFloat32, error);
      const float got = float_value(op, values[0], values[1], values[2], instr.alpha, instr.beta);
      EXPECT_EQ(std::isnan(got), std::isnan(want)) << ir::pointwise_name(op) << ", operand " << which;
    }
  }
}

TEST(FloatOps, HardSigmoidIsClamped) {
  const auto value = [](float a) { return float_value(PointwiseOp::kHardSigmoid, a, 0, 0, 0.25f, 0.5f); };
  EXPECT_EQ(value(-9), 0.0f);
  EXPECT_EQ(value(1), 0.75f);
  EXPECT_EQ(value(INFINITY), 1.0f);
}

TEST(Nvrtc, FusesNoInstructions) {
  const std::vector<std::string> options = Nvrtc::options("sm_90");
  EXPECT_NE(std::ranges::find(options, "--fmad=false"), options.end());
  EXPECT_NE(std::ranges::find(options, "--gpu-architecture=sm_90"), options.end());
}

TEST(Nvrtc, CompilesEveryOpOfEveryType) {
  if (!Nvrtc::library().ok()) GTEST_SKIP() << Nvrtc::library().status().message();
  // Eight programs that hold all ops, each in another type and width.
  const ElementType types[] = {ElementType::kFloat32, ElementType::kFloat16, ElementType::kBFloat16,
                               ElementType::kBool};
  std::vector<ir::PointwiseProgram> programs(8);
  size_t next = 0;
  for (const PointwiseOp op : float_ops()) {
    ir::PointwiseProgram& program = programs[next++ % programs.size()];
    program.num_inputs = 3;
    const auto last = static_cast<int16_t>(program.code.empty() ? 0 : 2 + program.code.size());
    const int arity = ir::pointwise_arity(op);
    program.code.push_back(
        {op, last, static_cast<int16_t>(arity > 1 ? 1 : -1), static_cast<int16_t>(arity > 2 ? 2 : -1), 0.5f, 0.25f});
  }
  for (size_t i = 0; i < programs.size(); ++i) {
    PointwiseSource source = flat_source(programs[i], types[i % 4], 1 << (i % 4));
    source.moves = {{true, true, true}, {false, true, false}, {true, false, true}};
    for (const char* architecture : {"sm_80", "sm_90"}) {
      const auto code = Nvrtc::compile(pointwise_source(source), architecture);
      ASSERT_TRUE(code.ok()) << code.status().message();
      EXPECT_TRUE(code->starts_with("\177ELF"));
      if (i > 0) break;  // one program for both
    }
  }
}

TEST(Nvrtc, SaysWhatDoesNotCompile) {
  if (!Nvrtc::library().ok()) GTEST_SKIP() << Nvrtc::library().status().message();
  const auto code = Nvrtc::compile("this is no program", "sm_90");
  ASSERT_FALSE(code.ok());
  EXPECT_TRUE(contains(code.status().message(), "sm_90")) << code.status().message();
  EXPECT_TRUE(contains(code.status().message(), "generated.cu(1)")) << code.status().message();
}

class CodeCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) /
              ("blade_code_" + std::to_string(::testing::UnitTest::GetInstance()->random_seed()) + "_" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

TEST_F(CodeCacheTest, GivesBackWhatWasPut) {
  const CodeCache cache(folder_);
  const std::string code("\177ELF\0code", 9);
  EXPECT_FALSE(cache.find("key"));
  ASSERT_TRUE(cache.put("key", code).ok());
  EXPECT_EQ(cache.find("key"), code);
  EXPECT_EQ(CodeCache(folder_).find("key"), code);
  EXPECT_FALSE(cache.find("other key"));
  ASSERT_TRUE(cache.put("key", "newer").ok());
  EXPECT_EQ(cache.find("key"), "newer");
}

TEST_F(CodeCacheTest, KeepsNothingWithoutAFolder) {
  const CodeCache cache({});
  EXPECT_TRUE(cache.put("key", "code").ok());
  EXPECT_FALSE(cache.find("key"));
}

TEST_F(CodeCacheTest, TrustsNothingThatIsDamaged) {
  const CodeCache cache(folder_);
  ASSERT_TRUE(cache.put("key", "some machine code").ok());
  const std::filesystem::path path = cache.path_of("key");
  std::ifstream in(path, std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(in), {}};
  const auto write = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  };
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string broken = whole;
    broken[i] = static_cast<char>(broken[i] ^ 1);
    write(broken);
    EXPECT_FALSE(cache.find("key")) << "byte " << i;
    write(whole.substr(0, i));
    EXPECT_FALSE(cache.find("key")) << "cut at " << i;
  }
  write(whole + "more");
  EXPECT_FALSE(cache.find("key"));
  write(whole);
  EXPECT_TRUE(cache.find("key"));
}

TEST_F(CodeCacheTest, TakesNoOtherKeysFile) {
  const CodeCache cache(folder_);
  ASSERT_TRUE(cache.put("key", "code").ok());
  std::filesystem::copy_file(cache.path_of("key"), cache.path_of("other"));
  EXPECT_FALSE(cache.find("other"));
}

TEST_F(CodeCacheTest, TrustsNothingThatOthersCanWrite) {
  const CodeCache cache(folder_);
  ASSERT_TRUE(cache.put("key", "code").ok());
  const std::string path = cache.path_of("key").string();
  struct stat info = {};
  ASSERT_EQ(::stat(cache.path_of("key").parent_path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  for (const mode_t mode : {0666, 0620, 0602}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    EXPECT_FALSE(cache.find("key")) << mode;
  }
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  EXPECT_TRUE(cache.find("key"));
  const std::filesystem::path elsewhere = folder_ / "elsewhere";
  std::filesystem::rename(path, elsewhere);
  std::filesystem::create_symlink(elsewhere, path);
  EXPECT_FALSE(cache.find("key"));
  std::filesystem::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_FALSE(cache.find("key"));
}

TEST_F(CodeCacheTest, FindsItsOwnUnderAnyUmask) {
  const mode_t before = ::umask(0002);
  const CodeCache cache(folder_);
  const bool put = cache.put("key", "code").ok();
  ::umask(before);
  ASSERT_TRUE(put);
  EXPECT_TRUE(cache.find("key"));
}

// Sets a variable of the environment for a test.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) before_ = old;
    ::setenv(name, value.c_str(), 1);
  }
  ~ScopedVariable() {
    if (before_) {
      ::setenv(name_, before_->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

class VendorLibraryTest : public CodeCacheTest {
 protected:
  const VendorLibrary library_ = {"The library", {"libblade_no_such.so.1"}, {}, "cos", "no-such-package"};
};

TEST_F(VendorLibraryTest, IsNotLookedForInRelativeFolders) {
  std::filesystem::create_directories(folder_);
  std::ofstream(folder_ / "libblade_no_such.so.1") << "no library";
  {
    const ScopedVariable absolute("LD_LIBRARY_PATH", folder_.string());
    EXPECT_TRUE(find_vendor_library(library_).ok());
  }
  const std::string relative = std::filesystem::relative(folder_).string();
  const ScopedVariable searched("LD_LIBRARY_PATH", relative + "::.");
  const ScopedVariable home("CUDA_HOME", relative);
  EXPECT_FALSE(find_vendor_library(library_).ok());
}

TEST_F(VendorLibraryTest, IsTakenFromTheNextFolder) {
  Dl_info info = {};
  void* math = ::dlopen("libm.so.6", RTLD_LAZY);
  ASSERT_NE(math, nullptr);
  ASSERT_NE(::dladdr(::dlsym(math, "cos"), &info), 0);
  const std::filesystem::path broken = folder_ / "broken", whole = folder_ / "whole";
  std::filesystem::create_directories(broken);
  std::filesystem::create_directories(whole);
  std::ofstream(broken / "libblade_no_such.so.1") << "no library";
  const ScopedVariable searched("LD_LIBRARY_PATH", broken.string() + ":" + whole.string());
  EXPECT_FALSE(load_vendor_library(library_).ok());
  std::filesystem::create_symlink(info.dli_fname, whole / "libblade_no_such.so.1");
  EXPECT_TRUE(load_vendor_library(library_).ok());
}

TEST_F(CodeCacheTest, SaysThatItCannotWrite) {
  std::ofstream(folder_.string()) << "a file where the folder should be";
  EXPECT_FALSE(CodeCache(folder_).put("key", "code").ok());
}

// What an interpreter does, on one element.
float interpret(const VectorProgramParams& p, const std::vector<float>& inputs) {
  std::vector<float> kept(kMaxProgramCode + kMaxProgramInputs, NAN);
  for (int i = 0; i < p.num_inputs; ++i) {
    if (p.keep_input[i] >= 0) kept[static_cast<size_t>(p.keep_input[i])] = inputs[static_cast<size_t>(i)];
  }
  float last = NAN;
  const auto operand = [&](int8_t at) {
    return at == kLastResult  ? last
           : at >= kFirstKept ? kept[static_cast<size_t>(at - kFirstKept)]
                              : inputs[static_cast<size_t>(at)];
  };
  for (int i = 0; i < p.num_code; ++i) {
    const VectorInstr& instr = p.code[i];
    const float a = operand(instr.a), b = instr.b < 0 ? 0 : operand(instr.b);
    last = static_cast<PointwiseOp>(instr.op) == PointwiseOp::kAdd ? a + b : a * 3 - b;
    if (instr.keep >= 0) kept[static_cast<size_t>(instr.keep)] = last;
  }
  return last;
}

float evaluate(const ir::PointwiseProgram& program, std::vector<float> values) {
  for (const ir::PointwiseInstr& instr : program.code) {
    const float a = values[static_cast<size_t>(instr.a)], b = instr.b < 0 ? 0 : values[static_cast<size_t>(instr.b)];
    values.push_back(instr.op == PointwiseOp::kAdd ? a + b : a * 3 - b);
  }
  return values.back();
}

TEST(VectorProgram, KeepsWhatIsReadLater) {
  uint32_t state = 1;
  const auto random = [&](uint32_t bound) {
    state = state * 1664525u + 1013904223u;
    return (state >> 16) % bound;
  };
  for (int round = 0; round < 300; ++round) {
    ir::PointwiseProgram program;
    program.num_inputs = static_cast<int16_t>(1 + random(kMaxProgramInputs));
    const uint32_t length = 1 + random(kMaxProgramCode);
    for (uint32_t i = 0; i < length; ++i) {
      const uint32_t values = static_cast<uint32_t>(program.num_inputs) + i;
      const auto a = static_cast<int16_t>(random(values));
      const auto b = static_cast<int16_t>(random(3) == 0 ? -1 : static_cast<int>(random(values)));
      program.code.push_back({random(2) == 0 ? PointwiseOp::kAdd : PointwiseOp::kSub, a, b, -1, 0, 0});
    }
    VectorProgramParams params;
    const int kept = encode_program(program, params);
    EXPECT_LE(kept, kMaxProgramCode);
    const std::vector<float> inputs = {1, -2, 0.5f, 3, -0.25f, 2, 7, -1};
    const std::vector<float> own(inputs.begin(), inputs.begin() + program.num_inputs);
    EXPECT_EQ(interpret(params, own), evaluate(program, own)) << ir::to_string(program);
  }
}

TEST(VectorProgram, AChainKeepsNothing) {
  ir::PointwiseProgram program;
  program.num_inputs = 2;
  program.code = {{PointwiseOp::kAdd, 0, 1, -1, 0, 0}, {PointwiseOp::kRelu, 2, -1, -1, 0, 0}};
  VectorProgramParams params;
  EXPECT_EQ(encode_program(program, params), 0);
  EXPECT_EQ(params.code[1].a, kLastResult);
}

}  // namespace
}  // namespace blade::backends::cuda
