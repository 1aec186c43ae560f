// The part of cuBLASLt's C interface that a product needs, declared here: Blade builds without its header.
#include "backends/cuda/cublaslt.h"

#include <mutex>

#include "backends/cuda/vendor_library.h"

namespace blade::backends::cuda {
namespace {

const VendorLibrary& description() {
  static const auto* const cublaslt =
      new VendorLibrary{"cuBLASLt", {"libcublasLt.so.13"}, {"cu13"}, "cublasLtCreate", "nvidia-cublas"};
  return *cublaslt;
}

using Handle = struct OpaqueHandle*;
using Desc = struct OpaqueDesc*;
using Layout = struct OpaqueLayout*;
using Preference = struct OpaquePreference*;
struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

// Numbers of the interface.
constexpr int kFloat16 = 2, kBFloat16 = 14, kFloat32 = 0, kComputeFloat32 = 68;
constexpr int kTransposeA = 3, kTransposeB = 4, kEpilogue = 7, kBiasPointer = 8;
constexpr int kBatchCount = 5, kBatchStride = 6, kMostWorkspace = 1, kReductions = 3, kAlignment = 5;
constexpr uint32_t kDefault = 1, kRelu = 2, kBias = 4, kGelu = 32;
constexpr uint32_t kInFloat = 2;        // parts of a depth are added in the type of the sums, not of the operands
constexpr uint32_t kAlignedBytes = 16;  // of every operand, at least
constexpr int kMemoryShort = 3;         // an error
constexpr size_t kWorkspaceBytes = size_t{32} << 20;

struct Functions {
  int (*create)(Handle*) = nullptr;
  int (*desc_create)(Desc*, int compute, int scale) = nullptr;
  int (*desc_set)(Desc, int attribute, const void*, size_t) = nullptr;
  int (*desc_destroy)(Desc) = nullptr;
  int (*layout_create)(Layout*, int type, uint64_t rows, uint64_t columns, int64_t leading) = nullptr;
  int (*layout_set)(Layout, int attribute, const void*, size_t) = nullptr;
  int (*layout_destroy)(Layout) = nullptr;
  int (*preference_create)(Preference*) = nullptr;
  int (*preference_set)(Preference, int attribute, const void*, size_t) = nullptr;
  int (*preference_destroy)(Preference) = nullptr;
  int (*heuristic)(Handle, Desc, Layout, Layout, Layout, Layout, Preference, int, Heuristic*, int*) = nullptr;
  int (*matmul)(Handle, Desc, const void* alpha, const void* a, Layout, const void* b, Layout, const void* beta,
                const void* c, Layout, void* d, Layout, const Algorithm*, void* workspace, size_t,
                void* stream) = nullptr;
};

struct Library {
  Functions f;
  Handle handle = nullptr;
};

Result<Library> load() {
  BLADE_ASSIGN_OR_RETURN(void* const file, load_vendor_library(description()));
  Library lt;
  Functions& f = lt.f;
  const bool complete = find_function(file, "cublasLtCreate", f.create) &&
                        find_function(file, "cublasLtMatmulDescCreate", f.desc_create) &&
                        find_function(file, "cublasLtMatmulDescSetAttribute", f.desc_set) &&
                        find_function(file, "cublasLtMatmulDescDestroy", f.desc_destroy) &&
                        find_function(file, "cublasLtMatrixLayoutCreate", f.layout_create) &&
                        find_function(file, "cublasLtMatrixLayoutSetAttribute", f.layout_set) &&
                        find_function(file, "cublasLtMatrixLayoutDestroy", f.layout_destroy) &&
                        find_function(file, "cublasLtMatmulPreferenceCreate", f.preference_create) &&
                        find_function(file, "cublasLtMatmulPreferenceSetAttribute", f.preference_set) &&
                        find_function(file, "cublasLtMatmulPreferenceDestroy", f.preference_destroy) &&
                        find_function(file, "cublasLtMatmulAlgoGetHeuristic", f.heuristic) &&
                        find_function(file, "cublasLtMatmul", f.matmul);
  if (!complete) return unavailable("cuBLASLt was found, but lacks functions");
  if (const int code = f.create(&lt.handle); code != 0) {
    return unavailable("cuBLASLt does not start (status " + std::to_string(code) + ")");
  }
  return lt;
}

// Loaded once, unless that failed; the handle serves all threads and is never given back: engines may outlive statics.
Result<const Library*> loaded() {
  static std::mutex mutex;
  static const Library* library = nullptr;
  const std::lock_guard lock(mutex);
  if (library != nullptr) return library;
  BLADE_ASSIGN_OR_RETURN(const Library lt, load());
  library = new Library(lt);
  return library;
}

Status lt_status(int code, const char* what) {
  if (code == 0) return {};
  const std::string text = "cuBLASLt could not " + std::string(what) + " (status " + std::to_string(code) + ")";
  if (code != kMemoryShort) return internal_error(text + ".");
  return resource_exhausted(text + ": free memory of the card or use smaller inputs.");
}

class Product final : public LtProduct {
 public:
  Product(const Library& library, const LtProblem& problem) : lt_(library), problem_(problem) {}
  ~Product() override {
    const Functions& f = lt_.f;
    if (desc_ != nullptr) f.desc_destroy(desc_);
    for (Layout layout : {a_, b_, d_}) {
      if (layout != nullptr) f.layout_destroy(layout);
    }
  }

  Status prepare() {
    const LtProblem& p = problem_;
    BLADE_RETURN_IF_ERROR(make_desc());
    BLADE_RETURN_IF_ERROR(make_layout(&a_, p.rows, p.depth, p.transpose_a, p.a_stride));
    BLADE_RETURN_IF_ERROR(make_layout(&b_, p.depth, p.columns, p.transpose_b, p.b_stride));
    BLADE_RETURN_IF_ERROR(make_layout(&d_, p.rows, p.columns, false, p.rows * p.columns));
    Preference preference = nullptr;
    BLADE_RETURN_IF_ERROR(lt_status(lt_.f.preference_create(&preference), "make a preference"));
    Heuristic found{};
    int count = 0;
    int code = lt_.f.preference_set(preference, kMostWorkspace, &kWorkspaceBytes, sizeof kWorkspaceBytes);
    if (code == 0) code = lt_.f.preference_set(preference, kReductions, &kInFloat, sizeof kInFloat);
    for (int operand = 0; operand < 4 && code == 0; ++operand) {
      code = lt_.f.preference_set(preference, kAlignment + operand, &kAlignedBytes, sizeof kAlignedBytes);
    }
    if (code == 0) code = lt_.f.heuristic(lt_.handle, desc_, a_, b_, d_, d_, preference, 1, &found, &count);
    lt_.f.preference_destroy(preference);
    if (code == 0) code = found.state;
    if (code == kMemoryShort) return lt_status(code, "look for an algorithm");
    if (code != 0 || count == 0) {
      return unavailable("cuBLASLt has no algorithm for the product (status " + std::to_string(code) + ", " +
                         std::to_string(count) + " found)");
    }
    algorithm_ = found.algorithm;
    workspace_ = found.workspace;
    return {};
  }

  size_t workspace_bytes() const override { return workspace_; }

  Status run(const LtOperands& o) const override {
    const float one = 1, beta = problem_.has_addend ? 1.0f : 0.0f;
    const int code =
        lt_.f.matmul(lt_.handle, desc_, &one, o.a, a_, o.b, b_, &beta, problem_.has_addend ? o.addend : o.d, d_, o.d,
                     d_, &algorithm_, o.workspace, workspace_, o.stream);
    return lt_status(code, "start a product");
  }

 private:
  int type() const { return problem_.bfloat16 ? kBFloat16 : kFloat16; }

  Status make_desc() {
    BLADE_RETURN_IF_ERROR(lt_status(lt_.f.desc_create(&desc_, kComputeFloat32, kFloat32), "describe a product"));
    const int transpose_a = problem_.transpose_a ? 1 : 0, transpose_b = problem_.transpose_b ? 1 : 0;
    uint32_t epilogue = kDefault;
    if (problem_.activation != LtProblem::Activation::kNone) {
      epilogue = problem_.activation == LtProblem::Activation::kRelu ? kRelu : kGelu;
    }
    if (problem_.bias != nullptr) epilogue = (epilogue == kDefault ? 0u : epilogue) | kBias;
    int code = lt_.f.desc_set(desc_, kTransposeA, &transpose_a, sizeof transpose_a);
    if (code == 0) code = lt_.f.desc_set(desc_, kTransposeB, &transpose_b, sizeof transpose_b);
    if (code == 0) code = lt_.f.desc_set(desc_, kEpilogue, &epilogue, sizeof epilogue);
    if (code == 0 && problem_.bias != nullptr)
      code = lt_.f.desc_set(desc_, kBiasPointer, &problem_.bias, sizeof problem_.bias);
    return lt_status(code, "describe a product");
  }

  // [rows, columns] as op() gives it.
  Status make_layout(Layout* layout, int64_t rows, int64_t columns, bool transposed, int64_t stride) const {
    if (transposed) std::swap(rows, columns);
    BLADE_RETURN_IF_ERROR(lt_status(
        lt_.f.layout_create(layout, type(), static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), rows),
        "describe an operand"));
    if (problem_.batches == 1) return {};
    const auto batches = static_cast<int32_t>(problem_.batches);
    int code = lt_.f.layout_set(*layout, kBatchCount, &batches, sizeof batches);
    if (code == 0) code = lt_.f.layout_set(*layout, kBatchStride, &stride, sizeof stride);
    return lt_status(code, "describe an operand");
  }

  const Library& lt_;
  LtProblem problem_;
  Desc desc_ = nullptr;
  Layout a_ = nullptr, b_ = nullptr, d_ = nullptr;
  Algorithm algorithm_{};
  size_t workspace_ = 0;
};

}  // namespace

const Result<std::string>& LtProduct::library() {
  static const auto* const path = new Result<std::string>(find_vendor_library(description()));
  return *path;
}

Result<std::unique_ptr<LtProduct>> LtProduct::create(const LtProblem& problem) {
  BLADE_ASSIGN_OR_RETURN(const Library* const library, loaded());
  auto product = std::make_unique<Product>(*library, problem);
  BLADE_RETURN_IF_ERROR(product->prepare());
  return std::unique_ptr<LtProduct>(std::move(product));
}

}  // namespace blade::backends::cuda
