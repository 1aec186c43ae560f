// Spectrograms of audio and what speech recognizers make of them, written as Fourier transforms and matrix products.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

using ir::PointwiseOp;

constexpr int64_t kMostNumbers = int64_t{1} << 24;  // of a table that an attribute sizes

ir::ValueId doubles(LowerContext& context, const std::vector<double>& values) {
  const auto count = static_cast<int64_t>(values.size());
  return context.add_constant(ir::make_tensor<double>(ir::DType::kFloat64, {count}, std::span<const double>(values)));
}

double mel(double hertz) { return 1127.0 * std::log1p(hertz / 700.0); }

// The Hann window of `length`, zeros behind it.
std::vector<double> periodic_hann(int64_t length, int64_t padded) {
  std::vector<double> window(static_cast<size_t>(padded));
  for (int64_t i = 0; i < length; ++i) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(length);
    window[static_cast<size_t>(i)] = 0.5 - 0.5 * std::cos(angle);
  }
  return window;
}

// [inputs, outputs]: the first `outputs` coefficients of the discrete cosine transform of `inputs` numbers.
std::vector<float> cosine_transform(int64_t inputs, int64_t outputs) {
  std::vector<float> table;
  const double norm = std::sqrt(2.0 / static_cast<double>(inputs));
  const double step = std::numbers::pi / static_cast<double>(inputs);
  for (int64_t j = 0; j < inputs; ++j) {
    for (int64_t i = 0; i < outputs; ++i) {
      const double angle = static_cast<double>(i) * step * (static_cast<double>(j) + 0.5);
      table.push_back(static_cast<float>(norm * std::cos(angle)));
    }
  }
  return table;
}

struct MelBands {
  int64_t bins, channels;
  double lower, upper;  // Hz
};

// Triangles over the mel scale, each from the middle of the one before to that of the next.
struct BandWeights {
  ir::ValueId triangles;  // [bins, channels]
  ir::ValueId used;       // [bins]: within the limits; TensorFlow does not look at others
  ir::ValueId whole;      // false where the upper limit lies behind the last bin: TensorFlow then computes nothing
};

BandWeights band_weights(LowerContext& context, Emitter& e, const MelBands& bands) {
  const auto real = [&](double v) { return e.scalar(ir::DType::kFloat64, v); };
  const auto op = [&](PointwiseOp kind, const char* name, ir::ValueId x, ir::ValueId y) {
    return e.pointwise(kind, name, {x, y});
  };
  std::vector<double> numbers(static_cast<size_t>(bands.bins)), centers(static_cast<size_t>(bands.channels));
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<double>(i);
  const double low = mel(bands.lower);
  const double spacing = (mel(bands.upper) - low) / static_cast<double>(bands.channels + 1);
  for (size_t i = 0; i < centers.size(); ++i) centers[i] = low + spacing * static_cast<double>(i + 1);

  const ir::ValueId rate = e.cast(context.input(1), ir::DType::kFloat64), bin = doubles(context, numbers);
  const ir::ValueId width = op(PointwiseOp::kDiv, "bin_width", op(PointwiseOp::kMul, "nyquist", rate, real(0.5)),
                               real(static_cast<double>(bands.bins - 1)));
  const ir::ValueId first = op(PointwiseOp::kAdd, "first", op(PointwiseOp::kDiv, "lower", real(bands.lower), width),
                               real(0.5));  // TensorFlow rounds it, and leaves bin 0 out
  const ir::ValueId last = op(PointwiseOp::kDiv, "last", real(bands.upper), width);
  const ir::ValueId used = op(PointwiseOp::kLogicalAnd, "used", op(PointwiseOp::kGreater, "above", bin, first),
                              op(PointwiseOp::kLessEqual, "below", bin, last));
  const ir::ValueId whole = op(PointwiseOp::kLess, "whole", last, real(static_cast<double>(bands.bins)));

  const ir::ValueId ratio = op(PointwiseOp::kDiv, "ratio", op(PointwiseOp::kMul, "hertz", bin, width), real(700));
  const ir::ValueId place =
      op(PointwiseOp::kMul, "mel", e.pointwise(PointwiseOp::kLog1p, "log1p", {ratio}), real(1127));
  const std::vector<int64_t> column = {bands.bins, 1};
  const ir::ValueId away = e.pointwise(
      PointwiseOp::kAbs, "away",
      {op(PointwiseOp::kSub, "difference", e.reshape("mel_column", place, column), doubles(context, centers))});
  const ir::ValueId slope =
      op(PointwiseOp::kSub, "slope", real(1), op(PointwiseOp::kMul, "share", away, real(1 / spacing)));
  const ir::ValueId triangle = op(PointwiseOp::kMaximum, "triangle", slope, real(0));
  return {e.cast(triangle, ir::DType::kFloat32), used, whole};
}

// [2, 2], of rows of samples: zeros behind the last window up to `padded`. Fewer samples than a window's are padded to
// one less: that gives no windows, however far they are apart.
ir::ValueId end_pads(LowerContext& context, Emitter& e, int64_t window, int64_t padded) {
  const auto table = [&](int64_t last) {
    return context.add_constant(
        ir::make_tensor<int64_t>(ir::DType::kInt64, {2, 2}, std::vector<int64_t>{0, 0, 0, last}));
  };
  const ir::ValueId missing =
      e.pointwise(PointwiseOp::kSub, "missing", {e.integer(window - 1), e.dim(context.input(0), 0)});
  const ir::ValueId added = e.pointwise(PointwiseOp::kMaximum, "added", {missing, e.integer(0)});
  const ir::ValueId row = e.pointwise(PointwiseOp::kMul, "added_last", {table(1), added});
  return e.pointwise(PointwiseOp::kAdd, "pads", {table(padded - window), row});
}

}  // namespace

// Samples [n, channels] to squared magnitudes (or magnitudes) [channels, windows, bins]. In float64, as TensorFlow
// computes it: logarithms that follow show what is far below the loudest bin.
Status lower_audio_spectrogram(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(const int64_t window, int_attr(context.node(), "window_size"));
  BLADE_ASSIGN_OR_RETURN(const int64_t stride, int_attr(context.node(), "stride"));
  BLADE_ASSIGN_OR_RETURN(const bool squared, bool_attr_or(context.node(), "magnitude_squared", false));
  if (window < 2 || window > kMostNumbers || stride < 1) {
    return invalid_argument("has windows of " + std::to_string(window) + " samples every " + std::to_string(stride) +
                            ", expected 2 to " + std::to_string(kMostNumbers) + " and 1 or more");
  }
  const auto length = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(window)));
  Emitter e(context);
  const ir::ValueId rows = e.emit(ir::Op::kTranspose, "channels", {context.input(0)}, ir::PermAttrs{{1, 0}});
  const ir::ValueId padded =
      e.emit(ir::Op::kPad, "padded", {rows, end_pads(context, e, window, length), e.scalar(ir::DType::kFloat32, 0)},
             ir::PadAttrs{});
  const ir::ValueId image = e.emit(ir::Op::kExpandDims, "image",
                                   {e.emit(ir::Op::kExpandDims, "row", {padded}, ir::AxisAttrs{1})}, ir::AxisAttrs{3});
  ir::ExtractPatchesAttrs patches;
  patches.window = {1, length};
  patches.strides = {1, stride};
  patches.dilations = {1, 1};
  const ir::ValueId frames =
      e.emit(ir::Op::kSqueeze, "frames", {e.emit(ir::Op::kExtractPatches, "patches", {image}, std::move(patches))},
             ir::AxesAttrs{{1}});
  const ir::ValueId windowed =
      e.pointwise(PointwiseOp::kMul, "windowed",
                  {e.cast(frames, ir::DType::kFloat64), doubles(context, periodic_hann(window, length))});
  BLADE_RETURN_IF_ERROR(e.status());
  BLADE_ASSIGN_OR_RETURN(const auto parts, context.emit_many(ir::Op::kFft, "spectrum", {windowed, e.ints({length})}, 2,
                                                             ir::FftAttrs{ir::FftKind::kReal}));
  const auto square = [&](ir::ValueId x) { return e.pointwise(PointwiseOp::kSquare, "square", {x}); };
  const ir::ValueId sum = e.pointwise(PointwiseOp::kAdd, "power", {square(parts[0]), square(parts[1])});
  const ir::ValueId power = e.emit(ir::Op::kCast, squared ? "" : "narrow", {sum}, ir::CastAttrs{ir::DType::kFloat32});
  return e.finish(squared ? power : e.pointwise(PointwiseOp::kSqrt, "", {power}));
}

// Spectrogram [channels, windows, bins] of squared magnitudes and a sample rate to the cepstrum [channels, windows,
// coefficients]: the cosine transform of the logarithms of what each mel band holds.
Status lower_mfcc(LowerContext& context, int) {
  MelBands bands{};
  BLADE_ASSIGN_OR_RETURN(bands.upper, float_attr_or(context.node(), "upper_frequency_limit", 4000));
  BLADE_ASSIGN_OR_RETURN(bands.lower, float_attr_or(context.node(), "lower_frequency_limit", 20));
  BLADE_ASSIGN_OR_RETURN(bands.channels, int_attr_or(context.node(), "filterbank_channel_count", 40));
  BLADE_ASSIGN_OR_RETURN(const int64_t coefficients, int_attr_or(context.node(), "dct_coefficient_count", 13));
  const ir::Shape& shape = context.shape(context.input(0));
  if (!shape.has_rank() || shape.rank() != 3 || !shape.dim(2).is_known()) {
    return unimplemented("the number of bins of its spectrogram is not known");
  }
  bands.bins = shape.dim(2).value();
  const bool sane = bands.lower >= 0 && bands.upper > bands.lower && bands.bins >= 2 && bands.channels >= 1 &&
                    coefficients >= 1 && coefficients <= bands.channels && bands.channels <= kMostNumbers / bands.bins;
  if (!sane) return unimplemented("its numbers of bands or its limits make no sense");
  if (const auto rate = context.uniform_value(context.input(1)); rate && *rate <= 0) {
    return invalid_argument("has a sample rate of " + std::to_string(*rate) + ", expected 1 or more");
  }
  Emitter e(context);
  const BandWeights weights = band_weights(context, e, bands);
  const ir::ValueId zero = e.scalar(ir::DType::kFloat32, 0);
  const ir::ValueId magnitude = e.pointwise(PointwiseOp::kSqrt, "magnitude", {context.input(0)});
  const ir::ValueId within = e.pointwise(PointwiseOp::kSelect, "within", {weights.used, magnitude, zero});
  const ir::ValueId energy = e.emit(ir::Op::kMatMul, "energy", {within, weights.triangles}, ir::MatMulAttrs{});
  const ir::ValueId floor = e.scalar(ir::DType::kFloat32, 1e-12);
  const ir::ValueId logs =
      e.pointwise(PointwiseOp::kLog, "logs", {e.pointwise(PointwiseOp::kMaximum, "at_least", {energy, floor})});
  const std::vector<float> table = cosine_transform(bands.channels, coefficients);
  const ir::ValueId cosines = context.add_constant(
      ir::make_tensor<float>(ir::DType::kFloat32, {bands.channels, coefficients}, std::span<const float>(table)));
  const ir::ValueId cepstrum = e.emit(ir::Op::kMatMul, "cepstrum", {logs, cosines}, ir::MatMulAttrs{});
  return e.finish(e.pointwise(PointwiseOp::kSelect, "", {weights.whole, cepstrum, zero}));
}

}  // namespace blade::tensorflow
