// Runs from and to device memory on the caller's stream, and the bound on device memory; skipped where there is no
// card.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "blade/blade.hpp"
#include "capi/small_model.h"

namespace blade::capi::testing {
namespace {

Engine::Options on_gpu() {
  Engine::Options options;
  options.outputs = {"y"};
  options.device = "gpu";
  return options;
}

// Device memory holding floats.
class Floats {
 public:
  explicit Floats(const std::vector<float>& values) : count_(values.size()) {
    EXPECT_EQ(cudaMalloc(&data_, count_ * sizeof(float)), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, values.data(), count_ * sizeof(float), cudaMemcpyHostToDevice), cudaSuccess);
  }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  ~Floats() { cudaFree(data_); }
  float* data() const { return static_cast<float*>(data_); }
  std::vector<float> values() const {
    std::vector<float> copy(count_);
    EXPECT_EQ(cudaMemcpy(copy.data(), data_, count_ * sizeof(float), cudaMemcpyDeviceToHost), cudaSuccess);
    return copy;
  }

 private:
  void* data_ = nullptr;
  size_t count_;
};

class GpuMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      const Engine engine(file_.path(), on_gpu());
    } catch (const Error& error) {
      GTEST_SKIP() << "needs a GPU: " << error.what();
    }
  }
  const ModelFile file_;
};

TEST_F(GpuMemoryTest, RunsOnTheCallersStreamAndMemory) {
  Engine engine(file_.path(), on_gpu());
  cudaStream_t streams[2];
  for (cudaStream_t& stream : streams)
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  for (const int64_t batch : {2, 5}) {
    for (int place = 0; place < 12; ++place) {  // more places than recordings are kept
      std::vector<float> x;
      for (int64_t i = 0; i < batch * 4; ++i) x.push_back(static_cast<float>((i * 7 + place) % 11) - 5);
      const Floats in(x), out(std::vector<float>(static_cast<size_t>(batch) * 3, -1.0f));
      for (cudaStream_t stream : streams) {
        for (int repeat = 0; repeat < 3; ++repeat) {
          std::vector<blade_tensor> memory = {view(out.data(), {batch, 3})};
          engine.run_on_device({view(in.data(), {batch, 4})}, memory, stream);
        }
        ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
        EXPECT_EQ(out.values(), expected_y(x)) << batch << ' ' << place;
      }
    }
  }
  for (cudaStream_t stream : streams) EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

TEST_F(GpuMemoryTest, MisalignedMemoryAndMissingRoomAreNamed) {
  Engine engine(file_.path(), on_gpu());
  const Floats in(std::vector<float>(9, 1.0f)), out(std::vector<float>(6, 0.0f));
  std::vector<blade_tensor> memory = {view(out.data(), {2, 3})};
  try {
    engine.run_on_device({view(in.data() + 1, {2, 4})}, memory, nullptr);
    FAIL() << "took a misaligned input";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("Input 'x' is at a device address"), std::string::npos) << error.what();
  }
  memory = {view(out.data(), {1, 3})};
  EXPECT_THROW(engine.run_on_device({view(in.data(), {2, 4})}, memory, nullptr), Error);
}

TEST_F(GpuMemoryTest, AStreamUnderCaptureIsRefused) {
  Engine engine(file_.path(), on_gpu());
  const std::vector<float> x = {1, 2, 3, 4};
  const Floats in(x), out(std::vector<float>(3, -1.0f));
  std::vector<blade_tensor> memory = {view(out.data(), {1, 3})};
  engine.run_on_device({view(in.data(), {1, 4})}, memory, nullptr);  // what a first run allocates is there
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  try {
    engine.run_on_device({view(in.data(), {1, 4})}, memory, stream);
    ADD_FAILURE() << "ran inside a capture";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("outside of the capture"), std::string::npos) << error.what();
  }
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);  // the capture itself goes on
  if (graph != nullptr) cudaGraphDestroy(graph);
  engine.run_on_device({view(in.data(), {1, 4})}, memory, stream);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(out.values(), expected_y(x));
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

TEST_F(GpuMemoryTest, MemoryBeyondTheLimitIsASentence) {
  Engine::Options options = on_gpu();
  options.device_memory_limit = 256;
  Engine engine(file_.path(), options);
  const std::vector<float> x(4 * 1000, 1.0f);
  try {
    engine.run({view(x.data(), {1000, 4})});
    FAIL() << "ran in 256 bytes";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("raise device_memory_limit"), std::string::npos) << error.what();
  }
  options.device_memory_limit = 1 << 20;
  EXPECT_EQ(Engine(file_.path(), options).run({view(x.data(), {1000, 4})}).size(), 1u);
}

}  // namespace
}  // namespace blade::capi::testing
