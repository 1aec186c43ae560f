// Shapes, weight packing and launch of the implicit-product convolution.
#include "backends/cuda/conv_problem.h"

#include <algorithm>
#include <cmath>

#include "backends/cuda/tensor_map.h"
#include "backends/reference/common.h"

namespace blade::backends::cuda {
namespace {

constexpr int kMaxStages = 16;
constexpr int kStageBudget = 100 << 10;  // two kernels' blocks fit beside each other on an SM

Support supports_conv(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  if (attrs.strides.size() > 2) return Support::no("has 3 spatial dims, takes 1 or 2");
  if (attrs.groups != 1) return Support::no("has " + std::to_string(attrs.groups) + " groups, takes 1");
  return Support::yes();
}

Support supports_matmul(const KernelRequest& request) {
  if (request.node->get<ir::MatMulAttrs>().transpose_a) return Support::no("the left operand is transposed");
  const ir::Dims& b = request.inputs[1].dims;
  if (product(b, 0, b.size() - 2) != 1) return Support::no("each batch has a right operand of its own");
  return Support::yes();
}

struct Split {
  int64_t row_tiles, column_tiles, chunks;  // chunks: of one block
  int stages, shared_bytes;
  int64_t blocks;
};

Split split_of(const ConvProblem& problem, const ConvVariant& variant, int split_log2, size_t most_shared) {
  Split s;
  s.row_tiles = ceil_div(problem.rows(), static_cast<int64_t>(variant.rows));
  s.column_tiles = ceil_div(problem.channels, static_cast<int64_t>(variant.columns));
  s.chunks = ceil_div(problem.chunks(), int64_t{1} << split_log2);
  s.blocks = s.row_tiles * s.column_tiles << split_log2;
  const bool exchanges = !variant.direct || split_log2 > 0;
  const int inbox = split_log2 > 0 ? variant.rows * variant.columns * 4 : 0;
  const auto room = static_cast<int64_t>(most_shared) - 1024 - inbox;
  const int64_t budget = std::min<int64_t>(kStageBudget, room);
  // The products of groups run on while the next chunk is waited for: that has to be on its way already.
  constexpr int64_t kLeastStages = 2;
  s.stages = static_cast<int>(
      std::min({s.chunks, static_cast<int64_t>(kMaxStages), std::max(budget / variant.stage_bytes, kLeastStages)}));
  // Where blocks share memory with the exchange of sums, the kernel places the inbox behind both.
  const int held = std::max(s.stages * variant.stage_bytes, exchanges ? variant.sum_bytes : 0);
  s.shared_bytes = split_log2 > 0 ? std::max(held, variant.sum_bytes) + inbox : held;
  return s;
}

ConvProblem windowed_problem(const reference::Windows& w, int64_t in_channels, int64_t channels) {
  ConvProblem problem;
  problem.in_channels = in_channels;
  problem.channels = channels;
  problem.images = w.batch;
  problem.height = w.dim[1].in;
  problem.width = w.dim[2].in;
  problem.kernel_h = w.dim[1].size;
  problem.kernel_w = w.dim[2].size;
  problem.out_height = w.dim[1].out;
  problem.out_width = w.dim[2].out;
  problem.stride_h = w.dim[1].stride;
  problem.stride_w = w.dim[2].stride;
  problem.dilation_h = w.dim[1].dilation;
  problem.dilation_w = w.dim[2].dilation;
  problem.pad_top = w.dim[1].pad_before;
  problem.pad_left = w.dim[2].pad_before;
  return problem;
}

// [k, channels] (or its transpose) to [chunk][padded channel][128 bytes of k], pieces of 16 bytes XORed by channel & 7.
Result<AlignedBuffer> pack_weights(const ir::Tensor& weights, const ConvProblem& problem) {
  const int64_t channels = problem.channels, padded = problem.padded_channels(), depth = problem.depth();
  const size_t bytes = static_cast<size_t>(problem.own_chunks() * padded) * 128;
  AlignedBuffer buffer = AlignedBuffer::allocate(bytes);
  if (buffer.data() == nullptr) {
    return resource_exhausted("There is no memory to pack " + std::to_string(bytes) + " bytes of weights.");
  }
  std::fill_n(buffer.data(), bytes, std::byte{0});
  const int64_t size = problem.element_bytes, in_piece = problem.piece();
  for (int64_t k = 0; k < depth; ++k) {
    const int64_t chunk = k / (8 * in_piece), piece = k / in_piece % 8, rest = k % in_piece;
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t from = problem.weights_by_channel ? c * depth + k : k * channels + c;
      const int64_t to = (chunk * padded + c) * 128 + (piece ^ (c & 7)) * 16 + rest * size;
      __builtin_memcpy(buffer.data() + to, weights.data + from * size, static_cast<size_t>(size));
    }
  }
  return buffer;
}

Result<std::shared_ptr<const DeviceBuffer>> packed_weights(const KernelRequest& request, const ConvProblem& problem,
                                                           PackCache& packs) {
  const ir::TensorPtr& weights = request.constants[1];
  const std::string layout = "conv_chunks:" + std::to_string(problem.depth()) + ":" + std::to_string(problem.channels) +
                             (problem.weights_by_channel ? ":t" : "");
  return packs.get_on(*request.device, weights, layout,
                      [&]() -> Result<AlignedBuffer> { return pack_weights(*weights, problem); });
}

}  // namespace

Support supports_conv_problem(const KernelRequest& request, bool floats) {
  if (Support s = needs_small(request); !s.ok) return s;
  const ir::DType dtype = request.outputs[0].dtype;
  if (floats ? dtype != ir::DType::kFloat32 : !is_half(dtype)) {
    return Support::no(std::string("has type ") + ir::dtype_name(dtype) + ", needs " +
                       (floats ? "float32" : "float16 or bfloat16"));
  }
  for (const TensorDesc* desc : {&request.inputs[0], &request.inputs[1], &request.outputs[0]}) {
    if (desc->dtype != dtype) {
      return Support::no(std::string("an operand has type ") + ir::dtype_name(desc->dtype) + ", the result " +
                         ir::dtype_name(dtype));
    }
  }
  if (!is_constant(request, 1)) return Support::no("weights are not constant");
  const bool is_conv = request.node->op == ir::Op::kConv;
  if (Support s = is_conv ? supports_conv(request) : supports_matmul(request); !s.ok) return s;
  const int64_t channels = request.inputs[0].dims.back(), piece = 16 / static_cast<int64_t>(ir::dtype_size(dtype));
  if (channels % piece != 0)
    return Support::no("has " + std::to_string(channels) + " input channels, needs a multiple of " +
                       std::to_string(piece));
  return Epilogue::supports(request, epilogue_of(request), 2);
}

const void* form_of(const KernelRequest& request, const KernelForms& kernels) {
  const ir::DType dtype = request.outputs[0].dtype;
  return dtype == ir::DType::kFloat32 || is_half(dtype) ? kernels.of(*element_type(dtype)) : nullptr;
}

Support supports_form(const KernelRequest& request, const KernelForms& kernels) {
  if (form_of(request, kernels) != nullptr) return Support::yes();
  return Support::no(std::string("the tile is not compiled for ") + ir::dtype_name(request.outputs[0].dtype));
}

const ir::PointwiseProgram& epilogue_of(const KernelRequest& request) {
  if (request.node->op == ir::Op::kConv) return request.node->get<ir::ConvAttrs>().epilogue;
  return request.node->get<ir::MatMulAttrs>().epilogue;
}

Support supports_conv_sum(const KernelRequest& request) {
  if (request.producer == nullptr || request.producer->node->op != ir::Op::kConv || request.node->op != ir::Op::kConv) {
    return Support::no("is not a sum of two convolutions");
  }
  if (Support s = supports_conv_problem(*request.producer); !s.ok) return s;
  if (Support s = supports_conv_problem(request); !s.ok) return s;
  const ConvProblem addend = addend_problem(request);
  if (addend.kernel_h != 1 || addend.kernel_w != 1 || addend.pad_top != 0 || addend.pad_left != 0) {
    return Support::no("the addend is no 1x1 convolution without padding");
  }
  if (Support s = Epilogue::supports_sum(request); !s.ok) return s;
  return supports_tensor_map(addend);
}

ConvProblem addend_problem(const KernelRequest& request) {
  const ir::Dims &in = request.producer->inputs[0].dims, &out = request.producer->outputs[0].dims;
  const auto& attrs = request.producer->node->get<ir::ConvAttrs>();
  const reference::Windows w = reference::make_windows(in, out, request.producer->inputs[1].dims, attrs.strides,
                                                       attrs.dilations, attrs.padding, attrs.explicit_pads);
  return windowed_problem(w, in.back(), out.back());
}

bool is_plain_product(const ConvProblem& problem) {
  return problem.kernel_h == 1 && problem.kernel_w == 1 && problem.stride_h == 1 && problem.stride_w == 1 &&
         problem.rows() == problem.images * problem.height * problem.width;
}

ConvProblem conv_problem(const KernelRequest& request) {
  ConvProblem problem;
  problem.in_channels = request.inputs[0].dims.back();
  problem.channels = request.outputs[0].dims.back();
  problem.element_bytes = static_cast<int64_t>(ir::dtype_size(request.inputs[0].dtype));
  if (request.node->op == ir::Op::kMatMul) {
    problem.width = problem.out_width = request.outputs[0].element_count() / problem.channels;
    problem.weights_by_channel = request.node->get<ir::MatMulAttrs>().transpose_b;
    return problem;
  }
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  const reference::Windows w =
      reference::make_windows(request.inputs[0].dims, request.outputs[0].dims, request.inputs[1].dims, attrs.strides,
                              attrs.dilations, attrs.padding, attrs.explicit_pads);
  problem = windowed_problem(w, problem.in_channels, problem.channels);
  problem.element_bytes = static_cast<int64_t>(ir::dtype_size(request.inputs[0].dtype));
  if (request.producer != nullptr) {
    const auto& addend = request.producer->node->get<ir::ConvAttrs>();
    problem.addend_channels = request.producer->inputs[0].dims.back();
    problem.addend_stride_h = addend.strides.size() == 2 ? addend.strides[0] : 1;
    problem.addend_stride_w = addend.strides.back();
    return problem;
  }
  const bool is_product = problem.kernel_h == 1 && problem.kernel_w == 1 && problem.stride_h == 1 &&
                          problem.stride_w == 1 && problem.pad_top == 0 && problem.pad_left == 0 &&
                          problem.out_height == problem.height && problem.out_width == problem.width;
  if (is_product) {  // one row of pixels: the simplest to walk
    problem.width = problem.out_width = problem.rows();
    problem.images = problem.height = problem.out_height = 1;
  }
  return problem;
}

ConvParams conv_params(const ConvProblem& problem, int64_t column_tiles) {
  ConvParams p;
  p.rows = static_cast<int>(problem.rows());
  p.channels = static_cast<int>(problem.channels);
  p.channels_padded = static_cast<int>(problem.padded_channels());
  p.height = static_cast<int>(problem.height);
  p.width = static_cast<int>(problem.width);
  p.in_channels = static_cast<int>(problem.in_channels);
  p.pieces_per_tap = static_cast<int>(problem.in_channels / problem.piece());
  p.kernel_h = static_cast<int>(problem.kernel_h);
  p.kernel_w = static_cast<int>(problem.kernel_w);
  p.stride_h = static_cast<int>(problem.stride_h);
  p.stride_w = static_cast<int>(problem.stride_w);
  p.dilation_h = static_cast<int>(problem.dilation_h);
  p.dilation_w = static_cast<int>(problem.dilation_w);
  p.pad_top = static_cast<int>(problem.pad_top);
  p.pad_left = static_cast<int>(problem.pad_left);
  p.out_width = FastDivisor(problem.out_width);
  p.out_pixels = FastDivisor(problem.out_height * problem.out_width);
  p.taps_w = FastDivisor(problem.kernel_w);
  p.tap_pieces = FastDivisor(problem.in_channels / problem.piece());
  p.column_tiles = FastDivisor(column_tiles);
  p.part_channels = FastDivisor(problem.padded_channels());
  p.chunks = static_cast<int>(problem.chunks());
  p.own_chunks = static_cast<int>(problem.own_chunks());
  p.addend_stride_h = static_cast<int>(problem.addend_stride_h);
  p.addend_stride_w = static_cast<int>(problem.addend_stride_w);
  return p;
}

ConvParams ConvOperands::bind(ConvParams p, const KernelArgs& args) const {
  p.x = args.inputs[x];
  p.y = args.outputs[0];
  for (size_t i = 1; i < args.outputs.size(); ++i) p.more_y[i - 1] = args.outputs[i];
  p.epilogue = epilogue.bind(args);
  p.weights = weights->data();
  if (addend_weights != nullptr) {
    p.addend_weights = addend_weights->data() - int64_t{p.own_chunks} * p.channels_padded * 128;
  }
  return p;
}

Result<ConvOperands> conv_operands(const KernelRequest& request, const ConvProblem& problem, PackCache& packs) {
  ConvOperands operands;
  BLADE_ASSIGN_OR_RETURN(operands.weights, packed_weights(request, problem, packs));
  if (request.producer == nullptr) {
    BLADE_ASSIGN_OR_RETURN(operands.epilogue,
                           Epilogue::create(request, epilogue_of(request), 2, problem.padded_channels(), packs));
    operands.unread_inputs = operands.epilogue.unread_inputs() | 1u << 1;
    return operands;
  }
  BLADE_ASSIGN_OR_RETURN(operands.addend_weights, packed_weights(*request.producer, addend_problem(request), packs));
  BLADE_ASSIGN_OR_RETURN(operands.epilogue, Epilogue::create_sum(request, problem.padded_channels()));
  operands.x = request.producer->inputs.size();
  // Of both nodes nothing but the images: all else is packed.
  operands.unread_inputs = ~(1u | 1u << operands.x);
  return operands;
}

double memory_us(const KernelRequest& request) {
  size_t bytes = request.outputs[0].bytes();
  for (const TensorDesc& input : request.inputs) bytes += input.bytes();
  if (request.producer != nullptr) {  // the sum between the two is in none of the memories
    bytes -= request.outputs[0].bytes();
    for (const TensorDesc& input : request.producer->inputs) bytes += input.bytes();
  }
  return static_cast<double>(bytes) / 4.0e6;  // about 4 TB/s
}

// Constants are of an H200, roughly.
double predict_deep_blocks_us(const KernelRequest& request, const DeepBlocks& deep) {
  const DeviceInfo& card = request.device->info();
  const int64_t beside =
      std::clamp<int64_t>(static_cast<int64_t>(card.shared_bytes_per_block) / (deep.shared_bytes + 1024), 1, 4);
  const auto waves = static_cast<double>(ceil_div(deep.blocks, card.multiprocessors * beside));
  const auto each_sm = static_cast<double>(ceil_div(deep.blocks, int64_t{card.multiprocessors}));
  return deep.start_us + std::max({each_sm * deep.busy_us, waves * deep.wait_us, 1.3 * memory_us(request)}) +
         deep.exchange_us;
}

Support supports_variant(const KernelRequest& request, const ConvVariant& variant, int split_log2) {
  if (Support s = supports_conv_problem(request, variant.floats); !s.ok) return s;
  if (Support s = supports_form(request, variant.kernels); !s.ok) return s;
  const DeviceInfo& card = request.device->info();
  if (variant.groups && card.capability != 90) return Support::no("needs compute capability 9.0");
  if (split_log2 > 0 && card.capability < 90) return Support::no("clusters need compute capability 9.0");
  const ConvProblem problem = conv_problem(request);
  if (variant.groups) {
    if (Support s = supports_tensor_map(problem); !s.ok) return s;
  }
  if (problem.chunks() < int64_t{1} << split_log2) return Support::no("the sum is too short to be split so often");
  if (variant.rows >> split_log2 < 4) return Support::no("the tile has too few rows to be split so often");
  const Split split = split_of(problem, variant, split_log2, card.shared_bytes_per_block);
  if (static_cast<size_t>(split.shared_bytes) + 1024 > card.shared_bytes_per_block) {
    return Support::no("needs more shared memory than the card has");
  }
  return Support::yes();
}

Support supports_variant_sum(const KernelRequest& request, const ConvVariant& variant, int split_log2) {
  if (Support s = supports_conv_sum(request); !s.ok) return s;
  return supports_variant(request, variant, split_log2);
}

Support supports_cast_of_product(const KernelRequest& request) {
  constexpr int64_t kMostElements = 1 << 20;  // of more, kernels for many pixels are better and the cast matters less
  if (request.producer == nullptr) return Support::no("casts no product");
  const ir::Op op = request.producer->node->op;
  if (op != ir::Op::kConv && op != ir::Op::kMatMul) return Support::no("casts no product");
  if (request.outputs[0].dtype != ir::DType::kFloat32) return Support::no("does not cast to float32");
  if (request.outputs[0].element_count() > kMostElements) return Support::no("has more than 2^20 results");
  return Support::yes();
}

Support supports_variant_cast(const KernelRequest& request, const ConvVariant& variant, int split_log2) {
  if (Support s = supports_cast_of_product(request); !s.ok) return s;
  return supports_variant(*request.producer, variant, split_log2);
}

Support supports_split_of_product(const KernelRequest& request) {
  if (request.producer == nullptr || request.producer->node->op != ir::Op::kMatMul) {
    return Support::no("splits no product");
  }
  const KernelRequest& matrix = *request.producer;
  if (Support s = supports_conv_problem(matrix); !s.ok) return s;
  const size_t rank = request.inputs[0].dims.size();
  if (request.node->get<ir::SplitAttrs>().axis != static_cast<int64_t>(rank) - 1) {
    return Support::no("does not split the columns");
  }
  if (request.outputs.size() > kMostParts) {
    return Support::no("has " + std::to_string(request.outputs.size()) + " parts, takes " + std::to_string(kMostParts));
  }
  for (const TensorDesc& part : request.outputs) {
    if (part.dims.back() != request.outputs[0].dims.back()) return Support::no("parts are of different sizes");
    if (part.dims.back() % 128 != 0) return Support::no("parts have columns in no multiple of 128");
  }
  return Epilogue::supports_by_channel(matrix, epilogue_of(matrix), 2);
}

Support supports_variant_split(const KernelRequest& request, const ConvVariant& variant, int split_log2) {
  if (Support s = supports_split_of_product(request); !s.ok) return s;
  if (!variant.plain || (variant.direct && split_log2 == 0)) return Support::no("the tile stores one tensor");
  return supports_variant(*request.producer, variant, split_log2);
}

// Guesses where nothing was measured: the longer of what the SMs can multiply and load, and of the latency of one
// block after another. Constants are of an H100, roughly.
double predict_variant_us(const KernelRequest& request, const ConvVariant& variant, int split_log2) {
  const DeviceInfo& card = request.device->info();
  const Split split = split_of(conv_problem(request), variant, split_log2, card.shared_bytes_per_block);
  const double sms = card.multiprocessors;
  const double rate = variant.groups ? 5.5e6 : variant.floats ? 1.2e6 : 4.0e6;
  const double multiply_us = 2.0 * variant.rows * variant.columns * 64 / rate;
  const double load_us = (variant.rows + variant.columns) * 128.0 / 40e3;
  const double chunk_us = std::max(multiply_us, load_us);
  const double beside = std::clamp(std::floor(200e3 / std::max(split.shared_bytes, 1)), 1.0, 4.0);
  const double busy = std::ceil(static_cast<double>(split.blocks) / sms) * static_cast<double>(split.chunks) * chunk_us;
  const double waves = std::ceil(static_cast<double>(split.blocks) / (sms * beside));
  const double latency = waves * ((variant.groups ? 0.4 : 0.8) + 0.1 * static_cast<double>(split.chunks));
  return 1.5 + std::max({busy, latency, 1.3 * memory_us(request)}) + (split_log2 > 0 ? 0.8 : 0.0) +
         (variant.warps_k > 1 ? 0.2 : 0.0);
}

VariantLaunch variant_launch(const KernelRequest& request, const ConvVariant& variant, int split_log2) {
  const ConvProblem problem = conv_problem(request);
  const Split split = split_of(problem, variant, split_log2, request.device->info().shared_bytes_per_block);
  VariantLaunch made;
  made.shape.grid.x = static_cast<unsigned>(split.blocks);
  made.shape.threads = variant.threads;
  made.shape.shared_bytes = split.shared_bytes;
  made.shape.cluster = 1 << split_log2;
  made.params = conv_params(problem, split.column_tiles);
  made.params.split_log2 = split_log2;
  made.params.stages = split.stages;
  return made;
}

Result<std::unique_ptr<Kernel>> create_variant(const KernelRequest& request, PackCache& packs,
                                               const ConvVariant& variant, int split_log2, bool float_result,
                                               int64_t parts) {
  const ConvProblem problem = conv_problem(request);
  BLADE_ASSIGN_OR_RETURN(const ConvOperands operands, conv_operands(request, problem, packs));
  const VariantLaunch made = variant_launch(request, variant, split_log2);
  const LaunchShape shape = made.shape;
  const void* kernel = form_of(request, variant.kernels);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  ConvParams params = made.params;
  params.y_is_float = float_result || variant.floats;
  if (parts > 1) params.part_channels = FastDivisor(problem.channels / parts);
  const ConvProblem addend = request.producer != nullptr ? addend_problem(request) : problem;
  return make_kernel(
      [=, has_maps = variant.groups, tile_rows = variant.rows](const KernelArgs& args) -> Status {
        ConvParams p = operands.bind(params, args);
        if (!has_maps) {
          void* arguments[] = {&p};
          return launch(args, kernel, shape, arguments);
        }
        PixelMaps maps;
        BLADE_ASSIGN_OR_RETURN(maps, make_pixel_maps(problem, addend, p.x, args.inputs[0], tile_rows));
        void* arguments[] = {&maps, &p};
        return launch(args, kernel, shape, arguments);
      },
      {.in_place_inputs = float_result ? 0 : operands.epilogue.in_place_inputs(),
       .unread_inputs = operands.unread_inputs});
}

}  // namespace blade::backends::cuda
