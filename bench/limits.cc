// Measures what this machine can do at most and prints it as JSON.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "machine_limits.h"

int main(int argc, char** argv) {
  const int threads =
      argc > 1 ? std::atoi(argv[1]) : static_cast<int>(std::min(2u, std::thread::hardware_concurrency()));
  if (threads < 1) {
    std::fprintf(stderr, "usage: limits [threads]   (threads at least 1; default 2)\n");
    return 2;
  }
  const auto limits = blade::command::measure_machine_limits(threads, {});
  if (!limits) {
    std::fprintf(stderr, "limits: this processor has no AVX2 and FMA, which every measurement here uses.\n");
    return 1;
  }
  std::printf("%s\n", limits->to_json().c_str());
  return 0;
}
