#include "backends/cpu/matrix/conv_streamed.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/conv_plane_plan.h"
#include "backends/cpu/matrix/streamed_kernel.h"
#include "backends/machine.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kPairColumns = 2 * kStreamedColumns;
constexpr int64_t kFewestWeightBytes = 512 << 10;  // with fewer, which L2 may still hold, others are as fast

// Pixels of a piece, beside weights and sums that pass.
int64_t plane_bytes_in_l1() { return static_cast<int64_t>(Machine::host().l1d_bytes) * 13 / 16; }

int64_t places_of(const PlanePlan& plan) { return (plan.s.oh - 1) * plan.pitch + plan.s.ow; }

// Places in tile registers.
struct UnitCut {
  int64_t units, places;
  explicit UnitCut(int64_t all) : units(ceil_div(all, kAmxRows)), places(even_unit_rows(all)) {}
};

Conv2DShape with_channels(Conv2DShape shape, int64_t channels) {
  shape.in_pixel_stride = shape.input_pitch();
  shape.c = channels;
  return shape;
}

size_t part_bytes(const StreamedConv& conv) {
  const Conv2DShape piece = with_channels(conv.shape, conv.channels);
  const PlanePlan plan(piece);
  const int64_t pairs = ceil_div(conv.shape.oc / kPairColumns, conv.panel_parts);
  const int64_t slots = conv.channels == conv.shape.c ? 2 : pairs;
  const UnitCut cut(places_of(plan));
  return plan.strip_bytes(conv.shape.oh) +
         static_cast<size_t>(slots * cut.units * cut.places * kPairColumns) * sizeof(float);
}

size_t tap_bytes(const Conv2DShape& s) { return align_up(static_cast<size_t>(s.kh * s.kw) * sizeof(int64_t), 64); }

}  // namespace

StreamedConv::StreamedConv(const Conv2DShape& s, int threads) : shape(s) {
  panel_parts = std::clamp<int64_t>(threads / s.n, 1, std::max<int64_t>(1, s.oc / kPairColumns));
  channels = kAmxElements;
  for (int64_t c = kAmxElements; c <= s.c; c += kAmxElements) {
    const Conv2DShape piece = with_channels(s, c);
    if (s.c % c == 0 && static_cast<int64_t>(PlanePlan(piece).strip_bytes(s.oh)) <= plane_bytes_in_l1()) channels = c;
  }
}

double StreamedConv::busy_threads() const {
  const int64_t pairs = shape.oc / kPairColumns;
  return static_cast<double>(shape.n * pairs) / static_cast<double>(ceil_div(pairs, panel_parts));
}

const char* streamed_conv_refusal(const Conv2DShape& s, int threads) {
  if (!has_streamed_kernel()) return "there is no such kernel for this instruction set";
  if (s.kh * s.kw * s.stride_h * s.stride_w == 1) return "is a product";
  if (s.groups != 1 || s.depth.taps != 1) return "takes one group in two dims";
  if (s.c % kAmxElements != 0 || s.oc % kPairColumns != 0) return "takes multiples of 32 channels";
  if (places_of(PlanePlan(s)) > kMostStreamedPlaces || s.n > threads)
    return "has more pixels than one pass over the weights takes";
  if (s.output_pixels() < kAmxRows) return "has too few pixels for tile registers";
  if (static_cast<int64_t>(packed_streamed_bytes(s)) < kFewestWeightBytes) return "has few weights";
  return nullptr;
}

size_t packed_streamed_bytes(const Conv2DShape& s) {
  return static_cast<size_t>(s.kh * s.kw * s.c * s.oc) * sizeof(BFloat16);
}

void pack_streamed_weights(const StreamedConv& conv, const BFloat16* weights, void* to) {
  const Conv2DShape& s = conv.shape;
  auto* at = static_cast<BFloat16*>(to);
  for (int64_t first = 0; first < s.c; first += conv.channels) {
    for (int64_t column = 0; column < s.oc; column += kStreamedColumns) {
      for (int64_t tap = 0; tap < s.kh * s.kw; ++tap) {
        const BFloat16* from = weights + (tap * s.c + first) * s.oc + column;
        for (int64_t c = 0; c < conv.channels; c += 2, from += 2 * s.oc) {
          for (int64_t j = 0; j < kStreamedColumns; ++j) {
            *at++ = from[j];
            *at++ = from[s.oc + j];
          }
        }
      }
    }
  }
}

size_t streamed_conv_scratch_bytes(const StreamedConv& conv, int threads) {
  return tap_bytes(conv.shape) + static_cast<size_t>(threads) * part_bytes(conv);
}

namespace {

// What all parts have in common. `result_places` has room for kMostStreamedPlaces.
StreamedPart make_part(const StreamedConv& conv, const PlanePlan& plan, int64_t* taps, uint8_t* result_places) {
  const Conv2DShape& s = conv.shape;
  const UnitCut cut(places_of(plan));
  StreamedPart part;
  part.pieces = s.c / conv.channels;
  part.channels = conv.channels;
  part.num_taps = s.kh * s.kw;
  for (int64_t i = 0; i < part.num_taps; ++i) taps[i] = plan.tap_offset(s.oh, i / s.kw, i % s.kw);
  part.taps = taps;
  part.units = cut.units;
  part.unit_places = cut.places;
  part.results = s.oh * s.ow;
  assert(part.results <= kMostStreamedPlaces);
  for (int64_t i = 0; i < part.results; ++i) result_places[i] = static_cast<uint8_t>(i / s.ow * plan.pitch + i % s.ow);
  part.result_places = result_places;
  part.piece_bytes = s.oc / kStreamedColumns * part.panel_bytes();
  part.out_stride = s.output_pitch();
  return part;
}

}  // namespace

template <class Out>
void streamed_conv(const StreamedConv& conv, const BFloat16* in, const void* packed, Out* out,
                   const Epilogue<BFloat16>& epilogue, ThreadPool& pool, std::byte* scratch) {
  const Conv2DShape& s = conv.shape;
  const Conv2DShape piece = with_channels(s, conv.channels);
  const PlanePlan plan(piece);
  uint8_t result_places[kMostStreamedPlaces];
  const StreamedPart common = make_part(conv, plan, reinterpret_cast<int64_t*>(scratch), result_places);
  std::byte* const slots = scratch + tap_bytes(s);
  const size_t slot_bytes = part_bytes(conv);
  pool.parallel_for(static_cast<int>(conv.tasks()), [&](int task, int slot) {
    const int64_t index = task % conv.panel_parts, image = task / conv.panel_parts, pairs = s.oc / kPairColumns;
    const int64_t first_pair = index * pairs / conv.panel_parts, first_pixel = image * s.oh * s.ow;
    std::byte* const own = slots + static_cast<size_t>(slot) * slot_bytes;
    auto* const planes = reinterpret_cast<BFloat16*>(own);
    const PartEpilogue<BFloat16> part_epilogue(epilogue, first_pixel, 1, first_pair * kPairColumns);
    StreamedPart part = common;
    part.planes = planes;
    part.sums = reinterpret_cast<float*>(own + plan.strip_bytes(s.oh));
    part.weights = static_cast<const std::byte*>(packed) + 2 * first_pair * part.panel_bytes();
    part.pairs = (index + 1) * pairs / conv.panel_parts - first_pair;
    Out* const to = out + first_pixel * s.output_pitch() + first_pair * kPairColumns;
    if constexpr (sizeof(Out) < sizeof(float)) {
      part.out = to;
    } else {
      part.wide_out = to;
    }
    part.epilogue = &part_epilogue.get();
    const AmxScope tile_registers(kAmxElements / 2, part.unit_places);
    run_streamed_part(part, [&](int64_t q) {
      const PlanePart channels[] = {{in + q * conv.channels, conv.channels, s.input_pitch()}};
      copy_strip(plan, channels, image, 0, s.oh, planes);
    });
  });
}

template void streamed_conv<BFloat16>(const StreamedConv&, const BFloat16*, const void*, BFloat16*,
                                      const Epilogue<BFloat16>&, ThreadPool&, std::byte*);
template void streamed_conv<float>(const StreamedConv&, const BFloat16*, const void*, float*, const Epilogue<BFloat16>&,
                                   ThreadPool&, std::byte*);

}  // namespace blade::backends::cpu
