// Whether other processes take time from a pool's threads: then one thread looks better than two, and no comparison
// holds.
#pragma once

#include <functional>

#include "base/thread_pool.h"

namespace blade::optimizer {

using BusyProbe = std::function<bool(ThreadPool&)>;

// Times the same work on one thread and on all of them, some milliseconds.
bool is_busy(ThreadPool& pool);

}  // namespace blade::optimizer
