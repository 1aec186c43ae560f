// Rows for Conv and ConvTranspose: tensor-core tiles, the first-layer kernel, and what takes everything else.
#include <algorithm>
#include <array>
#include <deque>
#include <utility>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernels/simple_kernels.h"
#include "backends/reference/common.h"
#include "base/half.h"

namespace blade::backends::cuda {
namespace {

// --- first layer ---

struct StemShape {
  StemParams params;
  int column_blocks = 0, shared_bytes = 0;
};

int64_t padded_row_k(int64_t kernel_w) { return ceil_div(kernel_w * 4, int64_t{16}) * 16; }

StemShape stem_shape(const ConvProblem& problem) {
  StemShape shape;
  StemParams& p = shape.params;
  p.images = static_cast<int>(problem.images);
  p.height = static_cast<int>(problem.height);
  p.width = static_cast<int>(problem.width);
  p.in_channels = static_cast<int>(problem.in_channels);
  p.out_height = static_cast<int>(problem.out_height);
  p.out_width = static_cast<int>(problem.out_width);
  p.channels = static_cast<int>(problem.channels);
  p.kernel_h = static_cast<int>(problem.kernel_h);
  p.row_k = static_cast<int>(padded_row_k(problem.kernel_w));
  p.stride_h = static_cast<int>(problem.stride_h);
  p.stride_w = static_cast<int>(problem.stride_w);
  p.pad_top = static_cast<int>(problem.pad_top);
  p.pad_left = static_cast<int>(problem.pad_left);
  const int tiles_y = ceil_div(p.out_height, kStemTileHeight), tiles_x = ceil_div(p.out_width, kStemTileWidth);
  const int patch_width = (kStemTileWidth - 1) * p.stride_w + p.row_k / 4;
  p.tiles = p.images * tiles_y * tiles_x;
  p.tiles_y = FastDivisor(tiles_y);
  p.tiles_x = FastDivisor(tiles_x);
  p.patch_height = (kStemTileHeight - 1) * p.stride_h + p.kernel_h;
  p.patch_width = FastDivisor(patch_width);
  shape.column_blocks = ceil_div(p.channels, kStemColumns);
  shape.shared_bytes =
      kStemLineBytes + kStemColumns * (p.kernel_h * p.row_k + 8) * 2 + p.patch_height * patch_width * 8;
  return shape;
}

Support supports_stem(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  const int64_t channels = request.inputs[0].dims.back();
  if (channels > 4) return Support::no("has " + std::to_string(channels) + " input channels, takes at most 4");
  if (attrs.groups != 1 || attrs.strides.size() != 2) return Support::no("has groups or not 2 spatial dims");
  for (int64_t dilation : attrs.dilations) {
    if (dilation != 1) return Support::no("is dilated");
  }
  if (!is_constant(request, 1) || request.inputs[1].dtype != ir::DType::kFloat16 ||
      request.outputs[0].dtype != ir::DType::kFloat16) {
    return Support::no("needs constant float16 weights and a float16 result");
  }
  if (Support s = needs_full_or_half(request.inputs[0], "the input"); !s.ok) return s;
  const StemShape shape = stem_shape(conv_problem(request));
  if (static_cast<size_t>(shape.shared_bytes) + 1024 > request.device->info().shared_bytes_per_block) {
    return Support::no("the window is too large for shared memory");
  }
  return Epilogue::supports(request, attrs.epilogue, 2);
}

// [kh, kw, c, channels] to [padded channel][kh][kw * 4 + c], rows 8 halves longer.
Result<AlignedBuffer> pack_stem(const ir::Tensor& weights, const ConvProblem& problem, int column_blocks) {
  const int64_t row_k = padded_row_k(problem.kernel_w), pitch = problem.kernel_h * row_k + 8;
  const size_t bytes = static_cast<size_t>(column_blocks * kStemColumns * pitch) * 2;
  AlignedBuffer buffer = AlignedBuffer::allocate(bytes);
  if (buffer.data() == nullptr) return resource_exhausted("There is no memory to pack weights.");
  std::fill_n(buffer.data(), bytes, std::byte{0});
  int64_t at = 0;
  for (int64_t h = 0; h < problem.kernel_h; ++h) {
    for (int64_t w = 0; w < problem.kernel_w; ++w) {
      for (int64_t c = 0; c < problem.in_channels; ++c) {
        for (int64_t o = 0; o < problem.channels; ++o, ++at) {
          __builtin_memcpy(buffer.as<uint16_t>() + o * pitch + h * row_k + w * 4 + c, weights.data + at * 2, 2);
        }
      }
    }
  }
  return buffer;
}

Result<std::unique_ptr<Kernel>> create_stem(const KernelRequest& request, PackCache& packs) {
  const ConvProblem problem = conv_problem(request);
  StemShape stem = stem_shape(problem);
  BLADE_ASSIGN_OR_RETURN(const Epilogue epilogue, Epilogue::create(request, epilogue_of(request), 2,
                                                                   int64_t{stem.column_blocks} * kStemColumns, packs));
  const ir::TensorPtr& weights = request.constants[1];
  BLADE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const DeviceBuffer> packed,
      packs.get_on(*request.device, weights, "stem:" + std::to_string(problem.kernel_w),
                   [&]() -> Result<AlignedBuffer> { return pack_stem(*weights, problem, stem.column_blocks); }));
  stem.params.weights = packed->data();
  stem.params.x_is_float = request.inputs[0].dtype == ir::DType::kFloat32;
  LaunchShape shape;
  const DeviceInfo& card = request.device->info();
  const int beside = static_cast<int>(card.shared_bytes_per_block) / (stem.shared_bytes + 1024);
  const int most_blocks = std::max(1, card.multiprocessors * beside / stem.column_blocks);
  shape.grid =
      dim3(static_cast<unsigned>(std::min(stem.params.tiles, most_blocks)), static_cast<unsigned>(stem.column_blocks));
  shape.threads = kStemThreads;
  shape.shared_bytes = stem.shared_bytes;
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, stem_kernel(), shape));
  return make_kernel(
      [=, params = stem.params](const KernelArgs& args) {
        StemParams p = params;
        p.x = args.inputs[0];
        p.y = args.outputs[0];
        p.epilogue = epilogue.bind(args);
        (void)packed;
        void* arguments[] = {&p};
        return launch(args, stem_kernel(), shape, arguments);
      },
      epilogue.in_place_inputs(), epilogue.unread_inputs() | 1u << 1);
}

// --- by definition ---

DirectConvParams direct_params(const KernelRequest& request, bool transposed) {
  reference::Windows w;
  DirectConvParams p;
  const ir::Dims &in = request.inputs[0].dims, &out = request.outputs[0].dims;
  if (transposed) {
    // The convolution that this is the gradient of reads what is here the result.
    const auto& attrs = request.node->get<ir::ConvTransposeAttrs>();
    w = reference::make_windows(out, in, request.inputs[1].dims, attrs.strides, attrs.dilations, attrs.padding,
                                attrs.explicit_pads);
  } else {
    const auto& attrs = request.node->get<ir::ConvAttrs>();
    w = reference::make_windows(in, out, request.inputs[1].dims, attrs.strides, attrs.dilations, attrs.padding,
                                attrs.explicit_pads);
    p.group_in = static_cast<int>(in.back() / attrs.groups);
    p.group_out = static_cast<int>(out.back() / attrs.groups);
  }
  for (int d = 0; d < 3; ++d) {
    p.in[d] = static_cast<int>(transposed ? w.dim[d].out : w.dim[d].in);
    p.out[d] = static_cast<int>(transposed ? w.dim[d].in : w.dim[d].out);
    p.size[d] = static_cast<int>(w.dim[d].size);
    p.stride[d] = static_cast<int>(w.dim[d].stride);
    p.dilation[d] = static_cast<int>(w.dim[d].dilation);
    p.pad[d] = static_cast<int>(w.dim[d].pad_before);
  }
  p.in_channels = static_cast<int>(in.back());
  p.channels = static_cast<int>(out.back());
  p.count = request.outputs[0].element_count();
  return p;
}

Support supports_any(const KernelRequest& request, const ir::PointwiseProgram& program, size_t first_operand) {
  if (Support s = needs_small(request); !s.ok) return s;
  if (Support s = needs_full_or_half(request.inputs[0], "the input"); !s.ok) return s;
  if (request.inputs[1].dtype != request.inputs[0].dtype || request.outputs[0].dtype != request.inputs[0].dtype) {
    return Support::no("operands are of different types");
  }
  return Epilogue::supports(request, program, first_operand);
}

Result<std::unique_ptr<Kernel>> create_direct_like(const KernelRequest& request, PackCache& packs, const void* kernel,
                                                   const ir::PointwiseProgram& program, size_t first_operand,
                                                   bool transposed, const LaunchShape& shape) {
  const DirectConvParams params = direct_params(request, transposed);
  BLADE_ASSIGN_OR_RETURN(const Epilogue epilogue,
                         Epilogue::create(request, program, first_operand, params.channels, packs));
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  const uint32_t unread = transposed ? 1u << 2 : 0;  // output_size
  return make_kernel(
      [=](const KernelArgs& args) {
        DirectConvParams p = params;
        p.x = args.inputs[0];
        p.w = args.inputs[1];
        p.y = args.outputs[0];
        p.epilogue = epilogue.bind(args);
        void* arguments[] = {&p};
        return launch(args, kernel, shape, arguments);
      },
      epilogue.in_place_inputs(), epilogue.unread_inputs() | unread);
}

ElementType type_of(const KernelRequest& request) { return *element_type(request.outputs[0].dtype); }

bool is_depthwise(const KernelRequest& request) {
  const ir::Dims& w = request.inputs[1].dims;
  const int64_t groups = request.node->get<ir::ConvAttrs>().groups;
  return groups > 1 && groups == request.inputs[0].dims.back() && w[w.size() - 2] == 1;
}

Support supports_depthwise(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  if (!is_depthwise(request) || attrs.strides.size() > 2) return Support::no("is not depthwise in 1 or 2 dims");
  return supports_any(request, attrs.epilogue, 2);
}
Result<std::unique_ptr<Kernel>> create_depthwise(const KernelRequest& request, PackCache& packs) {
  return create_direct_like(request, packs, depthwise_kernel(type_of(request)), epilogue_of(request), 2, false,
                            one_each(request.outputs[0].element_count()));
}

Support supports_implicit(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  if (attrs.groups != 1 || attrs.strides.size() > 2) return Support::no("has groups or 3 spatial dims");
  return supports_any(request, attrs.epilogue, 2);
}
Result<std::unique_ptr<Kernel>> create_implicit(const KernelRequest& request, PackCache& packs) {
  const int64_t channels = request.outputs[0].dims.back(), rows = request.outputs[0].element_count() / channels;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(ceil_div(rows, int64_t{kGemmTile})),
                    static_cast<unsigned>(ceil_div(channels, int64_t{kGemmTile})));
  return create_direct_like(request, packs, implicit_gemm_kernel(type_of(request)), epilogue_of(request), 2, false,
                            shape);
}

Support supports_direct(const KernelRequest& request) {
  return supports_any(request, request.node->get<ir::ConvAttrs>().epilogue, 2);
}
Result<std::unique_ptr<Kernel>> create_direct(const KernelRequest& request, PackCache& packs) {
  return create_direct_like(request, packs, direct_conv_kernel(type_of(request), false), epilogue_of(request), 2, false,
                            one_each(request.outputs[0].element_count()));
}

Support supports_transpose(const KernelRequest& request) {
  return supports_any(request, request.node->get<ir::ConvTransposeAttrs>().epilogue, 3);
}
Result<std::unique_ptr<Kernel>> create_transpose(const KernelRequest& request, PackCache& packs) {
  return create_direct_like(request, packs, direct_conv_kernel(type_of(request), true),
                            request.node->get<ir::ConvTransposeAttrs>().epilogue, 3, true,
                            one_each(request.outputs[0].element_count()));
}

}  // namespace

std::span<const KernelEntry> conv_rows() {
  static const KernelEntry rows[] = {
      {"cuda.conv.stem_f16", ir::Op::kConv, supports_stem, nullptr, create_stem},
      {"cuda.conv.depthwise", ir::Op::kConv, supports_depthwise, nullptr, create_depthwise},
      {"cuda.conv.implicit_simt", ir::Op::kConv, supports_implicit, nullptr, create_implicit},
      {"cuda.conv.direct", ir::Op::kConv, supports_direct, nullptr, create_direct},
      {"cuda.conv_transpose.direct", ir::Op::kConvTranspose, supports_transpose, nullptr, create_transpose},
  };
  return rows;
}

}  // namespace blade::backends::cuda
