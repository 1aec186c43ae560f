// Fourier transforms by their definition, and the greedy decoder of connectionist temporal classification.
#include <algorithm>
#include <complex>
#include <numbers>

#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

using Complex = std::complex<double>;

// Sums of x[j] * exp(-2 pi i j k / n), or with the other sign and divided by n.
std::vector<Complex> transform(const std::vector<Complex>& x, bool inverse) {
  const size_t n = x.size();
  std::vector<Complex> turns(n), y(n);
  const double sign = inverse ? 1 : -1;
  for (size_t k = 0; k < n; ++k) {
    turns[k] = std::polar(1.0, sign * 2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n));
  }
  for (size_t k = 0; k < n; ++k) {
    for (size_t j = 0; j < n; ++j) y[k] += x[j] * turns[j * k % n];
    if (inverse) y[k] /= static_cast<double>(n);
  }
  return y;
}

}  // namespace

// Rows may be longer than needed; of a real result only half of the numbers are given.
Status run_fft(const Call& call) {
  const ir::FftKind kind = call.node.get<ir::FftAttrs>().kind;
  const bool real_input = kind == ir::FftKind::kReal, real_output = kind == ir::FftKind::kRealInverse;
  const Array<double> re = read<double>(call, 0);
  const Array<double> im = real_input ? make_array<double>(re.dims) : read<double>(call, 1);
  Array<double> out_re = make_array<double>(call.out_dims()), out_im = out_re;
  if (out_re.values.empty()) return Status::ok_status();
  const auto have = static_cast<size_t>(re.dims.back()), made = static_cast<size_t>(out_re.dims.back());
  const size_t n = real_input || real_output ? static_cast<size_t>(read_ints(call, real_input ? 1 : 2)[0]) : have;
  const size_t given = std::min(have, real_output ? n / 2 + 1 : n);
  for (size_t r = 0; r < out_re.values.size() / made; ++r) {
    std::vector<Complex> x(n);
    for (size_t k = 0; k < given; ++k) x[k] = {re.values[r * have + k], im.values[r * have + k]};
    if (real_output) {
      for (size_t k = 1; k <= (n - 1) / 2; ++k) x[n - k] = std::conj(x[k]);
      x[0] = x[0].real();
      if (n % 2 == 0) x[n / 2] = x[n / 2].real();
    }
    const std::vector<Complex> y = transform(x, real_output || kind == ir::FftKind::kInverse);
    for (size_t k = 0; k < made; ++k) {
      out_re.values[r * made + k] = y[k].real();
      out_im.values[r * made + k] = y[k].imag();
    }
  }
  write(call, 0, out_re);
  if (!real_output) write(call, 1, out_im);
  return Status::ok_status();
}

Status run_ctc_greedy_decoder(const Call& call) {
  const auto& attrs = call.node.get<ir::CtcGreedyAttrs>();
  const Array<double> scores = read<double>(call, 0);
  const std::vector<int64_t> steps = read_ints(call, 1);
  const int64_t most = scores.dims[0], batch = scores.dims[1], classes = scores.dims[2];
  const int64_t blank = attrs.blank < 0 ? attrs.blank + classes : attrs.blank;
  Array<int64_t> coordinates, values, shape = make_array<int64_t>({2});
  Array<double> score = make_array<double>({batch, 1});
  shape[0] = batch;
  for (int64_t b = 0; b < batch; ++b) {
    if (steps[static_cast<size_t>(b)] > most) {
      return invalid_argument(call.where() + "sequence " + std::to_string(b) + " has " +
                              std::to_string(steps[static_cast<size_t>(b)]) + " steps, expected at most " +
                              std::to_string(most) + ".");
    }
    int64_t previous = -1, length = 0;
    for (int64_t t = 0; t < steps[static_cast<size_t>(b)]; ++t) {
      const auto row = scores.values.begin() + (t * batch + b) * classes;
      const int64_t best = std::max_element(row, row + classes) - row;
      score[b] -= row[best];
      if (best != blank && !(attrs.merge_repeated && best == previous)) {
        coordinates.values.insert(coordinates.values.end(), {b, length++});
        values.values.push_back(best);
      }
      previous = best;
    }
    shape[1] = std::max(shape[1], length);
  }
  values.dims = {static_cast<int64_t>(values.values.size())};
  coordinates.dims = {values.dims[0], 2};
  BLADE_RETURN_IF_ERROR(write_found(call, 0, coordinates));
  BLADE_RETURN_IF_ERROR(write_found(call, 1, values));
  write(call, 2, shape);
  write(call, 3, score);
  return Status::ok_status();
}

}  // namespace blade::backends::reference
