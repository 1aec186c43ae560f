// The blockings that tuning tries for rows built on the tile driver.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "backends/kernel.h"

namespace blade::backends::cpu {

// Other widths of the panels of weights with n columns.
std::vector<Blocking> panel_blockings(int64_t n);
// And other ways to cut the product over threads.
std::vector<Blocking> product_blockings(const KernelRequest& request, int64_t n);
// Adds strips of half and twice as many rows, and more, between 1 and `most`.
void add_strips(std::vector<Blocking>& to, int64_t rows, int64_t most);

}  // namespace blade::backends::cpu
