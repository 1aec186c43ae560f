// Several sessions at once against one, calls with pauses against calls back to back, and whether every run of a
// session gives the same bits. Prints JSON.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "blade/blade.hpp"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// An engine with inputs of 0.5, one sample where a dim is open.
blade::Engine::Options options(int threads) {
  blade::Engine::Options options;
  options.num_threads = threads;
  return options;
}

class Session {
 public:
  Session(const std::string& path, int threads) : engine_(path, options(threads)) {
    for (const blade::Engine::Info& info : engine_.inputs()) {
      std::vector<int64_t> dims(info.description.dims, info.description.dims + std::max(info.description.rank, 0));
      size_t count = 1;
      for (int64_t& dim : dims) {
        dim = std::max<int64_t>(dim, 1);
        count *= static_cast<size_t>(dim);
      }
      data_.emplace_back(count, 0.5f);
      inputs_.push_back(blade::view(data_.back().data(), dims));
    }
    first_ = bits();
  }

  // Runs for so long; returns runs a second and counts those whose answers have other bits than the first run's.
  double throughput(double seconds, std::atomic<long>* different) {
    long runs = 0;
    const Clock::time_point start = Clock::now();
    while (seconds_since(start) < seconds) {
      if (bits() != first_) different->fetch_add(1);
      ++runs;
    }
    return static_cast<double>(runs) / seconds_since(start);
  }

  // Median milliseconds of runs that begin `pause_ms` after the one before has ended.
  double median_ms(int runs, double pause_ms) {
    std::vector<double> times;
    for (int i = 0; i < runs; ++i) {
      if (pause_ms > 0) std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(pause_ms));
      const Clock::time_point start = Clock::now();
      engine_.run(inputs_);
      times.push_back(1e3 * seconds_since(start));
    }
    std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
    return times[static_cast<size_t>(runs) / 2];
  }

 private:
  std::string bits() {
    std::string all;
    for (const blade::Tensor& output : engine_.run(inputs_))
      all.append(reinterpret_cast<const char*>(output.bytes()), output.description().bytes);
    return all;
  }

  blade::Engine engine_;
  std::vector<std::vector<float>> data_;
  std::vector<blade_tensor> inputs_;
  std::string first_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: sessions MODEL.pb [sessions=2] [threads=2] [seconds=2]\n");
    return 2;
  }
  const int count = argc > 2 ? std::max(1, std::atoi(argv[2])) : 2;
  const int threads = argc > 3 ? std::max(1, std::atoi(argv[3])) : 2;
  const double seconds = argc > 4 ? std::atof(argv[4]) : 2;
  try {
    std::vector<Session> sessions;
    sessions.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) sessions.emplace_back(argv[1], threads);
    std::atomic<long> different{0};
    sessions[0].throughput(seconds / 4, &different);  // warm-up
    // One, all, one, all: what the machine does meanwhile meets both.
    double one = 0, sum = 0;
    for (int round = 0; round < 2; ++round) {
      one += sessions[0].throughput(seconds / 2, &different) / 2;
      std::vector<double> rates(static_cast<size_t>(count));
      std::vector<std::thread> callers;
      for (int i = 0; i < count; ++i) {
        callers.emplace_back([&, i] {
          const auto at = static_cast<size_t>(i);
          rates[at] = sessions[at].throughput(seconds / 2, &different);
        });
      }
      for (std::thread& caller : callers) caller.join();
      for (double rate : rates) sum += rate / 2;
    }
    std::printf(
        "{\"sessions\": %d, \"threads\": %d, \"one_session_per_s\": %.1f, \"all_sessions_per_s\": %.1f, "
        "\"ratio\": %.3f, \"runs_with_other_bits\": %ld, \"back_to_back_ms\": %.4f, \"every_10_ms_ms\": %.4f}\n",
        count, threads, one, sum, sum / one, different.load(), sessions[0].median_ms(200, 0),
        sessions[0].median_ms(100, 10));
  } catch (const blade::Error& error) {
    std::fprintf(stderr, "sessions: %s\n", error.what());
    return 1;
  }
  return 0;
}
