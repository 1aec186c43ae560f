// What a chain of steps is predicted to gain where it goes strip by strip, and the height of its strips.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/strip_schedule.h"

namespace blade::engine {

// Rows of something for each `den` rows of the chain's result.
struct RowRate {
  int64_t num = 1, den = 1;
  RowRate times(int64_t n, int64_t d) const;
  bool operator==(const RowRate&) const = default;
  int64_t of(int64_t rows) const;
};

// Steps of which all results but the last are read within them alone.
struct StripCandidate {
  std::span<const std::shared_ptr<const StripStep>> steps;
  std::vector<StripRows> rows;  // one a step; how many at a time is open
  std::vector<RowRate> rates;   // one a step
  int64_t quantum = 1;          // rows of the last step by which strips grow: whole units of every step
};

// Nothing where two readers of a result want it at different rates, or where strips could not be small.
std::optional<StripCandidate> strip_candidate(std::span<const std::shared_ptr<const StripStep>> steps,
                                              std::vector<StripRows> rows);

struct StripGain {
  double us = 0;
  int64_t strip = 0;       // rows
  bool by_images = false;  // each thread has images of its own, which it can where they divide evenly
  bool by_parts = false;   // each thread has a part of the image
};

class StripCostModel {
 public:
  StripCostModel(const backends::Machine& machine, int threads) : machine_(machine), threads_(threads) {}

  // Nothing where strips are not worth it.
  std::optional<StripGain> gain(const StripCandidate& chain) const;
  // Strips of about so many rows, whatever they cost.
  StripGain forced(const StripCandidate& chain, int64_t rows) const;

 private:
  // Of all steps' predicted time, what two parts of the image both do.
  struct Repeated {
    double us = 0, of_us = 0;
  };
  std::optional<Repeated> repeated(const StripCandidate& chain) const;
  bool has_images_for_all(const StripCandidate& chain) const;
  double saved_us(const StripCandidate& chain, bool in_l2) const;
  double weights_us(const StripCandidate& chain, double strips, bool in_l2) const;
  double far_us(const StripStep& step, bool in_l2) const;

  const backends::Machine& machine_;
  int threads_;
};

// Into as many parts as threads, at multiples of the quantum.
std::vector<RowRange> cut_rows(int64_t rows, int threads, int64_t quantum);

}  // namespace blade::engine
