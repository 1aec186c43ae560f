// Memory of what stays as long as an engine: packed weights.
#pragma once

#include "base/aligned_buffer.h"

namespace blade {

// As AlignedBuffer::allocate(); but small blocks lie together in huge pages, which go back to the system when the last
// block in them is gone. With weights in pages of 4 KiB each core waits for translations as long as for data.
AlignedBuffer allocate_lasting(size_t size);

}  // namespace blade
