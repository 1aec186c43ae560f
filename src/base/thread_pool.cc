// Work is claimed task by task with one compare-and-swap on a counter tagged with the job's number, so that a worker
// that wakes late can never touch a later job and nobody ever waits for it.
#include "base/thread_pool.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/cgroup_limits.h"
#include "base/float_mode.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace blade {
namespace {

using Clock = std::chrono::steady_clock;
// Within a run a worker spins this long for the next layer; afterwards long enough to meet a call that follows at once.
constexpr auto kSpinInRun = std::chrono::microseconds(2000);
constexpr auto kSpinAfterRun = std::chrono::microseconds(30);
constexpr int kPausesPerClockRead = 32;

void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

constexpr uint64_t claim_word(uint64_t ticket, uint32_t next) { return (ticket << 32) | next; }

// The tasks of one slot: [next, end), where next is the low half of `word` and the high half is the job's ticket.
struct alignas(64) SlotQueue {
  std::atomic<uint64_t> word{0};
};

}  // namespace

struct ThreadPool::Impl {
  explicit Impl(int threads);
  ~Impl();

  void run(int num_tasks, FunctionRef<void(int, int)> fn);
  void wake_sleepers();
  void work_loop(int slot);
  // Waits for a job other than `last`; returns its ticket, or nullopt when the pool closes.
  std::optional<uint64_t> wait_for_job(uint64_t last);
  void join_job(uint64_t ticket, int slot);
  int drain(uint64_t ticket, int tasks, FunctionRef<void(int, int)> fn, int slot);
  int first_task(int slot, int tasks) const {
    return static_cast<int>((static_cast<int64_t>(slot) * tasks + threads - 1) / threads);
  }

  const int threads;
  const pid_t owner = getpid();
  std::vector<SlotQueue> queues;
  std::vector<std::thread> workers;

  // Odd while a job is open. fn and num_tasks may be read by a late worker while the caller writes the next job: the
  // reader checks the ticket again before it believes them.
  alignas(64) std::atomic<uint64_t> ticket{0};
  std::atomic<const FunctionRef<void(int, int)>*> fn{nullptr};
  std::atomic<int> num_tasks{0};
  alignas(64) std::atomic<int> tasks_done{0};
  alignas(64) std::atomic<int> run_scopes{0};
  std::atomic<int> sleepers{0};
  std::atomic<uint32_t> wake_word{0};
  std::atomic<bool> closing{false};
  alignas(64) std::atomic<bool> busy{false};
};

ThreadPool::Impl::Impl(int count) : threads(std::max(1, count)), queues(threads) {
  for (int slot = 1; slot < threads; ++slot) {
    try {
      workers.emplace_back([this, slot] { work_loop(slot); });
    } catch (const std::system_error&) {
      break;  // fewer workers only means that the others steal more
    }
  }
}

ThreadPool::Impl::~Impl() {
  closing.store(true);
  wake_word.fetch_add(1);
  wake_word.notify_all();
  for (std::thread& worker : workers) {
    // After fork() the child has no workers: joining them would wait for ever.
    if (getpid() == owner) {
      worker.join();
    } else {
      worker.detach();
    }
  }
}

void ThreadPool::Impl::wake_sleepers() {
  if (sleepers.load(std::memory_order_seq_cst) == 0) return;
  wake_word.fetch_add(1, std::memory_order_seq_cst);
  wake_word.notify_all();
}

void ThreadPool::Impl::run(int tasks, FunctionRef<void(int, int)> function) {
  const uint64_t open = ticket.load(std::memory_order_relaxed) + 1;
  fn.store(&function, std::memory_order_relaxed);
  num_tasks.store(tasks, std::memory_order_relaxed);
  tasks_done.store(0, std::memory_order_relaxed);
  for (int slot = 0; slot < threads; ++slot) {
    queues[slot].word.store(claim_word(open, static_cast<uint32_t>(first_task(slot, tasks))),
                            std::memory_order_relaxed);
  }
  ticket.store(open, std::memory_order_seq_cst);
  wake_sleepers();
  const int mine = drain(open, tasks, function, 0);
  const int others = tasks - mine;
  while (tasks_done.load(std::memory_order_acquire) != others) pause_cpu();
  ticket.store(open + 1, std::memory_order_release);
}

int ThreadPool::Impl::drain(uint64_t job, int tasks, FunctionRef<void(int, int)> function, int slot) {
  int done = 0;
  for (int step = 0; step < threads; ++step) {
    const int victim = (slot + step) % threads;
    const auto end = static_cast<uint32_t>(first_task(victim + 1, tasks));
    std::atomic<uint64_t>& word = queues[victim].word;
    uint64_t seen = word.load(std::memory_order_relaxed);
    while ((seen >> 32) == (job & 0xffffffffu) && static_cast<uint32_t>(seen) < end) {
      if (!word.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel, std::memory_order_relaxed)) continue;
      function(static_cast<int>(static_cast<uint32_t>(seen)), slot);
      ++done;
      seen = word.load(std::memory_order_relaxed);
    }
  }
  return done;
}

void ThreadPool::Impl::join_job(uint64_t job, int slot) {
  const FunctionRef<void(int, int)>* function = fn.load(std::memory_order_acquire);
  const int tasks = num_tasks.load(std::memory_order_acquire);
  if (ticket.load(std::memory_order_acquire) != job) return;  // the job ended: what was read may belong to the next
  // `function` is dereferenced only after a successful claim, which keeps the caller inside run().
  const int done = drain(
      job, tasks, [function](int task, int s) { (*function)(task, s); }, slot);
  if (done != 0) tasks_done.fetch_add(done, std::memory_order_release);
}

std::optional<uint64_t> ThreadPool::Impl::wait_for_job(uint64_t last) {
  auto new_job = [&](uint64_t now) { return (now & 1) != 0 && now != last; };
  while (true) {
    const Clock::time_point start = Clock::now();
    bool in_run = true;
    do {
      for (int i = 0; i < kPausesPerClockRead; ++i) {
        const uint64_t now = ticket.load(std::memory_order_acquire);
        if (new_job(now)) return now;
        pause_cpu();
      }
      if (closing.load(std::memory_order_relaxed)) return std::nullopt;
      in_run = run_scopes.load(std::memory_order_relaxed) > 0;
    } while (Clock::now() - start < (in_run ? kSpinInRun : kSpinAfterRun));
    const uint32_t word = wake_word.load(std::memory_order_seq_cst);
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    const uint64_t now = ticket.load(std::memory_order_seq_cst);
    if (!new_job(now) && !closing.load(std::memory_order_seq_cst)) wake_word.wait(word, std::memory_order_seq_cst);
    sleepers.fetch_sub(1, std::memory_order_seq_cst);
  }
}

void ThreadPool::Impl::work_loop(int slot) {
  const FlushDenormals mode;
  uint64_t last = 0;
  while (auto job = wait_for_job(last)) {
    last = *job;
    join_job(last, slot);
  }
}

ThreadPool::ThreadPool(int num_threads) : impl_(std::make_unique<Impl>(num_threads)) {}
ThreadPool::~ThreadPool() = default;

int ThreadPool::num_threads() const { return impl_->threads; }

void ThreadPool::parallel_for(int num_tasks, FunctionRef<void(int task, int slot)> fn) {
  if (num_tasks <= 0) return;
  const bool inline_only =
      num_tasks == 1 || impl_->threads == 1 || impl_->busy.exchange(true, std::memory_order_acquire);
  if (inline_only) {
    for (int task = 0; task < num_tasks; ++task) fn(task, 0);
    return;
  }
  impl_->run(num_tasks, fn);
  impl_->busy.store(false, std::memory_order_release);
}

ThreadPool::RunScope::RunScope(ThreadPool& pool) : pool_(pool) {
  pool_.impl_->run_scopes.fetch_add(1, std::memory_order_seq_cst);
  pool_.impl_->wake_sleepers();
}

ThreadPool::RunScope::~RunScope() { pool_.impl_->run_scopes.fetch_sub(1, std::memory_order_seq_cst); }

void ThreadPool::wake() { impl_->wake_sleepers(); }

std::shared_ptr<ThreadPool> ThreadPool::shared(int num_threads) {
  const int count = num_threads > 0 ? num_threads : usable_cpus();
  // Never destroyed: engines may outlive static objects. Pools themselves end with their last engine.
  static auto* const mutex = new std::mutex;
  static auto* const pools = new std::map<int, std::weak_ptr<ThreadPool>>;
  std::lock_guard<std::mutex> lock(*mutex);
  std::weak_ptr<ThreadPool>& entry = (*pools)[count];
  std::shared_ptr<ThreadPool> pool = entry.lock();
  if (pool == nullptr) {
    pool = std::make_shared<ThreadPool>(count);
    entry = pool;
  }
  return pool;
}

int ThreadPool::usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int count = static_cast<int>(std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof(set), &set) == 0) count = CPU_COUNT(&set);
  if (const std::optional<double> limit = cgroup_cpu_limit()) {
    count = std::min(count, static_cast<int>(*limit + 0.999));
  }
  return std::max(1, count);
}

}  // namespace blade
