// What a test asks of fake_cudnn.cc, which is loaded like the real library.
#pragma once

namespace blade {

struct FakeCudnn {
  int plan_code = 0, notes_code = 0;  // of the calls that make a plan and that read an engine's notes
  int handles = 0, plans = 0;         // made or tried
  void *planning_handle = nullptr, *running_handle = nullptr;
};

}  // namespace blade
