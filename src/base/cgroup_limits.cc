// Reads the CPU quota from the control group files of the kernel.
#include "base/cgroup_limits.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace blade {
namespace {

void tighten(std::optional<double>& limit, double quota, double period) {
  if (quota <= 0 || period <= 0) return;
  const double cpus = quota / period;
  limit = limit ? std::min(*limit, cpus) : cpus;
}

void read_v2(const std::string& folder, std::optional<double>& limit) {
  std::ifstream file(folder + "/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max") return;
  tighten(limit, std::atof(quota.c_str()), period);
}

void read_v1(const std::string& folder, std::optional<double>& limit) {
  double quota = 0;
  double period = 0;
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us");
  std::ifstream period_file(folder + "/cpu.cfs_period_us");
  if (quota_file >> quota && period_file >> period) tighten(limit, quota, period);
}

// Calls read on the group's folder and on each ancestor up to the mount point: every level may limit.
template <class Read>
void read_up(const std::string& mount, std::string path, Read read, std::optional<double>& limit) {
  while (true) {
    read(mount + path, limit);
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return;
    path.resize(slash);
  }
}

bool has_cpu_controller(const std::string& controllers) {
  std::istringstream list(controllers);
  std::string name;
  while (std::getline(list, name, ',')) {
    if (name == "cpu") return true;
  }
  return false;
}

}  // namespace

std::optional<double> cgroup_cpu_limit(const std::string& proc_file, const std::string& mount) {
  std::optional<double> limit;
  std::ifstream file(proc_file);
  std::string line;
  while (std::getline(file, line)) {  // lines are ID:CONTROLLERS:PATH
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    if (controllers.empty()) {
      read_up(mount, path, read_v2, limit);
    } else if (has_cpu_controller(controllers)) {
      read_up(mount + "/cpu", path, read_v1, limit);
      read_up(mount + "/cpu,cpuacct", path, read_v1, limit);
    }
  }
  return limit;
}

}  // namespace blade
