// How a kernel cuts its work into pieces where it leaves that open: what tuning varies beside the kernel itself. Never
// changes what is computed, only in which order and by whom.
#pragma once

namespace blade::backends {

// 0: as the kernel itself would.
struct Blocking {
  int threads = 0;      // 1: on the calling thread alone
  int vectors = 0;      // width of a panel of packed weights, in vectors
  int tile_parts = 0;   // tasks along the rows (pixels) of a product; with it
  int panel_parts = 0;  //   those along its columns (output channels)
  int strip = 0;        // rows (or tiles) that a step takes through all it does at a time

  bool operator==(const Blocking&) const = default;
};

}  // namespace blade::backends
