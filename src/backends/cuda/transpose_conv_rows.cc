// Transposed convolutions whose windows do not overlap (kernel and stride of one size): a matrix product gives every
// pixel its window, a copy puts the windows in their places.
#include <limits>
#include <utility>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernels/simple_kernels.h"
#include "backends/reference/common.h"

namespace blade::backends::cuda {
namespace {

struct Window {
  int64_t height, width, channels;
};

Window window_of(const KernelRequest& request) {
  const ir::Dims& w = request.inputs[1].dims;  // [height, width, out, in]
  return {w[0], w[1], w[2]};
}

Support supports_windows(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvTransposeAttrs>();
  if (attrs.strides.size() != 2) return Support::no("needs 2 spatial dims");
  if (Support s = needs_small(request); !s.ok) return s;
  if (Support s = needs_full_or_half(request.inputs[0], "the input"); !s.ok) return s;
  if (!is_constant(request, 1) || request.inputs[1].dtype != request.inputs[0].dtype) {
    return Support::no("weights are not constant and of the input's type");
  }
  const Window window = window_of(request);
  const ir::Dims &in = request.inputs[0].dims, &out = request.outputs[0].dims;
  const bool apart = attrs.strides[0] == window.height && attrs.strides[1] == window.width &&
                     attrs.dilations == std::vector<int64_t>{1, 1} && out[1] == in[1] * window.height &&
                     out[2] == in[2] * window.width && out[3] == window.channels;
  if (!apart) return Support::no("windows overlap or are cut");
  const ir::PointwiseProgram& program = attrs.epilogue;
  if (program.empty()) return Support::yes();
  const bool bias = program.code.size() == 1 && program.code[0].op == ir::PointwiseOp::kAdd &&
                    program.num_inputs == 2 && request.inputs.size() == 4 && is_constant(request, 3) &&
                    request.inputs[3].element_count() == window.channels && ir::is_floating(request.inputs[3].dtype);
  return bias ? Support::yes() : Support::no("the epilogue is more than a constant bias");
}

// The product as a node of its own, and what the rows of products are asked.
struct Product {
  ir::Node node;
  KernelRequest request;
};

ir::TensorPtr reshaped(const ir::TensorPtr& tensor, ir::Dims dims) {
  auto view = std::make_shared<ir::Tensor>(*tensor);
  view->dims = std::move(dims);
  return view;
}

// The bias once for every place of the window.
Result<ir::TensorPtr> repeated(const ir::Tensor& bias, int64_t times) {
  BLADE_ASSIGN_OR_RETURN(ir::NewTensor made, ir::allocate_tensor(bias.dtype, {bias.element_count() * times}));
  for (int64_t i = 0; i < times; ++i) {
    __builtin_memcpy(made.data + i * static_cast<int64_t>(bias.bytes), bias.data, bias.bytes);
  }
  return ir::TensorPtr(std::move(made.tensor));
}

Status fill(Product& product, const KernelRequest& request) {
  const Window window = window_of(request);
  const ir::Dims& in = request.inputs[0].dims;
  const int64_t rows = in[0] * in[1] * in[2], columns = window.height * window.width * window.channels;
  ir::MatMulAttrs attrs;
  attrs.transpose_b = true;
  attrs.epilogue = request.node->get<ir::ConvTransposeAttrs>().epilogue;
  product.node = *request.node;
  product.node.op = ir::Op::kMatMul;
  product.node.attrs = attrs;
  KernelRequest& made = product.request;
  made = request;
  made.node = &product.node;
  made.inputs = {{request.inputs[0].dtype, {rows, in[3]}}, {request.inputs[1].dtype, {columns, in[3]}}};
  made.constants = {nullptr, reshaped(request.constants[1], {columns, in[3]})};
  made.outputs = {{request.outputs[0].dtype, {rows, columns}}};
  if (attrs.epilogue.empty()) return {};
  BLADE_ASSIGN_OR_RETURN(ir::TensorPtr bias, repeated(*request.constants[3], window.height * window.width));
  made.inputs.push_back({bias->dtype, bias->dims});
  made.constants.push_back(std::move(bias));
  return {};
}

// The row predicted fastest, or the one that takes everything.
const KernelEntry* fastest_row(const KernelRequest& request) {
  const KernelEntry* best = nullptr;
  double least = std::numeric_limits<double>::infinity();
  for (const auto rows : {pipeline_rows(), matmul_rows()}) {
    for (const KernelEntry& row : rows) {
      if (row.op != ir::Op::kMatMul || !row.supports(request).ok) continue;
      const double us = row.predicted_us != nullptr ? row.predicted_us(request) : least;
      if (best == nullptr || us < least) best = &row;
      least = std::min(least, us);
    }
  }
  return best;
}

// Constants that only the product knows, on the device.
Result<std::shared_ptr<const DeviceBuffer>> on_device(const KernelRequest& request, size_t i) {
  const ir::Tensor& tensor = *request.constants[i];
  BLADE_ASSIGN_OR_RETURN(DeviceBuffer buffer, request.device->upload(tensor.data, tensor.bytes));
  return std::make_shared<const DeviceBuffer>(std::move(buffer));
}

Result<std::unique_ptr<Kernel>> create_windows(const KernelRequest& request, PackCache& packs) {
  Product made;
  BLADE_RETURN_IF_ERROR(fill(made, request));
  const KernelEntry* row = fastest_row(made.request);
  if (row == nullptr) return internal_error("No row takes the product of a transposed convolution.");
  BLADE_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> owned, row->create(made.request, packs));
  const std::shared_ptr<const Kernel> product = std::move(owned);
  std::vector<std::shared_ptr<const DeviceBuffer>> constants(made.request.inputs.size());
  for (size_t i = 1; i < constants.size(); ++i) {
    if (product->reads_input(static_cast<int>(i))) {
      BLADE_ASSIGN_OR_RETURN(constants[i], on_device(made.request, i));
    }
  }
  // [image, row, line of the window, pixel, place in the line, channel]
  const Window window = window_of(request);
  const ir::Dims& in = request.inputs[0].dims;
  const ir::Dims dims = {in[0], in[1], window.height, in[2], window.width * window.channels};
  const int64_t line = window.width * window.channels, all = window.height * line;
  StridedCopiesParams copies = one_copy(dims, {in[1] * in[2] * all, in[2] * all, line, all, 1}, row_major_strides(dims),
                                        ir::dtype_size(request.outputs[0].dtype));
  const LaunchShape shape = one_each(copies.copies[0].count, kSimpleThreads);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, strided_copies_kernel(), shape));
  return make_kernel(
      [=](const KernelArgs& args) -> Status {
        std::vector<const void*> inputs = {args.inputs[0]};
        for (size_t i = 1; i < constants.size(); ++i) {
          inputs.push_back(constants[i] != nullptr ? constants[i]->data() : nullptr);
        }
        void* between[] = {args.scratch};
        KernelArgs inner = args;
        inner.inputs = inputs;
        inner.outputs = between;
        BLADE_RETURN_IF_ERROR(product->run(inner));
        StridedCopiesParams p = copies;
        p.copies[0].from = args.scratch;
        p.copies[0].to = args.outputs[0];
        void* arguments[] = {&p};
        return launch(args, strided_copies_kernel(), shape, arguments);
      },
      {.unread_inputs = ~1u, .scratch_bytes = request.outputs[0].bytes()});
}

constexpr KernelEntry kTransposeConvRows[] = {
    {"cuda.conv_transpose.windows", ir::Op::kConvTranspose, supports_windows, nullptr, create_windows}};

}  // namespace

std::span<const KernelEntry> transpose_conv_rows() { return kTransposeConvRows; }

}  // namespace blade::backends::cuda
