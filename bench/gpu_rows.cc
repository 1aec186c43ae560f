// Every CUDA row that takes a piece of work, timed alone on the card: elementwise chains, casts, reductions, large
// matrix products, convolutions and attention. Chains are compared with the bandwidth of the card (argument 1,
// TB/s; 4.2 by default), products with nothing: bench/gpu_products.py times PyTorch on the same shapes.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cuda/loader.h"
#include "backends/kernel.h"
#include "base/half.h"
#include "base/median.h"

namespace {

using namespace blade;
using backends::TensorDesc;
using ir::PointwiseInstr;
using ir::PointwiseOp;

struct Work {
  std::string name;
  ir::Op op;
  ir::Attrs attrs;
  std::vector<TensorDesc> inputs;
  TensorDesc output;
  uint32_t constants = 0;                     // bit i: input i is a constant
  std::shared_ptr<const Work> producer = {};  // what makes input 0, in the same kernel
};

// Repeats 64 Ki numbers.
ir::TensorPtr random_tensor(const TensorDesc& desc) {
  auto made = ir::allocate_tensor(desc.dtype, desc.dims);
  if (!made.ok()) std::abort();
  std::mt19937 generator(7);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const int64_t distinct = std::min<int64_t>(desc.element_count(), 1 << 16);
  for (int64_t i = 0; i < distinct; ++i) {
    const float value = uniform(generator);
    const uint16_t half = float_to_float16(value);
    switch (desc.dtype) {
      case ir::DType::kFloat16:
        std::memcpy(made->data + 2 * i, &half, 2);
        break;
      case ir::DType::kBool:
        made->data[i] = std::byte{value > 0};
        break;
      default:
        std::memcpy(made->data + 4 * i, &value, 4);
    }
  }
  const size_t block = static_cast<size_t>(distinct) * ir::dtype_size(desc.dtype);
  for (size_t at = block; at < desc.bytes(); at += block) {
    std::memcpy(made->data + at, made->data, std::min(block, desc.bytes() - at));
  }
  return made->tensor;
}

Result<double> time_kernel(backends::Device& device, const backends::Kernel& kernel, const backends::KernelArgs& like) {
  BLADE_ASSIGN_OR_RETURN(auto queue, device.create_queue());
  backends::KernelArgs args = like;
  args.queue = queue->handle();
  // What libraries load at their first run must not fall into a recording.
  BLADE_RETURN_IF_ERROR(kernel.run(args));
  BLADE_RETURN_IF_ERROR(queue->wait());
  const auto run = [&](int copies) -> Result<double> {
    BLADE_RETURN_IF_ERROR(queue->begin_recording());
    Status status;
    for (int i = 0; i < copies && status.ok(); ++i) status = kernel.run(args);
    auto recording = queue->end_recording();
    BLADE_RETURN_IF_ERROR(status);
    BLADE_RETURN_IF_ERROR(recording.status());
    std::vector<double> us;
    for (int i = 0; i < 6; ++i) {
      BLADE_RETURN_IF_ERROR(queue->mark(0));
      BLADE_RETURN_IF_ERROR(queue->play(**recording));
      BLADE_RETURN_IF_ERROR(queue->mark(1));
      BLADE_RETURN_IF_ERROR(queue->wait());
      BLADE_ASSIGN_OR_RETURN(const double one, queue->microseconds_between(0, 1));
      if (i > 0) us.push_back(one / copies);
    }
    return median(us);
  };
  BLADE_ASSIGN_OR_RETURN(const double once, run(1));
  return run(std::clamp(static_cast<int>(2000 / once), 2, 40));
}

struct Operands {
  std::vector<ir::ValueId> values;
  std::vector<backends::DeviceBuffer> buffers;
  std::vector<const void*> in;
  double bytes = 0;

  Status add(const Work& work, backends::Device& device, ir::Graph& graph, backends::KernelRequest& request) {
    for (size_t i = work.producer != nullptr ? 1 : 0; i < work.inputs.size(); ++i) {
      const ir::TensorPtr tensor = random_tensor(work.inputs[i]);
      values.push_back(graph.add_constant(tensor));
      request.inputs.push_back(work.inputs[i]);
      request.constants.push_back(((work.constants >> i) & 1) != 0 ? tensor : nullptr);
      BLADE_ASSIGN_OR_RETURN(auto buffer, device.upload(tensor->data, tensor->bytes));
      in.push_back(buffer.data());
      buffers.push_back(std::move(buffer));
      bytes += static_cast<double>(work.inputs[i].bytes());
    }
    request.outputs = {work.output};
    request.machine = &backends::Machine::host();
    request.device = &device;
    return {};
  }
};

void measure(backends::Device& device, const Work& work, double terabytes, bool all_rows) {
  ir::Graph graph;
  Operands operands;
  backends::KernelRequest request, producer;
  std::vector<ir::ValueId> values;
  if (work.producer != nullptr) {
    if (!operands.add(*work.producer, device, graph, producer).ok()) return;
    const ir::Node& first = graph.add_node(work.producer->op, "producer", operands.values, 1, work.producer->attrs);
    values = first.outputs;
    request.inputs = producer.outputs;
    request.constants = {nullptr};
    request.producer = &producer;
  }
  const size_t before = operands.values.size();
  if (!operands.add(work, device, graph, request).ok()) return;
  values.insert(values.end(), operands.values.begin() + static_cast<std::ptrdiff_t>(before), operands.values.end());
  const ir::NodeId node = graph.add_node(work.op, work.name, values, 1, work.attrs).id;
  request.node = &graph.node(node);
  if (work.producer != nullptr) producer.node = &graph.node(graph.value(values[0]).producer);
  const double bytes = operands.bytes + static_cast<double>(work.output.bytes());
  auto output = device.allocate(work.output.bytes());
  if (!output.ok()) return;
  std::vector<void*> out = {output->data()};
  backends::PackCache packs;
  struct Timed {
    std::string row;
    double us, create_ms;
  };
  std::vector<Timed> timed;
  for (const backends::KernelEntry& row : work.producer != nullptr ? device.fused_kernels() : device.kernels()) {
    if (row.op != work.op || !row.supports(request).ok) continue;
    const auto begin = std::chrono::steady_clock::now();
    auto kernel = row.create(request, packs);
    const double create_ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    if (!kernel.ok()) {
      std::printf("%s: %s: %s\n", work.name.c_str(), row.name, kernel.status().message().c_str());
      continue;
    }
    auto scratch = device.allocate((*kernel)->scratch_bytes() + 1);
    if (!scratch.ok()) continue;
    backends::KernelArgs args;
    args.inputs = operands.in;
    args.outputs = out;
    args.scratch = scratch->data();
    const auto us = time_kernel(device, **kernel, args);
    if (us.ok()) timed.push_back({row.name, *us, create_ms});
    if (!us.ok()) std::printf("%s: %s: %s\n", work.name.c_str(), row.name, us.status().message().c_str());
  }
  std::sort(timed.begin(), timed.end(), [](const Timed& a, const Timed& b) { return a.us < b.us; });
  // The best two, and each library's.
  for (size_t i = 0; i < timed.size(); ++i) {
    const Timed& one = timed[i];
    if (!all_rows && i > 1 && one.row.find("cublaslt") == std::string::npos &&
        one.row.find("cudnn") == std::string::npos)
      continue;
    std::printf("%-34s %9.2f us %5.0f %%  %s (made in %.1f ms)\n", work.name.c_str(), one.us,
                bytes / one.us / terabytes / 1e4, one.row.c_str(), one.create_ms);
  }
}

ir::PointwiseAttrs program(int inputs, std::vector<PointwiseInstr> code) {
  ir::PointwiseAttrs attrs;
  attrs.program.num_inputs = static_cast<int16_t>(inputs);
  attrs.program.code = std::move(code);
  return attrs;
}

std::vector<Work> chains(ir::DType type, int64_t mebibytes) {
  const int64_t columns = 1024, rows = (mebibytes << 20) / static_cast<int64_t>(ir::dtype_size(type)) / columns;
  const TensorDesc x{type, {rows, columns}}, per_column{type, {columns}}, per_row{type, {rows, 1}};
  const TensorDesc mask{ir::DType::kBool, {rows, columns}};
  const std::string tail = "_" + std::string(ir::dtype_name(type)) + "_" + std::to_string(mebibytes) + "MB";
  using enum PointwiseOp;
  std::vector<Work> works;
  const auto add = [&](const char* name, std::vector<TensorDesc> inputs, std::vector<PointwiseInstr> code) {
    const int count = static_cast<int>(inputs.size());
    works.push_back({name + tail, ir::Op::kPointwise, program(count, std::move(code)), std::move(inputs), x});
  };
  add("add", {x, x}, {{kAdd, 0, 1}});
  add("hard_swish4", {x}, {{kAffine, 0, -1, -1, 1, 3}, {kRelu6, 1}, {kMul, 0, 2}, {kAffine, 3, -1, -1, 1 / 6.0f, 0}});
  add("gelu5", {x},
      {{kAffine, 0, -1, -1, 0.70710678f, 0},
       {kErf, 1},
       {kAffine, 2, -1, -1, 0.5f, 0.5f},
       {kMul, 0, 3},
       {kAffine, 4, -1, -1, 1.5f, 0}});
  add("normalize4", {x, per_column, per_column, per_column}, {{kSub, 0, 1}, {kMul, 4, 2}, {kAdd, 5, 3}, {kRelu, 6}});
  add("layer_norm5", {x, per_row, per_row, per_column, per_column},
      {{kSub, 0, 1}, {kMul, 5, 2}, {kMul, 6, 3}, {kAdd, 7, 4}, {kTanh, 8}});
  add("masked6", {x, x, mask, per_column},
      {{kMul, 0, 1}, {kAdd, 4, 3}, {kSigmoid, 5}, {kMul, 6, 5}, {kNeg, 0}, {kSelect, 2, 7, 8}});
  add("long12", {x, x},
      {{kMul, 0, 0},
       {kMul, 2, 0},
       {kAffine, 3, -1, -1, 0.044715f, 0},
       {kAdd, 4, 0},
       {kAffine, 5, -1, -1, 0.79788456f, 0},
       {kTanh, 6},
       {kAffine, 7, -1, -1, 0.5f, 0.5f},
       {kMul, 8, 0},
       {kSub, 9, 1},
       {kAbs, 10},
       {kMinimum, 11, 0},
       {kClip, 12, -1, -1, -2, 2}});
  const TensorDesc other{type == ir::DType::kFloat32 ? ir::DType::kFloat16 : ir::DType::kFloat32, x.dims};
  works.push_back({"cast" + tail, ir::Op::kCast, ir::CastAttrs{other.dtype}, {x}, other});
  ir::ReduceAttrs reduce;
  reduce.kind = ir::ReduceKind::kMean;
  reduce.axes = {1};
  works.push_back({"mean_rows" + tail, ir::Op::kReduce, reduce, {x}, {type, {rows}}});
  reduce.axes = {0};
  works.push_back({"mean_columns" + tail, ir::Op::kReduce, reduce, {x}, {type, {columns}}});
  works.push_back({"softmax" + tail, ir::Op::kSoftmax, ir::SoftmaxAttrs{}, {x}, x});
  works.push_back({"layer_norm" + tail, ir::Op::kLayerNorm, ir::LayerNormAttrs{}, {x, per_column, per_column}, x});
  return works;
}

struct Shape {
  int64_t m, k, n;
};
// BERT base at batch 32, the 1x1 convolutions of ResNet-50 at batch 128, and 4096 cubed.
constexpr Shape kProducts[] = {{4096, 768, 768},   {4096, 768, 3072},  {4096, 3072, 768},  {401408, 64, 64},
                               {401408, 64, 256},  {401408, 256, 64},  {401408, 256, 128}, {100352, 128, 512},
                               {100352, 512, 128}, {100352, 512, 256}, {25088, 256, 1024}, {25088, 1024, 256},
                               {25088, 1024, 512}, {6272, 512, 2048},  {6272, 2048, 512},  {4096, 4096, 4096},
                               {8192, 8192, 8192}};

std::vector<Work> products(ir::DType type) {
  std::vector<Work> works;
  for (const Shape& s : kProducts) {
    ir::MatMulAttrs attrs;
    attrs.epilogue.num_inputs = 2;
    attrs.epilogue.code = {{PointwiseOp::kAdd, 0, 1}};
    works.push_back({"product_" + std::to_string(s.m) + "x" + std::to_string(s.k) + "x" + std::to_string(s.n) + "_" +
                         ir::dtype_name(type),
                     ir::Op::kMatMul,
                     attrs,
                     {{type, {s.m, s.k}}, {type, {s.k, s.n}}, {type, {s.n}}},
                     {type, {s.m, s.n}},
                     6});
  }
  return works;
}

// BERT base at one sequence: its products, the widening one with every curve, and its normalization.
std::vector<Work> transformer(ir::DType type) {
  std::vector<Work> works;
  for (const PointwiseOp op : {PointwiseOp::kAdd, PointwiseOp::kGeluErf, PointwiseOp::kGeluTanh, PointwiseOp::kSwish}) {
    ir::MatMulAttrs attrs;
    attrs.epilogue.num_inputs = 2;
    attrs.epilogue.code = {{PointwiseOp::kAdd, 0, 1}};
    if (op != PointwiseOp::kAdd) attrs.epilogue.code.push_back({op, 2});
    works.push_back({std::string("widen_") + ir::pointwise_name(op),
                     ir::Op::kMatMul,
                     attrs,
                     {{type, {128, 768}}, {type, {768, 3072}}, {type, {3072}}},
                     {type, {128, 3072}},
                     6});
  }
  ir::MatMulAttrs plain, residual;
  plain.epilogue.num_inputs = 2;
  plain.epilogue.code = {{PointwiseOp::kAdd, 0, 1}};
  residual.epilogue.num_inputs = 3;
  residual.epilogue.code = {{PointwiseOp::kAdd, 0, 1}, {PointwiseOp::kAdd, 3, 2}};
  const auto add = [&](const char* name, const ir::MatMulAttrs& attrs, int64_t depth, int64_t columns) {
    const TensorDesc result{type, {128, columns}};
    works.push_back(
        {name, ir::Op::kMatMul, attrs, {{type, {128, depth}}, {type, {depth, columns}}, {type, {columns}}}, result, 6});
    if (attrs.epilogue.num_inputs == 3) works.back().inputs.push_back(result);
  };
  add("one_of_three", plain, 768, 768);
  add("three_in_one", plain, 768, 2304);
  add("joined_heads", residual, 768, 768);
  add("narrow", residual, 3072, 768);
  ir::MatMulAttrs scores;
  scores.transpose_b = true;
  const TensorDesc heads{type, {12, 128, 64}}, weights{type, {12, 128, 128}};
  works.push_back({"scores", ir::Op::kMatMul, scores, {heads, heads}, weights});
  works.push_back({"weighted", ir::Op::kMatMul, ir::MatMulAttrs{}, {weights, heads}, heads});
  const TensorDesc rows{type, {128, 768}}, columns{ir::DType::kFloat32, {768}};
  works.push_back({"layer_norm", ir::Op::kLayerNorm, ir::LayerNormAttrs{}, {rows, columns, columns}, rows, 6});
  return works;
}

struct Attending {
  int64_t batch, heads, queries, keys, depth;
  bool masked = false;  // keys, alike for all queries
};

// BERT base at one and many sequences, long sequences, decoder steps.
constexpr Attending kAttention[] = {{1, 12, 128, 128, 64},         {32, 12, 128, 128, 64},   {1, 12, 512, 512, 64},
                                    {8, 12, 512, 512, 64},         {4, 16, 1024, 1024, 64},  {1, 12, 2048, 2048, 64},
                                    {1, 12, 2048, 2048, 64, true}, {1, 32, 2048, 2048, 128}, {1, 16, 4096, 4096, 64},
                                    {1, 16, 4096, 4096, 128},      {1, 32, 1, 512, 128},     {1, 32, 1, 2048, 128},
                                    {1, 32, 1, 4096, 128},         {8, 32, 1, 2048, 128},    {1, 12, 1, 1024, 64},
                                    {1, 32, 1, 2048, 128, true},   {1, 32, 8, 2048, 128}};

std::vector<Work> attention(ir::DType type) {
  std::vector<Work> works;
  for (const Attending& a : kAttention) {
    if (type == ir::DType::kFloat32 && (a.batch > 1 || a.keys > 2048)) continue;
    const std::vector<int64_t> in_place = {0, 1, 2, 3};
    const TensorDesc queries{type, {a.batch, a.heads, a.queries, a.depth}};
    const TensorDesc keys{type, {a.batch, a.heads, a.keys, a.depth}};
    std::string name = "attention";
    for (const int64_t n : {a.batch, a.heads, a.queries, a.keys, a.depth}) name += "_" + std::to_string(n);
    works.push_back({name + "_" + ir::dtype_name(type),
                     ir::Op::kAttention,
                     ir::AttentionAttrs{0.125f, in_place, in_place, in_place, in_place, false},
                     {queries, keys, keys},
                     queries});
    if (a.masked) {
      works.back().name += "_masked";
      works.back().inputs.push_back({ir::DType::kFloat32, {a.batch, 1, 1, a.keys}});
    }
  }
  return works;
}

struct Windows {
  const char* name;
  int64_t images, size, in, channels, kernel, stride = 1, groups = 1, dilation = 1;
  bool residual = false;
};
// 3x3 and 1x1 layers of ResNet-50 at batches 8 and 32, of ResNeXt-50 (32 groups) at 8, dilated ones of DeepLab.
constexpr Windows kWindows[] = {
    {"b8_3x3_56", 8, 56, 64, 64, 3},
    {"b8_3x3_28", 8, 28, 128, 128, 3},
    {"b8_3x3_14", 8, 14, 256, 256, 3},
    {"b8_3x3_7", 8, 7, 512, 512, 3},
    {"b32_3x3_56", 32, 56, 64, 64, 3},
    {"b32_3x3_28", 32, 28, 128, 128, 3},
    {"b32_3x3_14", 32, 14, 256, 256, 3},
    {"b32_3x3_7", 32, 7, 512, 512, 3},
    {"b32_3x3s2_56", 32, 56, 128, 128, 3, 2},
    {"b32_1x1_14_residual", 32, 14, 256, 1024, 1, 1, 1, 1, true},
    {"b128_3x3_56", 128, 56, 64, 64, 3},
    {"b128_3x3_28", 128, 28, 128, 128, 3},
    {"b128_3x3_14", 128, 14, 256, 256, 3},
    {"b128_3x3_7", 128, 7, 512, 512, 3},
    {"b8_3x3_56_32groups", 8, 56, 128, 128, 3, 1, 32},
    {"b8_3x3_14_32groups", 8, 14, 512, 512, 3, 1, 32},
    {"b1_3x3_65_dilated", 1, 65, 512, 256, 3, 1, 1, 12},
    {"b8_5x5_28", 8, 28, 96, 128, 5},
};

std::vector<Work> convolutions(ir::DType type) {
  std::vector<Work> works;
  for (const Windows& w : kWindows) {
    ir::ConvAttrs attrs;
    attrs.strides = {w.stride, w.stride};
    attrs.dilations = {w.dilation, w.dilation};
    attrs.padding = ir::Padding::kSame;
    attrs.groups = w.groups;
    attrs.epilogue.num_inputs = static_cast<int16_t>(w.residual ? 3 : 2);
    attrs.epilogue.code = {{PointwiseOp::kAdd, 0, 1}};
    if (w.residual) attrs.epilogue.code.push_back({PointwiseOp::kAdd, 3, 2});
    attrs.epilogue.code.push_back({PointwiseOp::kRelu, static_cast<int16_t>(w.residual ? 4 : 2)});
    const int64_t out = (w.size + w.stride - 1) / w.stride;
    Work work{w.name,
              ir::Op::kConv,
              attrs,
              {{type, {w.images, w.size, w.size, w.in}},
               {type, {w.kernel, w.kernel, w.in / w.groups, w.channels}},
               {ir::DType::kFloat32, {w.channels}}},
              {type, {w.images, out, out, w.channels}},
              6};
    if (w.residual) work.inputs.push_back(work.output);
    works.push_back(work);
  }
  return works;
}

// The first layer of ResNet-50 with its max pool.
std::vector<Work> first_layers(ir::DType type) {
  std::vector<Work> works;
  for (const int64_t images : {128, 32, 8, 1}) {
    ir::ConvAttrs conv;
    conv.strides = {2, 2};
    conv.dilations = {1, 1};
    conv.padding = ir::Padding::kExplicit;
    conv.explicit_pads = {3, 3, 3, 3};
    conv.epilogue.num_inputs = 2;
    conv.epilogue.code = {{PointwiseOp::kAdd, 0, 1}, {PointwiseOp::kRelu, 2}};
    const Work first{"first",
                     ir::Op::kConv,
                     conv,
                     {{type, {images, 224, 224, 3}}, {type, {7, 7, 3, 64}}, {ir::DType::kFloat32, {64}}},
                     {type, {images, 112, 112, 64}},
                     6};
    ir::PoolAttrs pool;
    pool.window = {3, 3};
    pool.strides = {2, 2};
    pool.padding = ir::Padding::kSame;
    works.push_back({"first_layer_b" + std::to_string(images),
                     ir::Op::kPool,
                     pool,
                     {first.output},
                     {type, {images, 56, 56, 64}},
                     0,
                     std::make_shared<const Work>(first)});
  }
  return works;
}

}  // namespace

// gpu_rows [TB/s] [chains|products|convolutions|transformer|attention|first_layers] [all]
int main(int argc, char** argv) {
  const auto& card = backends::cuda_device();
  if (!card.ok()) {
    std::printf("%s\n", card.status().message().c_str());
    return 1;
  }
  const double terabytes = argc > 1 ? std::atof(argv[1]) : 4.2;
  const std::string what = argc > 2 ? argv[2] : "chains";
  const bool all = argc > 3;
  for (const ir::DType type : {ir::DType::kFloat32, ir::DType::kFloat16}) {
    if (what == "chains") {
      for (const int64_t mebibytes : {1, 16, 256}) {
        for (const Work& work : chains(type, mebibytes)) measure(**card, work, terabytes, true);
      }
    } else if (what == "attention") {
      for (const Work& work : attention(type)) measure(**card, work, terabytes, true);
    } else if (type == ir::DType::kFloat16) {
      for (const Work& work : what == "products"       ? products(type)
                              : what == "transformer"  ? transformer(type)
                              : what == "first_layers" ? first_layers(type)
                                                       : convolutions(type)) {
        measure(**card, work, terabytes, all);
      }
    }
    std::fflush(stdout);
  }
  return 0;
}
