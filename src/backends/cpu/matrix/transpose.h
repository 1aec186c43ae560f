// Transposition of matrices of 32-bit words.
#pragma once

#include <cstdint>

namespace blade::backends::cpu {

inline constexpr int64_t kMostWoven = 4;  // rows or columns of a matrix that are woven to or out of one row

// to[j * to_row + i] = from[i * from_row + j] for i < rows, j < columns.
void transpose_words(const uint32_t* from, int64_t from_row, uint32_t* to, int64_t to_row, int64_t rows,
                     int64_t columns);

}  // namespace blade::backends::cpu
