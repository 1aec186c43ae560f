// The process-wide pool that kernels split their work on. Workers spin while a run is active (a RunScope is alive) and
// shortly before one that is due, where runs come at regular intervals; they sleep otherwise. The caller takes part in
// its own work and never waits for a worker that is still asleep. Workers' affinity leaves out the CPU that their
// caller ran on when it woke them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace blade {

// Non-owning reference to a callable, so that a parallel_for in a hot loop allocates nothing.
template <class Signature>
class FunctionRef;
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
      FunctionRef(F&& f)  // NOLINT(google-explicit-constructor,bugprone-forwarding-reference-overload)
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(static_cast<Args&&>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, static_cast<Args&&>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

class ThreadPool {
 public:
  // num_threads counts the caller: 1 means no workers at all.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const;

  // Calls fn(task, slot) once for each task in [0, num_tasks), in any order, and returns when all are done. `slot` in
  // [0, num_threads()) is distinct among calls that run at the same time: use it to index per-thread scratch.
  // Task t is first offered to slot t * num_threads / num_tasks, so that the same rows stay in the same core's cache
  // from layer to layer. Tasks must not call parallel_for. One caller at a time uses the workers: a second concurrent
  // caller (another session) runs its tasks inline, in slot 0. While as many runs are active as there are threads,
  // and for 3 ms after, all do.
  void parallel_for(int num_tasks, FunctionRef<void(int task, int slot)> fn);

  // The same tasks, for work that takes one thread about `work_ns`: all run on the calling thread while that is earlier
  // done than handing some of them over, which takes as long as this pool has found lately.
  void parallel_for(int num_tasks, double work_ns, FunctionRef<void(int task, int slot)> fn);

  // Keeps the workers awake (spinning between layers, with a bound) while alive. Runs of an engine hold one; those
  // within others on the same thread do nothing. Destroyed in the order opposite to that of their making.
  class RunScope {
   public:
    explicit RunScope(ThreadPool& pool);
    ~RunScope();
    RunScope(const RunScope&) = delete;
    RunScope& operator=(const RunScope&) = delete;

   private:
    ThreadPool& pool_;
    const ThreadPool* outer_;
  };

  // Wakes sleeping workers for a run that is about to start; those that find none sleep again after their bounded spin.
  void wake();

  // Shared by all engines that ask for `num_threads` (0: as many as the process may use: affinity and cgroup limits).
  static std::shared_ptr<ThreadPool> shared(int num_threads);
  // One without workers: runs all tasks on the calling thread.
  static ThreadPool& caller_only();
  // CPUs this process may use, at least 1, from sched_getaffinity and the cgroup quota.
  static int usable_cpus();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace blade
