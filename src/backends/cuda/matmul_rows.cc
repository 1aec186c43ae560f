// Rows of the tensor-core tiles, one for each compiled tile and split, for Conv and MatMul alike; and the matrix
// product that takes any type and layout.
#include <string>
#include <utility>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernels/simple_kernels.h"
#include "backends/cuda/row_table.h"

namespace blade::backends::cuda {
namespace {

constexpr int kSplits = 4;  // 1, 2, 4 and 8 blocks

// kVariants lists the compiled tiles; the number is of tile and split.
template <auto kVariants, int kNumber>
struct VariantRow {
  static const ConvVariant& variant() { return kVariants()[kNumber / kSplits]; }
  static constexpr int kSplit = kNumber % kSplits;
  static Support supports(const KernelRequest& request) { return supports_variant(request, variant(), kSplit); }
  static Support supports_sum(const KernelRequest& request) { return supports_variant_sum(request, variant(), kSplit); }
  static Support supports_cast(const KernelRequest& request) {
    return supports_variant_cast(request, variant(), kSplit);
  }
  static double predicted_us(const KernelRequest& request) { return predict_variant_us(request, variant(), kSplit); }
  static double predicted_cast_us(const KernelRequest& request) { return predicted_us(*request.producer); }
  static Result<std::unique_ptr<Kernel>> create_cast(const KernelRequest& request, PackCache& packs) {
    return create_variant(*request.producer, packs, variant(), kSplit, /*float_result=*/true);
  }
  static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache& packs) {
    return create_variant(request, packs, variant(), kSplit);
  }
  static Support supports_split(const KernelRequest& request) {
    return supports_variant_split(request, variant(), kSplit);
  }
  static double predicted_split_us(const KernelRequest& request) { return predicted_us(*request.producer); }
  static Result<std::unique_ptr<Kernel>> create_split(const KernelRequest& request, PackCache& packs) {
    return create_variant(*request.producer, packs, variant(), kSplit, /*float_result=*/false,
                          static_cast<int64_t>(request.outputs.size()));
  }
  // The largest tile leaves no memory for the exchange of a split.
  static bool exists() { return kSplit == 0 || variant().rows * variant().columns <= 128 * 128; }
  static std::string label() {
    const ConvVariant& v = variant();
    return tile_label(v.groups ? "wgmma" : v.floats ? "tf32x3" : "mma", v.rows, v.columns, v.warps_k, kSplit);
  }
};

struct Table : ProductRows {
  template <class Row>
  void add() {
    if (!Row::exists()) return;
    add_rows<Row>(Row::label());
    if (!Row::variant().floats) add_cast_row<Row>(Row::label());
    if (Row::variant().groups) add_sum_row<Row>(Row::label());
    const bool is_direct = Row::variant().direct && Row::kSplit == 0;
    if (Row::variant().plain && !is_direct) add_split_row<Row>(Row::label());
  }
  template <auto kVariants, int... kNumbers>
  void add_numbers(std::integer_sequence<int, kNumbers...>) {
    (add<VariantRow<kVariants, kNumbers>>(), ...);
  }
  template <auto kVariants>
  void add_all() {
    add_numbers<kVariants>(std::make_integer_sequence<int, kCountOf<decltype(kVariants)> * kSplits>{});
  }
};

// --- any type and layout ---

Support supports_gemm(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  if (Support s = needs_full_or_half(request.inputs[0], "the left operand"); !s.ok) return s;
  if (request.inputs[1].dtype != request.inputs[0].dtype) return Support::no("operands are of different types");
  const size_t rank = request.outputs[0].dims.size();
  if (rank > kMaxRank + 2) return Support::no("has too many batch dims");
  if (product(request.outputs[0].dims, 0, rank - 2) > 65535) return Support::no("has more than 65535 batches");
  return Epilogue::supports(request, epilogue_of(request), 2);
}

// Elements over batch dims, rows and columns; the epilogue as a program over the sum and its operands.
SmallWork small_product(const KernelRequest& request, const GemmParams& p) {
  const ir::PointwiseProgram& program = epilogue_of(request);
  const ir::Dims& out = request.outputs[0].dims;
  SmallPiece piece;
  piece.kind = SmallKind::kProduct;
  piece.depth = p.k;
  piece.depth_strides[0] = p.a_column;
  piece.depth_strides[1] = p.b_row;
  piece.dims = out;
  const int type = static_cast<int>(*element_type(request.outputs[0].dtype));
  ir::Dims a(p.a_batch, p.a_batch + p.batch_rank), b(p.b_batch, p.b_batch + p.batch_rank);
  a.insert(a.end(), {p.a_row, 0});
  b.insert(b.end(), {0, p.b_column});
  piece.inputs = {{0, type, 0, a}, {1, type, 0, b}};
  for (size_t i = 2; i < request.inputs.size(); ++i) {
    const TensorDesc& operand = request.inputs[i];
    piece.inputs.push_back(
        {static_cast<int>(i), static_cast<int>(*element_type(operand.dtype)), 0, broadcast_strides(operand.dims, out)});
  }
  piece.output = {0, type, 0, row_major_strides(out)};
  piece.program = to_device(program);
  return small_work(request, {piece});
}

Result<std::unique_ptr<Kernel>> create_gemm(const KernelRequest& request, PackCache& packs) {
  const auto& attrs = request.node->get<ir::MatMulAttrs>();
  const ir::Dims &a = request.inputs[0].dims, &b = request.inputs[1].dims, &out = request.outputs[0].dims;
  const size_t rank = out.size();
  GemmParams params;
  params.m = static_cast<int>(out[rank - 2]);
  params.n = static_cast<int>(out[rank - 1]);
  params.k = static_cast<int>(a[a.size() - (attrs.transpose_a ? 2 : 1)]);
  params.a_row = attrs.transpose_a ? 1 : params.k;
  params.a_column = attrs.transpose_a ? params.m : 1;
  params.b_row = attrs.transpose_b ? 1 : params.n;
  params.b_column = attrs.transpose_b ? params.k : 1;
  const ir::Dims batch(out.begin(), out.end() - 2);
  const auto batch_strides = [&](const ir::Dims& dims) {
    ir::Dims strides = broadcast_strides({dims.begin(), dims.end() - 2}, batch);
    for (int64_t& stride : strides) stride *= dims[dims.size() - 1] * dims[dims.size() - 2];
    return strides;
  };
  const ir::Dims a_strides = batch_strides(a), b_strides = batch_strides(b);
  params.batch_rank = static_cast<int>(batch.size());
  for (size_t d = 0; d < batch.size(); ++d) {
    params.batch_dims[d] = FastDivisor(batch[d]);
    params.a_batch[d] = a_strides[d];
    params.b_batch[d] = b_strides[d];
  }
  BLADE_ASSIGN_OR_RETURN(const Epilogue epilogue, Epilogue::create(request, attrs.epilogue, 2, params.n, packs));
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(ceil_div(params.n, kGemmTile)),
                    static_cast<unsigned>(ceil_div(params.m, kGemmTile)), static_cast<unsigned>(product(batch)));
  const void* kernel = gemm_kernel(*element_type(request.outputs[0].dtype));
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  SmallWork small = small_product(request, params);
  // Joined with others it reads the bias as it is in the graph.
  const uint32_t unread = small.pieces.empty() ? epilogue.unread_inputs() : 0;
  return make_kernel(
      [=](const KernelArgs& args) {
        GemmParams p = params;
        p.a = args.inputs[0];
        p.b = args.inputs[1];
        p.y = args.outputs[0];
        p.epilogue = epilogue.bind(args);
        void* arguments[] = {&p};
        return launch(args, kernel, shape, arguments);
      },
      {.in_place_inputs = epilogue.in_place_inputs(), .unread_inputs = unread, .small = std::move(small)});
}

const Table& product_table() {
  static const Table table = [] {
    Table made;
    made.add_all<conv_variants_wgmma>();
    made.add_all<conv_variants_mma_small>();
    made.add_all<conv_variants_float>();
    made.add_all<conv_variants_mma_large>();
    made.rows.push_back({"cuda.matmul.simt", ir::Op::kMatMul, supports_gemm, nullptr, create_gemm});
    return made;
  }();
  return table;
}

}  // namespace

std::span<const KernelEntry> matmul_rows() { return product_table().rows; }
std::span<const KernelEntry> product_sum_rows() { return product_table().sum_rows; }
std::span<const KernelEntry> product_cast_rows() { return product_table().cast_rows; }
std::span<const KernelEntry> product_split_rows() { return product_table().split_rows; }

}  // namespace blade::backends::cuda
