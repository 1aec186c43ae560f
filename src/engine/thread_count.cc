// Checks and bounds thread counts.
#include "engine/thread_count.h"

#include "base/thread_pool.h"

namespace blade::engine {

Result<int> threads_to_use(int asked, const std::string& field, std::string* said) {
  constexpr int kMost = 1024;
  said->clear();
  if (asked < 0 || asked > kMost) {
    return invalid_argument(field + " is " + std::to_string(asked) + "; expected 0 (all the process may use) to " +
                            std::to_string(kMost));
  }
  const int cpus = ThreadPool::usable_cpus();
  if (asked <= cpus) return asked;
  *said = field + " is " + std::to_string(asked) + ", but this process may use " + std::to_string(cpus) +
          " CPUs: " + std::to_string(cpus) + " threads are used";
  return cpus;
}

}  // namespace blade::engine
