// A job costs a line from the caller to each worker and one back, no more: on machines whose cores lie far apart (175
// ns for a line between chiplets) that decides what small layers take. Tasks are claimed with a compare-and-swap on a
// counter tagged with the job's number, so that a worker that wakes late can never touch a later job and nobody ever
// waits for it; counters of older jobs count as unclaimed, so that nobody has to reset them.
#include "base/thread_pool.h"

#include <sched.h>
#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/call_rhythm.h"
#include "base/cgroup_limits.h"
#include "base/core_keeper.h"
#include "base/float_mode.h"
#include "base/fork.h"
#include "base/futex.h"
#include "base/work_sharing.h"
#include "base/worker_placement.h"

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
// Sessions that call back to back leave gaps between their runs: the others do not take the worker for those.
constexpr auto kCrowdedFor = std::chrono::milliseconds(3);
// Before a thread that is done takes tasks of others: the results are where the next layer looks for them only with
// their own thread. That is for one that other processes keep from its work.
constexpr auto kBeforeStealing = std::chrono::microseconds(5);
constexpr int kHandOversATime = 3;  // measured one after the other: the shortest counts
constexpr size_t kCacheLine = 64;
// Numbers wrap: a slot that had no task for so long must not look like one of a later job.
constexpr uint32_t kJobsBetweenRetags = 1U << 24;
constexpr int kFunctionLines = 16;  // of the caller's frame, which the function reads through its references

void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

// What is left of the wait before stealing. Most waits end within the pauses before the clock is first read.
class StealingDelay {
 public:
  explicit StealingDelay(Clock::duration wait) : left_(wait) {}

  // Once a pause.
  bool is_over() {
    if (left_ > Clock::duration::zero() && ++pauses_ % kPausesPerClockRead == 0) {
      const Clock::time_point now = Clock::now();
      if (pauses_ > kPausesPerClockRead) left_ -= now - last_read_;
      last_read_ = now;
    }
    return left_ <= Clock::duration::zero();
  }

 private:
  Clock::duration left_;
  Clock::time_point last_read_;
  int pauses_ = 0;
};

// A job's number and a count: of its slot's first unclaimed task, or of tasks that a slot has finished.
constexpr uint64_t tagged(uint32_t job, uint32_t count) { return (uint64_t{job} << 32) | count; }
constexpr uint32_t tag_of(uint64_t word) { return static_cast<uint32_t>(word >> 32); }
constexpr uint32_t count_of(uint64_t word) { return static_cast<uint32_t>(word); }

// Both lines are written by their slot and by thieves alone. Slot s owns an even share of the tasks.
struct SlotState {
  alignas(kCacheLine) std::atomic<uint64_t> next{0};
  alignas(kCacheLine) std::atomic<uint64_t> finished{0};
};

// What the caller writes and the workers watch, in one line. `opening` differs from `number` while the fields between
// them are being written.
struct alignas(kCacheLine) Job {
  std::atomic<uint32_t> opening{0};
  std::atomic<int> tasks{0};
  std::atomic<const FunctionRef<void(int, int)>*> fn{nullptr};
  std::atomic<uint32_t> number{0};
};

}  // namespace

struct ThreadPool::Impl {
  explicit Impl(int threads);
  ~Impl();

  // A child of fork() has none; the threads of these numbers are its parent's.
  int live_workers() const { return forks == forks_so_far() ? static_cast<int>(workers.size()) : 0; }
  void run(int num_tasks, FunctionRef<void(int, int)> fn);
  void retag_slots(uint32_t number);
  void wake_sleepers();
  void measure_hand_over();
  void begin_run();
  void look_for_crowd(Clock::time_point time);
  bool is_crowded();
  void work_loop(int slot);
  // Waits for a job other than `last`; returns its number, or nullopt when the pool closes.
  std::optional<uint32_t> wait_for_job(uint32_t last, int slot);
  void sleep(uint32_t last, std::optional<Clock::time_point> until);
  void join_job(uint32_t number, int slot);
  // Runs what is unclaimed of a slot's share; returns the number of tasks that were.
  int drain(uint32_t number, int tasks, FunctionRef<void(int, int)> fn, int of_slot, int slot);
  int drain_others(uint32_t number, int tasks, FunctionRef<void(int, int)> fn, int slot);
  int finished_by_workers(uint32_t number) const;
  int first_task(int slot, int tasks) const {
    return static_cast<int>((static_cast<int64_t>(slot) * tasks + threads - 1) / threads);
  }

  const int threads;
  const int forks = forks_so_far();
  CallRhythm rhythm;
  CoreKeeper keeper{rhythm};
  WorkSharing sharing;
  WorkerPlacement placement;
  std::vector<SlotState> slots;
  std::vector<std::thread> workers;

  Job job;
  alignas(kCacheLine) std::atomic<int> run_scopes{0};
  // As many runs at once as there are threads: each takes one, and workers keep out of their way.
  std::atomic<bool> crowded{false};
  std::atomic<Clock::duration::rep> last_crowded{0};
  std::atomic<int> sleepers{0};
  std::atomic<uint32_t> wake_word{0};
  std::atomic<bool> closing{false};
  alignas(kCacheLine) std::atomic<bool> busy{false};
};

ThreadPool::Impl::Impl(int count) : threads(std::max(1, count)), placement(threads - 1), slots(threads) {
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
  futex_wake_all(wake_word);
  for (std::thread& worker : workers) {
    if (live_workers() > 0) {
      worker.join();
    } else {
      leave_to_parent(std::move(worker));
    }
  }
}

void ThreadPool::Impl::wake_sleepers() {
  if (sleepers.load(std::memory_order_relaxed) == 0 || live_workers() == 0) return;
  placement.keep_off_this_cpu();
  wake_word.fetch_add(1, std::memory_order_seq_cst);
  futex_wake_all(wake_word);
}

void ThreadPool::Impl::run(int tasks, FunctionRef<void(int, int)> function) {
  const uint32_t number = job.number.load(std::memory_order_relaxed) + 1;
  if (number % kJobsBetweenRetags == 0) retag_slots(number - 1);
  slots[0].next.store(tagged(number, 1), std::memory_order_relaxed);  // task 0 is the caller's
  job.opening.store(number, std::memory_order_release);
  job.fn.store(&function, std::memory_order_release);
  job.tasks.store(tasks, std::memory_order_release);
  // No fence orders this before the look at `sleepers`: a worker that falls asleep just now misses one job.
  job.number.store(number, std::memory_order_release);
  wake_sleepers();
  function(0, 0);
  int mine = 1 + drain(number, tasks, function, 0, 0);
  const bool all_awake = sleepers.load(std::memory_order_relaxed) == 0 && live_workers() == threads - 1;
  StealingDelay delay(all_awake ? kBeforeStealing : Clock::duration::zero());
  for (bool stole = false; finished_by_workers(number) != tasks - mine; pause_cpu()) {
    if (stole || !delay.is_over()) continue;
    mine += drain_others(number, tasks, function, 0);
    stole = true;
  }
}

// Between jobs: nothing of job `number` is left to claim.
void ThreadPool::Impl::retag_slots(uint32_t number) {
  for (SlotState& slot : slots) {
    slot.next.store(tagged(number, UINT32_MAX), std::memory_order_relaxed);
    slot.finished.store(tagged(number, 0), std::memory_order_relaxed);
  }
}

int ThreadPool::Impl::finished_by_workers(uint32_t number) const {
  int count = 0;
  for (int slot = 1; slot < threads; ++slot) {
    const uint64_t finished = slots[slot].finished.load(std::memory_order_acquire);
    if (tag_of(finished) == number) count += static_cast<int>(count_of(finished));
  }
  return count;
}

int ThreadPool::Impl::drain(uint32_t number, int tasks, FunctionRef<void(int, int)> function, int of_slot, int slot) {
  const auto first = static_cast<uint32_t>(first_task(of_slot, tasks));
  const auto end = static_cast<uint32_t>(first_task(of_slot + 1, tasks));
  if (first == end) return 0;
  std::atomic<uint64_t>& word = slots[of_slot].next;
  uint64_t seen = word.load(std::memory_order_relaxed);
  for (int done = 0;;) {
    const bool older = static_cast<int32_t>(tag_of(seen) - number) < 0;
    if (!older && (tag_of(seen) != number || count_of(seen) >= end)) return done;
    const uint32_t task = older ? first : count_of(seen);
    if (!word.compare_exchange_weak(seen, tagged(number, task + 1), std::memory_order_acq_rel,
                                    std::memory_order_relaxed))
      continue;
    function(static_cast<int>(task), slot);
    ++done;
    seen = word.load(std::memory_order_relaxed);
  }
}

int ThreadPool::Impl::drain_others(uint32_t number, int tasks, FunctionRef<void(int, int)> function, int slot) {
  int done = 0;
  for (int step = 1; step < threads; ++step) done += drain(number, tasks, function, (slot + step) % threads, slot);
  return done;
}

void ThreadPool::Impl::join_job(uint32_t number, int slot) {
  const FunctionRef<void(int, int)>* function = job.fn.load(std::memory_order_acquire);
  const int tasks = job.tasks.load(std::memory_order_acquire);
  if (job.opening.load(std::memory_order_acquire) != number) return;  // these may belong to the next job
  // `function` is dereferenced only after a successful claim, which keeps the caller inside run(). What it reads lies
  // in the frames of the caller, in lines that come one by one, each when an address from the one before is there.
  for (int line = 0; line < kFunctionLines; ++line)
    __builtin_prefetch(reinterpret_cast<const char*>(function) + static_cast<size_t>(line) * kCacheLine);
  const auto call = [function](int task, int s) { (*function)(task, s); };
  int done = drain(number, tasks, call, slot, slot);
  const auto report = [&] {
    slots[slot].finished.store(tagged(number, static_cast<uint32_t>(done)), std::memory_order_release);
  };
  if (done != 0) report();
  if (tasks <= threads) return;
  for (StealingDelay delay(kBeforeStealing); !delay.is_over(); pause_cpu()) {
    if (job.opening.load(std::memory_order_relaxed) != number) return;
  }
  const int stolen = drain_others(number, tasks, call, slot);
  done += stolen;
  if (stolen != 0) report();
}

std::optional<uint32_t> ThreadPool::Impl::wait_for_job(uint32_t last, int slot) {
  Clock::time_point awake_until{};  // a call is expected by then
  while (true) {
    const Clock::time_point start = Clock::now();
    Clock::time_point now = start;
    bool in_run = true;
    do {
      for (int i = 0; i < kPausesPerClockRead; ++i) {
        const uint32_t number = job.number.load(std::memory_order_acquire);
        if (number != last) return number;
        pause_cpu();
      }
      if (closing.load(std::memory_order_relaxed)) return std::nullopt;
      in_run = run_scopes.load(std::memory_order_relaxed) > 0 && !crowded.load(std::memory_order_relaxed);
      now = Clock::now();
    } while (now - start < (in_run ? kSpinInRun : kSpinAfterRun) ||
             (now < awake_until && !crowded.load(std::memory_order_relaxed)));
    const auto expected = crowded.load(std::memory_order_relaxed) ? std::nullopt : rhythm.next();
    if (expected && expected->until > now) {
      awake_until = expected->until;
      if (slot == 1) keeper.start();
      if (expected->from > now) sleep(last, expected->from);
    } else {
      sleep(last, std::nullopt);
    }
  }
}

// Until a job or a run begins, or until `until`: then lightly, for that is when the worker is needed.
void ThreadPool::Impl::sleep(uint32_t last, std::optional<Clock::time_point> until) {
  const uint32_t word = wake_word.load(std::memory_order_seq_cst);
  sleepers.fetch_add(1, std::memory_order_seq_cst);
  while (job.number.load(std::memory_order_seq_cst) == last && wake_word.load(std::memory_order_seq_cst) == word &&
         !closing.load(std::memory_order_seq_cst)) {
    std::optional<Clock::duration> limit;
    if (until) {
      const Clock::duration left = *until - Clock::now();
      if (left <= Clock::duration::zero()) break;
      limit = std::min<Clock::duration>(left, CoreKeeper::kLightSleep);
    }
    futex_wait(wake_word, word, limit);
  }
  sleepers.fetch_sub(1, std::memory_order_seq_cst);
}

void ThreadPool::Impl::work_loop(int slot) {
  const FlushDenormals mode;
  (void)prctl(PR_SET_TIMERSLACK, 1UL);  // an alarm for an expected call is worth nothing 50 us later
  placement.enlist(slot - 1);
  uint32_t last = 0;
  while (auto number = wait_for_job(last, slot)) {
    last = *number;
    join_job(last, slot);
  }
}

ThreadPool::ThreadPool(int num_threads) : impl_(std::make_unique<Impl>(num_threads)) {}
ThreadPool::~ThreadPool() = default;

int ThreadPool::num_threads() const { return impl_->threads; }

void ThreadPool::parallel_for(int num_tasks, FunctionRef<void(int task, int slot)> fn) {
  if (num_tasks <= 0) return;
  const bool inline_only = num_tasks == 1 || impl_->live_workers() == 0 || impl_->is_crowded() ||
                           impl_->busy.exchange(true, std::memory_order_acquire);
  if (inline_only) {
    for (int task = 0; task < num_tasks; ++task) fn(task, 0);
    return;
  }
  impl_->run(num_tasks, fn);
  impl_->busy.store(false, std::memory_order_release);
}

void ThreadPool::parallel_for(int num_tasks, double work_ns, FunctionRef<void(int task, int slot)> fn) {
  if (num_tasks > 1) impl_->measure_hand_over();
  if (impl_->sharing.pays(work_ns)) return parallel_for(num_tasks, fn);
  for (int task = 0; task < num_tasks; ++task) fn(task, 0);
}

void ThreadPool::Impl::measure_hand_over() {
  if (sleepers.load(std::memory_order_relaxed) != 0 || live_workers() == 0 || crowded.load(std::memory_order_relaxed) ||
      !sharing.take_turn())
    return;
  if (busy.exchange(true, std::memory_order_acquire)) return;
  auto least = Clock::duration::max();
  for (int i = 0; i < kHandOversATime; ++i) {
    const Clock::time_point start = Clock::now();
    run(threads, [](int, int) {});
    least = std::min(least, Clock::now() - start);
  }
  sharing.learn(least);
  busy.store(false, std::memory_order_release);
}

void ThreadPool::Impl::begin_run() {
  run_scopes.fetch_add(1, std::memory_order_seq_cst);
  if (threads == 1) return;
  const Clock::time_point now = Clock::now();
  rhythm.call_begins(now);
  sharing.run_begins(now);
  keeper.call_begins();
  look_for_crowd(now);
  if (!crowded.load(std::memory_order_relaxed)) wake_sleepers();
}

void ThreadPool::Impl::look_for_crowd(Clock::time_point time) {
  const Clock::duration::rep now = time.time_since_epoch().count();
  if (run_scopes.load(std::memory_order_relaxed) >= threads) last_crowded.store(now, std::memory_order_relaxed);
  const auto since = Clock::duration(now - last_crowded.load(std::memory_order_relaxed));
  crowded.store(since < kCrowdedFor, std::memory_order_relaxed);
}

// A long run gets its workers back when the others have been gone for a while.
bool ThreadPool::Impl::is_crowded() {
  if (!crowded.load(std::memory_order_relaxed)) return false;
  look_for_crowd(Clock::now());
  if (crowded.load(std::memory_order_relaxed)) return true;
  wake_sleepers();
  return false;
}

namespace {
thread_local const ThreadPool* running_on = nullptr;  // the pool that this thread holds a RunScope of
}  // namespace

ThreadPool::RunScope::RunScope(ThreadPool& pool) : pool_(pool), outer_(running_on) {
  running_on = &pool;
  if (outer_ != &pool) pool_.impl_->begin_run();
}

ThreadPool::RunScope::~RunScope() {
  running_on = outer_;
  if (outer_ != &pool_) pool_.impl_->run_scopes.fetch_sub(1, std::memory_order_seq_cst);
}

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

ThreadPool& ThreadPool::caller_only() {
  static auto* const pool = new ThreadPool(1);  // never destroyed, as above
  return *pool;
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
