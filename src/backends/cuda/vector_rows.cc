// Rows of matrix products with a few rows: classifiers of one image, squeezed channels.
#include <string>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernels/simple_kernels.h"
#include "backends/cuda/row_table.h"

namespace blade::backends::cuda {
namespace {

Support supports_vector(const KernelRequest& request, bool floats) {
  if (request.producer != nullptr) return Support::no("is a sum of two convolutions");
  if (Support s = supports_conv_problem(request, floats); !s.ok) return s;
  const ConvProblem problem = conv_problem(request);
  if (!is_plain_product(problem)) return Support::no("is no product of a matrix and pixels");
  if (problem.rows() > kMostVectorRows) {
    return Support::no("has " + std::to_string(problem.rows()) + " rows, takes " + std::to_string(kMostVectorRows));
  }
  return Support::yes();
}

Result<std::unique_ptr<Kernel>> create_vector(const KernelRequest& request, PackCache& packs, bool float_result) {
  const ConvProblem problem = conv_problem(request);
  BLADE_ASSIGN_OR_RETURN(const ConvOperands operands, conv_operands(request, problem, packs));
  const ElementType type = *element_type(request.inputs[0].dtype);
  const ir::PointwiseProgram& epilogue = epilogue_of(request);
  const bool plain = epilogue.empty() || Epilogue::supports_plain(request, epilogue, 2).ok;
  const void* kernel = vector_product_kernel(type, plain);
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(ceil_div(problem.channels, int64_t{kVectorColumns}));
  shape.threads = kSimpleThreads;
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  ConvParams params = conv_params(problem, 1);
  params.y_is_float = float_result || type == ElementType::kFloat32;
  return make_kernel(
      [=](const KernelArgs& args) {
        ConvParams p = operands.bind(params, args);
        void* arguments[] = {&p};
        return launch(args, kernel, shape, arguments);
      },
      {.in_place_inputs = float_result ? 0 : operands.epilogue.in_place_inputs(),
       .unread_inputs = operands.unread_inputs});
}

template <bool kFloats>
struct VectorRow {
  static Support supports(const KernelRequest& request) { return supports_vector(request, kFloats); }
  // Constants are of an H200, roughly.
  static double predicted_us(const KernelRequest& request) { return 1.8 + 1.5 * memory_us(request); }
  static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache& packs) {
    return create_vector(request, packs, false);
  }
  static Support supports_cast(const KernelRequest& request) {
    if (Support s = supports_cast_of_product(request); !s.ok) return s;
    return supports(*request.producer);
  }
  static double predicted_cast_us(const KernelRequest& request) { return predicted_us(*request.producer); }
  static Result<std::unique_ptr<Kernel>> create_cast(const KernelRequest& request, PackCache& packs) {
    return create_vector(*request.producer, packs, true);
  }
};

const ProductRows& table() {
  static const ProductRows rows = [] {
    ProductRows made;
    made.add_rows<VectorRow<false>>("vector");
    made.add_cast_row<VectorRow<false>>("vector");
    made.add_rows<VectorRow<true>>("vector_f32");
    return made;
  }();
  return rows;
}

}  // namespace

std::span<const KernelEntry> vector_rows() { return table().rows; }
std::span<const KernelEntry> vector_cast_rows() { return table().cast_rows; }

}  // namespace blade::backends::cuda
