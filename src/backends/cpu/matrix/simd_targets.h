// Limits Highway to AVX2, AVX-512 and the static baseline: include before any Highway header, to keep compiling short.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
