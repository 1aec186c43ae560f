// BladeOriginalReady: whether the original nodes of a region run in a session of their own. BladeOriginal: runs them
// there.
#include <string>

#include "tensorflow_op/kernels.h"
#include "tensorflow_op/original_session.h"
#include "tensorflow_op/tf_support.h"

namespace blade::tensorflow_op {
namespace {

// Runs in every fallback, and counts it.
class OriginalReadyKernel {
 public:
  explicit OriginalReadyKernel(TF_OpKernelConstruction* construction) : original_(construction) {}

  void compute(TF_OpKernelContext* context) {
    TensorPtr file = get_input(context, 0);
    TensorPtr again = get_input(context, 0);
    if (!file || !again) return;
    const auto engine = engine_.get(std::move(file), find_or_load);
    const auto session = original_.get(context, std::move(again));
    count_fallback(*engine, session->description());
    set_bool(context, session->ready());
  }

 private:
  TensorMemo<LoadedEngine> engine_;
  OriginalFinder original_;
};

class OriginalKernel {
 public:
  explicit OriginalKernel(TF_OpKernelConstruction* construction) : original_(construction) {}

  void compute(TF_OpKernelContext* context) {
    TensorPtr file = get_input(context, 0);
    if (!file) return;
    const auto session = original_.get(context, std::move(file));
    if (!session->ready())
      return fail(context, TF_FAILED_PRECONDITION, "Blade: the original graph runs " + session->description());
    session->run(context);
  }

 private:
  OriginalFinder original_;
};

}  // namespace

void register_original_kernels() {
  register_cpu_kernel<OriginalKernel>("BladeOriginal");
  register_cpu_kernel<OriginalReadyKernel>("BladeOriginalReady");
}

}  // namespace blade::tensorflow_op
