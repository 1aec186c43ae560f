// A cuDNN that computes nothing: gives the codes that a test sets and notes which handles are used for what.
#include "backends/fake_cudnn.h"

#include <cstddef>
#include <cstdint>

#include "backends/cuda/cudnn_api.h"

using namespace blade::backends::cuda::cudnn;

#define BLADE_FAKE(result) extern "C" __attribute__((visibility("default"))) result

BLADE_FAKE(blade::FakeCudnn*) blade_fake_cudnn() {
  static blade::FakeCudnn fake;
  return &fake;
}

BLADE_FAKE(size_t) cudnnGetVersion() { return 91900; }
BLADE_FAKE(const char*) cudnnGetErrorString(int) { return "WHY"; }
BLADE_FAKE(int) cudnnCreate(void** handle) {
  *handle = reinterpret_cast<void*>(static_cast<intptr_t>(++blade_fake_cudnn()->handles));
  return 0;
}
BLADE_FAKE(int) cudnnSetStream(void*, void*) { return 0; }
BLADE_FAKE(int) cudnnBackendCreateDescriptor(int type, void** descriptor) {
  *descriptor = reinterpret_cast<void*>(static_cast<intptr_t>(type + 1));
  return 0;
}
BLADE_FAKE(int) cudnnBackendDestroyDescriptor(void*) { return 0; }
BLADE_FAKE(int) cudnnBackendFinalize(void* descriptor) {
  if (reinterpret_cast<intptr_t>(descriptor) != kExecutionPlan + 1) return 0;
  ++blade_fake_cudnn()->plans;
  return blade_fake_cudnn()->plan_code;
}
BLADE_FAKE(int) cudnnBackendSetAttribute(void*, int attribute, int, int64_t, const void* values) {
  if (attribute == kPlanHandle) blade_fake_cudnn()->planning_handle = *static_cast<void* const*>(values);
  return 0;
}
BLADE_FAKE(int)
cudnnBackendGetAttribute(const void*, int attribute, int, int64_t, int64_t* count, void*) {
  const bool is_note = attribute == kEngineNotes || attribute == kEngineBehavior;
  *count = is_note ? 0 : 1;
  return is_note ? blade_fake_cudnn()->notes_code : 0;
}
BLADE_FAKE(int) cudnnBackendExecute(void* handle, void*, void*) {
  blade_fake_cudnn()->running_handle = handle;
  return 0;
}
