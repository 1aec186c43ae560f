// Row for a pooling and the convolution that it alone reads, computed in one step: strips of the convolution's rows
// stay in L2 until they are pooled.
#include <cstring>

#include "backends/cpu/blockings.h"
#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/packed_weights.h"
#include "backends/cpu/pool_rows.h"

namespace blade::backends::cpu {
namespace {

using reference::Window;
using reference::Windows;

constexpr int64_t kStripBytes = 192 << 10;  // of the convolution's results, beside what it reads
constexpr int kTasksPerThread = 8;

Windows pool_windows(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::PoolAttrs>();
  return reference::make_windows(request.inputs[0].dims, request.outputs[0].dims, attrs.window, attrs.strides, {},
                                 attrs.padding, attrs.explicit_pads);
}

template <class T>
Support supports_conv_pool(const KernelRequest& request) {
  if (request.producer == nullptr || request.producer->node->op != ir::Op::kConv)
    return Support::no("reads no convolution");
  if (Support s = needs_dtype(request, kElement<T>); !s.ok) return s;
  if (Support s = conv_node_support<T>(*request.producer); !s.ok) return s;
  if (!weights_constant(*request.producer)) return Support::no("weights are not constant");
  const Conv2DShape conv = conv_shape(*request.producer);
  if (const char* refusal = conv2d_rows_refusal<T>(conv)) return Support::no(refusal);
  if (request.outputs[0].element_count() == 0) return Support::no("the result is empty");
  return folds_rows_first(pool_windows(request), conv.oc) ? Support::yes()
                                                          : Support::no("pools neither one nor two spatial dims");
}

// How the rows of the results are divided, and what a thread needs.
template <class T>
struct ConvPoolPlan {
  Conv2DShape conv;
  Windows pool;
  int64_t strip_rows = 1;  // of results
  int64_t conv_rows = 1;   // of the convolution, for a strip
  int64_t tasks = 1;

  ConvPoolPlan(const KernelRequest& request, int threads)
      : conv(conv_shape(*request.producer)), pool(pool_windows(request)) {
    const Window& y = pool.dim[1];
    const int64_t most = kStripBytes / std::max<int64_t>(1, row_elements() * int64_t{sizeof(T)});
    const int64_t asked = request.blocking.strip;
    strip_rows = std::clamp<int64_t>(asked > 0 ? asked : (most - y.size) / y.stride + 1, 1, y.out);
    conv_rows = std::min(y.in, (strip_rows - 1) * y.stride + y.size);
    tasks = even_tasks(std::min(units() / 2, int64_t{kTasksPerThread} * threads), threads, units());
  }
  int64_t units() const { return conv.n * pool.dim[1].out; }  // rows of results
  int64_t row_elements() const { return conv.ow * conv.oc; }
  size_t strip_bytes() const { return align_up(static_cast<size_t>(conv_rows * row_elements()) * sizeof(T), 64); }
  size_t slot_bytes() const { return strip_bytes() + conv2d_rows_slot_bytes<T>(conv); }
  size_t scratch_bytes(int threads) const {
    return conv2d_rows_shared_bytes<T>(conv) + static_cast<size_t>(threads) * slot_bytes();
  }
};

// Rows that two tasks both need are computed twice; what is between the two nodes stays in cache.
template <class T>
double conv_pool_us(const KernelRequest& request) {
  const int threads = std::max(1, request.num_threads);
  const ConvPoolPlan<T> plan(request, threads);
  const Window& y = plan.pool.dim[1];
  const double twice = static_cast<double>((plan.tasks - 1) * std::max<int64_t>(0, y.size - y.stride)) /
                       static_cast<double>(std::max<int64_t>(1, plan.conv.n * plan.conv.oh));
  // Windows that lie over one another cannot be divided; other results of so few rows are small.
  const int busy = y.size > 2 * y.stride ? static_cast<int>(std::min<int64_t>(threads, plan.tasks)) : threads;
  return conv_cost_us<T>(plan.conv, ConvAlgorithm::kDirect, busy) * (1 + twice) + 0.4 * pool_us(request);
}

template <class T>
std::vector<Blocking> conv_pool_blockings(const KernelRequest& request) {
  const ConvPoolPlan<T> plan(request, std::max(1, request.num_threads));
  std::vector<Blocking> blockings;
  add_strips(blockings, plan.strip_rows, plan.pool.dim[1].out);
  return blockings;
}

// The results of one thread's share of the rows, strip by strip.
template <class T, class In>
void run_task(const ConvPoolPlan<T>& plan, ir::PoolKind kind, int64_t first, int64_t last, const In* in,
              const void* packed, T* out, const Epilogue<T>& epilogue, std::byte* shared, std::byte* scratch) {
  const Window& y = plan.pool.dim[1];
  auto* strip = reinterpret_cast<T*>(scratch);
  int64_t held_image = -1, held_first = 0, held_last = 0;  // the convolution's rows in `strip`
  for (int64_t unit = first; unit < last;) {
    const int64_t image = unit / y.out, y0 = unit % y.out;
    const int64_t rows = std::min({plan.strip_rows, last - unit, y.out - y0});
    const int64_t need_first = std::min(pool_span(y, y0).first, y.in);
    const int64_t need_last = std::max(need_first, pool_span(y, y0 + rows - 1).last);
    int64_t have = 0;  // rows that the strip before this one has made
    if (image == held_image && held_last > need_first) {
      have = held_last - need_first;
      std::memmove(static_cast<void*>(strip), strip + (need_first - held_first) * plan.row_elements(),
                   static_cast<size_t>(have * plan.row_elements()) * sizeof(T));
    }
    if (need_last > need_first + have) {
      conv2d_rows(plan.conv, in, packed, strip + have * plan.row_elements(), epilogue,
                  image * plan.conv.oh + need_first + have, need_last - need_first - have, shared,
                  scratch + plan.strip_bytes());
    }
    held_image = image;
    held_first = need_first;
    held_last = need_last;
    const int64_t out_row = plan.pool.dim[2].out * plan.conv.oc;
    for (int64_t r = 0; r < rows; ++r)
      pool_windows_of_row(plan.pool, kind, plan.conv.oc, strip, need_first, out + (unit + r) * out_row, y0 + r);
    unit += rows;
  }
}

template <class T>
Result<std::unique_ptr<Kernel>> create_conv_pool(const KernelRequest& request, PackCache& packs) {
  const KernelRequest& producer = *request.producer;
  const ConvPoolPlan<T> plan(request, std::max(1, request.num_threads));
  const LoweredEpilogue epilogue(producer, producer.node->get<ir::ConvAttrs>().epilogue, 2, kElement<T>);
  BLADE_ASSIGN_OR_RETURN(const auto packed, packed_direct_weights<T>(producer, packs, plan.conv));
  const ir::PoolKind kind = request.node->get<ir::PoolAttrs>().kind;
  const bool reads_float = producer.inputs[0].dtype == ir::DType::kFloat32;
  const auto run = [=](const KernelArgs& args, const auto* in) {
    LoweredEpilogue::BoundTo<T> bound;
    epilogue.bind(args, bound);
    conv2d_rows_prepare<T>(plan.conv, args.scratch);
    std::byte* slots = args.scratch + conv2d_rows_shared_bytes<T>(plan.conv);
    args.pool->parallel_for(static_cast<int>(plan.tasks), [&](int task, int slot) {
      run_task(plan, kind, task * plan.units() / plan.tasks, (task + 1) * plan.units() / plan.tasks, in, packed->data(),
               output<T>(args), bound.raw, args.scratch, slots + slot * plan.slot_bytes());
    });
  };
  return make_kernel(
      [=](const KernelArgs& args) {
        if (reads_float) {
          run(args, input<float>(args, 0));
        } else {
          run(args, input<T>(args, 0));
        }
        return Status::ok_status();
      },
      0, plan.scratch_bytes(request.num_threads), kWeightsPacked);
}

constexpr KernelEntry kConvPoolRows[] = {
    {"cpu.conv.pooled_f32", ir::Op::kPool, supports_conv_pool<float>, conv_pool_us<float>, create_conv_pool<float>,
     conv_pool_blockings<float>, product_row_unit},
    {"cpu.conv.pooled_bf16", ir::Op::kPool, supports_conv_pool<BFloat16>, conv_pool_us<BFloat16>,
     create_conv_pool<BFloat16>, conv_pool_blockings<BFloat16>, product_row_unit},
};

}  // namespace

std::span<const KernelEntry> conv_pool_rows() { return kConvPoolRows; }

}  // namespace blade::backends::cpu
