// What a kernel is, how a backend lists its kernels, and how one is asked whether it takes a node.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/blocking.h"
#include "backends/device.h"
#include "backends/machine.h"
#include "base/aligned_buffer.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "ir/graph.h"

namespace blade::backends {

// dtype and concrete dims of one operand; a dim of -1 in an output is found by the kernel at run time.
struct TensorDesc {
  ir::DType dtype = ir::DType::kInvalid;
  ir::Dims dims;
  int64_t element_count() const;  // 0 where a dim is not known yet
  bool is_static() const;
  size_t bytes() const { return static_cast<size_t>(element_count()) * ir::dtype_size(dtype); }
};

// Everything selection may depend on: selection is a pure function of this.
struct KernelRequest {
  const ir::Node* node = nullptr;
  std::vector<TensorDesc> inputs, outputs;
  std::vector<ir::TensorPtr> constants;  // one entry an input, null where it is not constant
  const Machine* machine = nullptr;
  int num_threads = 1;
  // For rows that compute two nodes: the request of the node whose only reader is `node`, as input `producer_input`;
  // for three, that has a producer, too. The kernel's inputs are the producer's, then the node's own without that one.
  const KernelRequest* producer = nullptr;
  size_t producer_input = 0;
  Device* device = nullptr;  // where the kernel will run; null: on the host
  Blocking blocking;         // for create(): of a stored choice, so any numbers may stand in it
};

// Yes, or no with a reason that a user can read ("weights are not constant").
struct Support {
  bool ok = true;
  std::string reason;
  static Support yes() { return {}; }
  static Support no(std::string why) { return {false, std::move(why)}; }
};

// Gives memory to outputs whose size follows from data: asked by a kernel once for each output that has a dim of -1,
// when it knows the size and before it writes.
class OutputAllocator {
 public:
  virtual ~OutputAllocator() = default;
  // Memory for output `output` of the node, aligned as outputs are, or nullptr when there is none. A tensor without
  // elements may get any pointer.
  virtual void* allocate(int output, std::span<const int64_t> dims) = 0;
};

// Operands of one run. Pointers are to dense row-major data, at least 64-byte aligned inside the arena (graph inputs
// and outputs are the caller's and aligned to their element only); zero-sized tensors may have null data. A kernel
// for a device gets device pointers, 64-byte aligned, and only puts work on the queue.
struct KernelArgs {
  std::span<const void* const> inputs;
  std::span<void* const> outputs;
  std::byte* scratch = nullptr;  // scratch_bytes() bytes, 64-byte aligned, contents undefined
  ThreadPool* pool = nullptr;
  OutputAllocator* allocator = nullptr;  // of outputs with a dim of -1, whose pointers above are null
  void* queue = nullptr;                 // DeviceQueue::handle()
  // Of a kernel that runs several steps: it adds the microseconds of each there. Null: nobody asks.
  double* inner_us = nullptr;
};

// One compiled node: immutable, shared by all runs. run() allocates nothing and is thread-safe (all state is in args).
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual size_t scratch_bytes() const { return 0; }
  // True where output 0 may share input i's memory (same bytes, each element read before it is written).
  virtual bool can_run_in_place(int input) const {
    (void)input;
    return false;
  }
  // False where input i is a constant that the kernel packed: run() never looks at it (its pointer may be null), so the
  // engine may let the original go.
  virtual bool reads_input(int input) const {
    (void)input;
    return true;
  }
  // True where Device::join() may start it with its neighbours: for little work on a device, or one of a few
  // convolutions.
  virtual bool is_small() const { return false; }
  // For so many steps behind its own nothing takes the place of operands and results: Device::join() may run the kernel
  // beside these.
  virtual int holds_operands() const { return 0; }
  virtual Status run(const KernelArgs& args) const = 0;
};

// A kernel and the operands of one step.
struct BoundKernel {
  const Kernel* kernel = nullptr;
  KernelArgs args;
};

// Constant data rearranged for a kernel, shared by the plans of all shapes of an engine. Thread-safe.
class PackCache {
 public:
  // The buffer packed under `key` (constant's identity + layout name and parameters), made by `pack` at first use.
  // `source` is kept alive only while packing. Error when memory is short.
  Result<std::shared_ptr<const AlignedBuffer>> get(const ir::TensorPtr& source, const std::string& layout,
                                                   FunctionRef<Result<AlignedBuffer>()> pack);
  // The same in the memory of `device`: packed on the host, then copied there.
  Result<std::shared_ptr<const DeviceBuffer>> get_on(Device& device, const ir::TensorPtr& source,
                                                     const std::string& layout,
                                                     FunctionRef<Result<AlignedBuffer>()> pack);
  size_t bytes() const;
  PackCache();
  ~PackCache();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

enum KernelTrait : unsigned {
  kCompiles = 1,    // create() compiles code for the request
  kTriedEarly = 2,  // by tuning, although no prediction says that it is fast
  kOnTiles = 4,     // multiplies on tile registers (AMX), which wait for what comes from behind L2
};

// One row of a backend's table.
struct KernelEntry {
  const char* name;  // "cpu.conv.direct_f32": stored in engines, printed by reports, used in tests
  ir::Op op;
  Support (*supports)(const KernelRequest&);
  // Predicted microseconds, to choose among several that support a node; nullptr: table order decides.
  double (*predicted_us)(const KernelRequest&);
  Result<std::unique_ptr<Kernel>> (*create)(const KernelRequest&, PackCache&);
  // Blockings that tuning tries beside the one that create() takes by itself; nullptr: none.
  std::vector<Blocking> (*blockings)(const KernelRequest&) = nullptr;
  // Of images: rows of the result that are computed as one. Rows that begin at a multiple of it come out with the same
  // bits when they are computed alone, if the request for them alone gives the same number. 0 or nullptr: they may not.
  int64_t (*row_unit)(const KernelRequest&) = nullptr;
  unsigned traits = 0;  // KernelTrait that are true of it

  bool has(KernelTrait trait) const { return (traits & trait) != 0; }
};

// A backend's ordered tables; the first supporting row wins unless costs are given or a stored choice names another.
std::span<const KernelEntry> cpu_kernels();        // backends/cpu/kernel_table.cc
std::span<const KernelEntry> cpu_fused_kernels();  // rows that compute a node and its producer in one step
std::span<const KernelEntry> reference_kernels();  // backends/reference/kernel_table.cc: every op, the semantics

}  // namespace blade::backends
