// How much CPU the control group of this process may use: containers see all CPUs of the host but get a share.
#pragma once

#include <optional>
#include <string>

namespace blade {

// CPUs' worth of time allowed by cgroup v2 (cpu.max) or v1 (cpu.cfs_quota_us), the tightest of the group and its
// ancestors; nullopt without a limit. The two roots are parameters for tests.
std::optional<double> cgroup_cpu_limit(const std::string& proc_file = "/proc/self/cgroup",
                                       const std::string& mount = "/sys/fs/cgroup");

}  // namespace blade
