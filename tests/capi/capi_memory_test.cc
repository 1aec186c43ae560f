// Engine files from the caller's memory: nothing is copied, and the memory is released once however loading ends.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "blade/blade.h"
#include "engine/engine_file.h"
#include "engine/test_graphs.h"

namespace blade::capi::testing {
namespace {

// y = relu(x) + weights, x [?,512]: the weights are stored in the file, not inline.
engine::EngineFile make_file() {
  engine::testing::GraphMaker maker;
  std::mt19937 rng(1);
  const ir::ValueId x = maker.input("x", {-1, 512});
  const ir::ValueId weights = maker.constant(engine::testing::random_tensor(rng, {512}));
  const ir::ValueId y = maker.binary(ir::PointwiseOp::kAdd, "y", maker.unary(ir::PointwiseOp::kRelu, "r", x), weights);
  auto file = engine::write_engine_file(maker.finish({y}), engine::Decisions());
  EXPECT_TRUE(file.ok()) << file.status().message();
  return std::move(file).value();
}

// Bytes that end at the end of an allocation and count how often they are released.
struct Memory {
  explicit Memory(const std::vector<std::byte>& from) : size(from.size()) {
    bytes.reset(static_cast<std::byte*>(std::aligned_alloc(64, (size + 63) / 64 * 64)));
    if (size > 0) std::memcpy(bytes.get(), from.data(), size);
  }
  static void release(void* arg) {
    auto* memory = static_cast<Memory*>(arg);
    ++memory->released;
    memory->bytes.reset();
  }
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  size_t size;
  std::unique_ptr<std::byte[], Free> bytes;
  int released = 0;
};

blade_status load(Memory& memory, blade_engine** engine) {
  return blade_engine_load_memory(memory.bytes.get(), memory.size, Memory::release, &memory, nullptr, engine);
}

TEST(CapiMemoryTest, TheEngineKeepsTheMemoryAsLongAsItNeeds) {
  Memory memory(make_file().bytes);
  blade_engine* engine = nullptr;
  ASSERT_EQ(load(memory, &engine), BLADE_OK) << blade_last_error();
  EXPECT_EQ(blade_engine_input_key(engine, 0), nullptr) << "an engine file has no signature";
  std::vector<float> x(1024, 1), y(1024);
  blade_tensor input = {}, output = {};
  input.dtype = BLADE_FLOAT32;
  input.rank = 2;
  input.dims[0] = 2;
  input.dims[1] = 512;
  input.data = x.data();
  input.bytes = output.bytes = x.size() * sizeof(float);
  output.data = y.data();
  ASSERT_EQ(blade_engine_run(engine, &input, 1, &output, 1), BLADE_OK) << blade_last_error();
  std::mt19937 rng(1);
  const ir::TensorPtr weights = engine::testing::random_tensor(rng, {512});
  for (int i = 0; i < 1024; ++i) ASSERT_EQ(y[i], 1 + weights->as<float>()[i % 512]);
  EXPECT_LE(memory.released, 1);
  blade_engine_free(engine);
  EXPECT_EQ(memory.released, 1);
}

TEST(CapiMemoryTest, EveryFlippedByteIsRefusedAndTheMemoryReleasedOnce) {
  const std::vector<std::byte> good = make_file().bytes;
  for (size_t at = 0; at < good.size(); at += 1 + good.size() / 200) {
    Memory memory(good);
    memory.bytes[at] ^= std::byte{1};
    blade_engine* engine = nullptr;
    EXPECT_NE(load(memory, &engine), BLADE_OK) << "byte " << at;
    EXPECT_STRNE(blade_last_error(), "");
    EXPECT_EQ(engine, nullptr);
    EXPECT_EQ(memory.released, 1);
  }
}

TEST(CapiMemoryTest, EveryTruncationIsRefusedAndTheMemoryReleasedOnce) {
  const std::vector<std::byte> good = make_file().bytes;
  for (size_t size = 0; size < good.size(); size += 1 + good.size() / 200) {
    Memory memory(std::vector<std::byte>(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)));
    blade_engine* engine = nullptr;
    EXPECT_NE(load(memory, &engine), BLADE_OK) << size << " bytes";
    EXPECT_EQ(memory.released, 1);
  }
}

TEST(CapiMemoryTest, WrongUseReleasesToo) {
  Memory memory(make_file().bytes);
  EXPECT_EQ(load(memory, nullptr), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(memory.released, 1);
  int released = 0;
  const auto count = [](void* arg) { ++*static_cast<int*>(arg); };
  blade_engine* engine = nullptr;
  EXPECT_EQ(blade_engine_load_memory(nullptr, 0, count, &released, nullptr, &engine), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(released, 1);
}

TEST(CapiMemoryTest, AnEngineInPiecesIsLoaded) {
  const engine::EngineFile file = make_file();
  const size_t cut = file.weights[0].offset;
  const blade_bytes pieces[] = {{file.bytes.data(), cut}, {file.bytes.data() + cut, file.bytes.size() - cut}};
  int released = 0;
  const auto count = [](void* arg) { ++*static_cast<int*>(arg); };
  blade_engine* engine = nullptr;
  ASSERT_EQ(blade_engine_load_pieces(pieces, 2, count, &released, nullptr, &engine), BLADE_OK) << blade_last_error();
  blade_engine_free(engine);
  EXPECT_EQ(released, 1);
  EXPECT_EQ(blade_engine_load_pieces(pieces, 0, nullptr, nullptr, nullptr, &engine), BLADE_INVALID_ARGUMENT);
  EXPECT_EQ(blade_engine_load_pieces(pieces, 1, nullptr, nullptr, nullptr, &engine), BLADE_DATA_LOSS);
}

TEST(CapiMemoryTest, NoReleaseMeansTheBytesOutliveTheEngine) {
  const std::vector<std::byte> bytes = make_file().bytes;
  Memory memory(bytes);
  blade_engine* engine = nullptr;
  ASSERT_EQ(blade_engine_load_memory(memory.bytes.get(), memory.size, nullptr, nullptr, nullptr, &engine), BLADE_OK)
      << blade_last_error();
  blade_engine_free(engine);
}

}  // namespace
}  // namespace blade::capi::testing
