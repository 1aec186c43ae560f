// Graphs of a convolution and its epilogue, and the choice of an engine for them.
#include "backends/cuda/cudnn.h"

#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <optional>

#include "backends/cuda/cudnn_api.h"
#include "backends/cuda/vendor_library.h"

namespace blade::backends::cuda {
namespace {

const VendorLibrary& cudnn_description() {
  static const auto* const library =
      new VendorLibrary{"cuDNN", {"libcudnn.so.9"}, {"cudnn"}, "cudnnCreate", "nvidia-cudnn-cu13"};
  return *library;
}

// One handle serves the runs of all threads in turn: it carries the stream of a call, and making another is not allowed
// while a recording is made. Plans are made with another one, which they go on referring to: so nothing runs while one
// is made or destroyed. Never given back: engines may outlive statics.
struct CudnnLibrary {
  CudnnFunctions f;
  std::mutex calls;  // guards both handles and all plans
  void* handle = nullptr;
  void* planning_handle = nullptr;
};

Result<CudnnLibrary*> load_cudnn() {
  BLADE_ASSIGN_OR_RETURN(void* const file, load_vendor_library(cudnn_description()));
  auto library = std::make_unique<CudnnLibrary>();
  CudnnFunctions& f = library->f;
  const bool complete =
      find_function(file, "cudnnGetVersion", f.version) && find_function(file, "cudnnGetErrorString", f.error_string) &&
      find_function(file, "cudnnCreate", f.create) && find_function(file, "cudnnSetStream", f.set_stream) &&
      find_function(file, "cudnnBackendCreateDescriptor", f.descriptor_create) &&
      find_function(file, "cudnnBackendDestroyDescriptor", f.descriptor_destroy) &&
      find_function(file, "cudnnBackendFinalize", f.finalize) &&
      find_function(file, "cudnnBackendSetAttribute", f.set) &&
      find_function(file, "cudnnBackendGetAttribute", f.get) && find_function(file, "cudnnBackendExecute", f.execute);
  if (!complete) return unavailable("cuDNN was found, but lacks functions");
  constexpr size_t kOldest = 91000;  // what was tried is 9.19
  if (f.version() < kOldest) return unavailable("cuDNN was found, but is older than 9.10");
  return library.release();
}

// Called by one thread at a time. A start that failed is tried again.
Result<CudnnLibrary*> started_cudnn() {
  static const auto* const loaded = new Result<CudnnLibrary*>(load_cudnn());
  BLADE_ASSIGN_OR_RETURN(CudnnLibrary* const library, *loaded);
  for (void** handle : {&library->handle, &library->planning_handle}) {
    if (*handle == nullptr) BLADE_RETURN_IF_ERROR(cudnn_status(library->f, library->f.create(handle), "this card"));
  }
  return library;
}

// An instruction as the library names it.
struct CudnnOp {
  int mode = 0;
  std::optional<double> upper = {}, slope = {};  // of relu
};

constexpr int kCudnnRelu = 100;

std::optional<CudnnOp> cudnn_op(const ir::PointwiseInstr& instr) {
  switch (instr.op) {
    case ir::PointwiseOp::kAdd:
      return CudnnOp{0};
    case ir::PointwiseOp::kMul:
      return CudnnOp{1};
    case ir::PointwiseOp::kSub:
      return CudnnOp{9};
    case ir::PointwiseOp::kRelu:
      return CudnnOp{kCudnnRelu};
    case ir::PointwiseOp::kRelu6:
      return CudnnOp{kCudnnRelu, 6.0};
    case ir::PointwiseOp::kLeakyRelu:
      return CudnnOp{kCudnnRelu, {}, static_cast<double>(instr.alpha)};
    case ir::PointwiseOp::kTanh:
      return CudnnOp{101};
    case ir::PointwiseOp::kSigmoid:
      return CudnnOp{102};
    case ir::PointwiseOp::kGeluErf:
      return CudnnOp{104};
    case ir::PointwiseOp::kSwish:
      return CudnnOp{106};
    case ir::PointwiseOp::kGeluTanh:
      return CudnnOp{107};
    default:
      return std::nullopt;
  }
}

enum TensorId : int64_t { kImage = 1, kWeights, kResult, kFirstValue };  // a program's value i: kFirstValue + i

// The descriptors of a convolution's graph, all kept: each names others.
class GraphBuilder {
 public:
  GraphBuilder(const CudnnFunctions& f, const CudnnConv& conv) : f_(f), conv_(conv) {}

  Status build(void* handle) {
    BLADE_RETURN_IF_ERROR(add_convolution());
    for (size_t i = 0; i < conv_.program.code.size(); ++i) BLADE_RETURN_IF_ERROR(add_pointwise(i));
    graph_ = add(cudnn::kOperationGraph);
    at(graph_).set(cudnn::kGraphHandle, cudnn::kHandle, handle);
    std::vector<void*> operations;
    for (const size_t own : operations_) operations.push_back(at(own).get());
    at(graph_).set(cudnn::kGraphOperations, cudnn::kDescriptor, std::span<void* const>(operations));
    return at(graph_).finalize("the convolution with its epilogue");
  }
  const CudnnDescriptor& graph() const { return kept_[graph_]; }

 private:
  size_t add(cudnn::Descriptor type) {
    kept_.emplace_back(f_, type);
    return kept_.size() - 1;
  }
  CudnnDescriptor& at(size_t i) { return kept_[i]; }

  template <class Fn>
  std::vector<int64_t> of_dims(Fn fn) const {
    std::vector<int64_t> values;
    for (const CudnnConv::Dim& dim : conv_.dims) values.push_back(fn(dim));
    return values;
  }
  cudnn::DataType type() const { return conv_.bfloat16 ? cudnn::kBFloat16 : cudnn::kFloat16; }

  // [outer, channels, space...], stored with the channels last.
  Result<size_t> add_tensor(int64_t id, int64_t outer, int64_t channels, const std::vector<int64_t>& space,
                            cudnn::DataType type, bool is_virtual = false) {
    std::vector<int64_t> dims = {outer, channels}, strides = {0, 1};
    dims.insert(dims.end(), space.begin(), space.end());
    strides.resize(dims.size());
    int64_t stride = channels;
    for (size_t d = dims.size(); d-- > 2;) {
      strides[d] = stride;
      stride *= dims[d];
    }
    strides[0] = stride;
    constexpr int64_t kAlignment = 16;
    const size_t tensor = add(cudnn::kTensor);
    at(tensor).set(cudnn::kTensorId, cudnn::kInt64, id);
    at(tensor).set(cudnn::kTensorType, cudnn::kDataType, static_cast<int>(type));
    at(tensor).set(cudnn::kTensorDims, cudnn::kInt64, std::span<const int64_t>(dims));
    at(tensor).set(cudnn::kTensorStrides, cudnn::kInt64, std::span<const int64_t>(strides));
    at(tensor).set(cudnn::kTensorAlignment, cudnn::kInt64, kAlignment);
    at(tensor).set(cudnn::kTensorIsVirtual, cudnn::kBoolean, is_virtual);
    BLADE_RETURN_IF_ERROR(at(tensor).finalize("an operand"));
    return tensor;
  }

  // Value `value` of the program (0: the convolution): the result where it is the last, an operand of it, or what no
  // memory holds.
  Result<size_t> tensor_of(int value) {
    const std::vector<int64_t> out = of_dims([](const CudnnConv::Dim& d) { return d.out; });
    const int inputs = conv_.program.num_inputs, last = inputs + static_cast<int>(conv_.program.code.size()) - 1;
    if (conv_.program.empty() || value == last) return add_tensor(kResult, conv_.images, conv_.channels, out, type());
    if (value > 0 && value < inputs) {
      if (!conv_.by_channel[static_cast<size_t>(value) - 1])
        return add_tensor(kFirstValue + value, conv_.images, conv_.channels, out, type());
      const std::vector<int64_t> ones(out.size(), 1);
      return add_tensor(kFirstValue + value, 1, conv_.channels, ones, conv_.may_compile ? cudnn::kFloat32 : type());
    }
    return add_tensor(kFirstValue + value, conv_.images, conv_.channels, out, cudnn::kFloat32, true);
  }
  Result<size_t> value(int value) {
    if (const auto found = values_.find(value); found != values_.end()) return found->second;
    BLADE_ASSIGN_OR_RETURN(const size_t tensor, tensor_of(value));
    values_[value] = tensor;
    return tensor;
  }

  Result<size_t> add_windows() {
    const size_t windows = add(cudnn::kConvolution);
    CudnnDescriptor& d = at(windows);
    const auto rank = static_cast<int64_t>(conv_.dims.size());
    d.set(cudnn::kConvolutionPrecision, cudnn::kDataType, static_cast<int>(cudnn::kFloat32));
    d.set(cudnn::kConvolutionModeOf, cudnn::kConvolutionMode, cudnn::kCrossCorrelation);
    d.set(cudnn::kSpatialDims, cudnn::kInt64, rank);
    const auto set = [&](cudnn::Attribute attribute, const std::vector<int64_t>& values) {
      d.set(attribute, cudnn::kInt64, std::span<const int64_t>(values));
    };
    set(cudnn::kDilations, of_dims([](const CudnnConv::Dim& w) { return w.dilation; }));
    set(cudnn::kStrides, of_dims([](const CudnnConv::Dim& w) { return w.stride; }));
    set(cudnn::kPrePaddings, of_dims([](const CudnnConv::Dim& w) { return w.pad_before; }));
    set(cudnn::kPostPaddings, of_dims([](const CudnnConv::Dim& w) {
          const int64_t reach = (w.out - 1) * w.stride + (w.kernel - 1) * w.dilation + 1;
          return std::max<int64_t>(0, reach - w.in - w.pad_before);
        }));
    BLADE_RETURN_IF_ERROR(d.finalize("these windows"));
    return windows;
  }

  Status add_convolution() {
    BLADE_ASSIGN_OR_RETURN(const size_t windows, add_windows());
    const auto in = of_dims([](const CudnnConv::Dim& d) { return d.in; });
    const auto kernel = of_dims([](const CudnnConv::Dim& d) { return d.kernel; });
    BLADE_ASSIGN_OR_RETURN(const size_t x, add_tensor(kImage, conv_.images, conv_.in_channels, in, type()));
    BLADE_ASSIGN_OR_RETURN(const size_t weights,
                           add_tensor(kWeights, conv_.channels, conv_.in_channels / conv_.groups, kernel, type()));
    BLADE_ASSIGN_OR_RETURN(const size_t y, value(0));
    const size_t forward = add(cudnn::kConvolutionForward);
    at(forward).set(cudnn::kForwardConvolution, at(windows));
    at(forward).set(cudnn::kForwardX, at(x));
    at(forward).set(cudnn::kForwardWeights, at(weights));
    at(forward).set(cudnn::kForwardY, at(y));
    at(forward).set(cudnn::kForwardAlpha, cudnn::kFloat, 1.0f);
    at(forward).set(cudnn::kForwardBeta, cudnn::kFloat, 0.0f);
    operations_.push_back(forward);
    return at(forward).finalize("the convolution");
  }

  Status add_pointwise(size_t i) {
    const ir::PointwiseInstr& instr = conv_.program.code[i];
    const CudnnOp op = *cudnn_op(instr);
    const size_t own = add(cudnn::kPointwise);
    at(own).set(cudnn::kPointwiseOf, cudnn::kPointwiseMode, op.mode);
    at(own).set(cudnn::kPointwisePrecision, cudnn::kDataType, static_cast<int>(cudnn::kFloat32));
    if (op.mode == kCudnnRelu) at(own).set(cudnn::kPointwiseNan, cudnn::kNanPropagation, cudnn::kPropagateNan);
    if (op.upper) at(own).set(cudnn::kReluUpperClip, cudnn::kDouble, *op.upper);
    if (op.slope) at(own).set(cudnn::kReluSlope, cudnn::kDouble, *op.slope);
    BLADE_RETURN_IF_ERROR(at(own).finalize(ir::pointwise_name(instr.op)));
    // The library repeats the second operand along the first.
    const bool commutes = instr.op == ir::PointwiseOp::kAdd || instr.op == ir::PointwiseOp::kMul;
    const bool swaps = commutes && instr.a > 0 && instr.a < conv_.program.num_inputs;
    BLADE_ASSIGN_OR_RETURN(const size_t x, value(swaps ? instr.b : instr.a));
    const size_t operation = add(cudnn::kPointwiseOperation);
    at(operation).set(cudnn::kPointwiseDescriptor, at(own));
    at(operation).set(cudnn::kPointwiseX, at(x));
    if (instr.b >= 0) {
      BLADE_ASSIGN_OR_RETURN(const size_t b, value(swaps ? instr.a : instr.b));
      at(operation).set(cudnn::kPointwiseB, at(b));
    }
    BLADE_ASSIGN_OR_RETURN(const size_t y, value(conv_.program.num_inputs + static_cast<int>(i)));
    at(operation).set(cudnn::kPointwiseY, at(y));
    operations_.push_back(operation);
    return at(operation).finalize(ir::pointwise_name(instr.op));
  }

  const CudnnFunctions& f_;
  const CudnnConv& conv_;
  std::vector<CudnnDescriptor> kept_;
  std::map<int, size_t> values_;  // tensors of the program's values
  std::vector<size_t> operations_;
  size_t graph_ = 0;
};

// Whether the engine gives the same bits every time, sums products of unchanged halves in float32, and is there already
// unless it may be compiled. What does not say so is refused.
bool is_wanted(const CudnnFunctions& f, const CudnnDescriptor& config, bool may_compile) {
  CudnnDescriptor engine(f, cudnn::kEngine);
  void* raw = engine.get();
  if (config.read(cudnn::kConfigEngine, cudnn::kDescriptor, std::span<void*>(&raw, 1)) != 1) return false;
  const auto has_any = [&](cudnn::Attribute attribute, cudnn::Type type, std::initializer_list<int> unwanted) {
    std::vector<int> notes(cudnn::kMostNotes);
    const int64_t count = engine.read(attribute, type, std::span<int>(notes));
    if (count < 0 || count > cudnn::kMostNotes) return true;
    notes.resize(static_cast<size_t>(count));
    return std::ranges::any_of(notes, [&](int note) { return std::ranges::find(unwanted, note) != unwanted.end(); });
  };
  if (!may_compile && has_any(cudnn::kEngineBehavior, cudnn::kBehaviorNote, {cudnn::kCompiles})) return false;
  return !has_any(cudnn::kEngineNotes, cudnn::kNumericalNote,
                  {cudnn::kDownConverts, cudnn::kReducedSums, cudnn::kFft, cudnn::kNotDeterministic, cudnn::kWinograd});
}

// Engines with their settings, the likeliest first.
Result<std::vector<CudnnDescriptor>> configs_of(const CudnnFunctions& f, const CudnnDescriptor& graph, int mode) {
  CudnnDescriptor heuristic(f, cudnn::kHeuristic);
  heuristic.set(cudnn::kHeuristicGraph, graph);
  heuristic.set(cudnn::kHeuristicModeOf, cudnn::kHeuristicMode, mode);
  std::vector<CudnnDescriptor> configs;
  BLADE_RETURN_IF_ERROR(heuristic.finalize("the graph"));
  const int64_t count = heuristic.read(cudnn::kHeuristicResults, cudnn::kDescriptor, std::span<void*>());
  std::vector<void*> raw;
  for (int64_t i = 0; i < count; ++i) {
    configs.emplace_back(f, cudnn::kEngineConfig);
    raw.push_back(configs.back().get());
  }
  const int64_t got = heuristic.read(cudnn::kHeuristicResults, cudnn::kDescriptor, std::span<void*>(raw));
  configs.erase(configs.begin() + std::clamp<int64_t>(got, 0, std::ssize(configs)), configs.end());
  return configs;
}

class CudnnPlanImpl final : public CudnnPlan {
 public:
  CudnnPlanImpl(CudnnLibrary& library, const CudnnConv& conv)
      : library_(library), conv_(conv), graph_(library.f, conv_), plan_(library.f, cudnn::kExecutionPlan) {}

  Status prepare() {
    BLADE_RETURN_IF_ERROR(graph_.build(library_.planning_handle));
    Status failure;  // of an engine that might have served
    for (const int mode : {cudnn::kByHeuristicA, cudnn::kFallback}) {
      auto configs = configs_of(library_.f, graph_.graph(), mode);
      if (is_failure(configs.status())) failure = configs.status();
      if (!configs.ok()) continue;
      for (CudnnDescriptor& config : *configs) {
        if (!is_wanted(library_.f, config, conv_.may_compile)) continue;
        const Status status = take_engine(config);
        if (status.ok()) return {};
        if (is_failure(status)) failure = status;
      }
    }
    if (!failure.ok()) return failure;
    return unavailable(
        "cuDNN has no engine for the convolution with its epilogue that sums in float32, gives the same "
        "bits every time, and needs no more than 64 MiB" +
        std::string(conv_.may_compile ? "" : ", without compiling one"));
  }

  size_t workspace_bytes() const override { return workspace_; }

  Status run(const CudnnOperands& o) const override {
    const std::lock_guard lock(library_.calls);
    std::vector<int64_t> ids = {kImage, kWeights, kResult};
    std::vector<const void*> pointers = {o.x, o.weights, o.y};
    for (size_t i = 0; i < o.operands.size(); ++i) {
      ids.push_back(kFirstValue + 1 + static_cast<int64_t>(i));
      pointers.push_back(o.operands[i]);
    }
    CudnnDescriptor pack(library_.f, cudnn::kVariantPack);
    pack.set(cudnn::kPackIds, cudnn::kInt64, std::span<const int64_t>(ids));
    pack.set(cudnn::kPackPointers, cudnn::kPointer, std::span<const void* const>(pointers));
    pack.set(cudnn::kPackWorkspace, cudnn::kPointer, o.workspace);
    BLADE_RETURN_IF_ERROR(pack.finalize("the operands"));
    int code = library_.f.set_stream(library_.handle, o.stream);
    if (code == 0) code = library_.f.execute(library_.handle, plan_.get(), pack.get());
    if (code == 0) return {};
    return internal_error("cuDNN could not start a convolution (" + std::string(library_.f.error_string(code)) + ").");
  }

 private:
  static bool is_failure(const Status& status) { return !status.ok() && status.code() != StatusCode::kUnavailable; }

  Status take_engine(CudnnDescriptor& config) {
    constexpr int64_t kMostWorkspace = int64_t{64} << 20;
    CudnnDescriptor plan(library_.f, cudnn::kExecutionPlan);
    plan.set(cudnn::kPlanHandle, cudnn::kHandle, library_.planning_handle);
    plan.set(cudnn::kPlanConfig, config);
    BLADE_RETURN_IF_ERROR(plan.finalize("the engine"));
    int64_t bytes = 0;
    const int64_t count = plan.read(cudnn::kPlanWorkspace, cudnn::kInt64, std::span<int64_t>(&bytes, 1));
    if (count != 1 || bytes > kMostWorkspace) return unavailable("cuDNN's engine needs more than 64 MiB");
    plan_ = std::move(plan);
    config_.push_back(std::move(config));
    workspace_ = static_cast<size_t>(bytes);
    return {};
  }

  CudnnLibrary& library_;
  CudnnConv conv_;
  GraphBuilder graph_;
  CudnnDescriptor plan_;
  std::vector<CudnnDescriptor> config_;
  size_t workspace_ = 0;
};

using CudnnKey = std::vector<int64_t>;

CudnnKey key_of(const CudnnConv& c) {
  CudnnKey key = {
      c.bfloat16, c.may_compile, c.images, c.in_channels, c.channels, c.groups, static_cast<int64_t>(c.dims.size())};
  for (const CudnnConv::Dim& d : c.dims) {
    key.insert(key.end(), {d.in, d.out, d.kernel, d.stride, d.dilation, d.pad_before});
  }
  key.insert(key.end(), c.by_channel.begin(), c.by_channel.end());
  for (const ir::PointwiseInstr& i : c.program.code) {
    key.insert(key.end(), {static_cast<int64_t>(i.op), i.a, i.b, i.c, std::bit_cast<int32_t>(i.alpha)});
  }
  return key;
}

using CudnnMade = Result<std::shared_ptr<const CudnnPlan>>;

CudnnMade make_plan(const CudnnConv& conv) {
  BLADE_ASSIGN_OR_RETURN(CudnnLibrary* const library, started_cudnn());
  const std::lock_guard lock(library->calls);
  auto plan = std::make_unique<CudnnPlanImpl>(*library, conv);
  BLADE_RETURN_IF_ERROR(plan->prepare());
  return std::shared_ptr<const CudnnPlan>(plan.release(), [library](const CudnnPlan* unused) {
    const std::lock_guard lock(library->calls);
    delete unused;
  });
}

// What was made or refused before. Tuning makes the same plans many times.
class CudnnPlans {
 public:
  CudnnMade get(const CudnnConv& conv) {
    const std::lock_guard lock(mutex_);
    if (made_.size() >= kMost) made_.clear();  // engines keep what they use
    const CudnnKey key = key_of(conv);
    if (const auto found = made_.find(key); found != made_.end()) return found->second;
    CudnnMade made = make_plan(conv);
    if (made.ok() || made.status().code() == StatusCode::kUnavailable) return made_.emplace(key, made).first->second;
    // Another row may do without what failed; memory that is short is the caller's to free.
    if (made.status().code() == StatusCode::kInternal) return unavailable(made.status().message());
    return made;
  }

 private:
  static constexpr size_t kMost = 512;
  std::mutex mutex_;
  std::map<CudnnKey, CudnnMade> made_;
};

}  // namespace

const Result<std::string>& CudnnPlan::library() {
  static const auto* const path = new Result<std::string>(find_vendor_library(cudnn_description()));
  return *path;
}

void put_residual_first(CudnnConv& conv) {
  std::vector<ir::PointwiseInstr>& code = conv.program.code;
  const int inputs = conv.program.num_inputs;
  const auto adds = [&](size_t i, int value) {
    return code[i].op == ir::PointwiseOp::kAdd && (code[i].a == value) != (code[i].b == value);
  };
  if (code.size() < 2 || !adds(0, 0) || !adds(1, inputs)) return;
  const auto reads_first_sum = [&](const ir::PointwiseInstr& i) {
    return i.a == inputs || i.b == inputs || i.c == inputs;
  };
  if (std::ranges::count_if(code, reads_first_sum) != 1) return;
  int16_t& first = code[0].a == 0 ? code[0].b : code[0].a;
  int16_t& second = code[1].a == inputs ? code[1].b : code[1].a;
  const auto is_operand = [&](int value) { return value > 0 && value < inputs; };
  if (!is_operand(first) || !is_operand(second)) return;
  const auto by_channel = [&](int value) { return conv.by_channel[static_cast<size_t>(value) - 1]; };
  if (by_channel(first) && !by_channel(second)) std::swap(first, second);
}

bool CudnnPlan::takes(const ir::PointwiseInstr& instr) { return cudnn_op(instr).has_value(); }

CudnnMade CudnnPlan::create(const CudnnConv& conv) {
  static auto* const plans = new CudnnPlans;
  return plans->get(conv);
}

}  // namespace blade::backends::cuda
