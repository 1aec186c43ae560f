// Checks UTF-8, which protobuf demands of its strings and JSON of its text.
#pragma once

#include <cstdint>
#include <string_view>

namespace blade::tensorflow {

inline bool is_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    auto byte = static_cast<uint8_t>(text[i++]);
    if (byte < 0x80) continue;
    int more = byte >= 0xf0 && byte < 0xf5 ? 3 : byte >= 0xe0 && byte < 0xf0 ? 2 : byte >= 0xc2 && byte < 0xe0 ? 1 : 0;
    if (more == 0 || text.size() - i < static_cast<size_t>(more)) return false;
    uint32_t point = byte & (0x3f >> more);
    for (int k = 0; k < more; ++k) {
      auto follow = static_cast<uint8_t>(text[i++]);
      if ((follow & 0xc0) != 0x80) return false;
      point = point << 6 | (follow & 0x3f);
    }
    bool overlong = (more == 2 && point < 0x800) || (more == 3 && point < 0x10000);
    if (overlong || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return false;
  }
  return true;
}

}  // namespace blade::tensorflow
