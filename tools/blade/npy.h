// NumPy's .npy and .npz files (format: numpy.lib.format, versions 1 to 3), for data on the command line.
#pragma once

#include <string>
#include <vector>

#include "blade/blade.h"

namespace blade::command {

struct Array {
  std::string name;  // in a .npz; "" for a .npy
  blade_tensor description = {};
  std::vector<char> bytes;
  blade_tensor tensor() const;  // points into bytes
  // NumPy has no bfloat16 of its own: floats become that, that becomes floats, and uint16 are its bits. Nothing
  // else is converted.
  void convert_to(blade_dtype wanted);
};

// Errors are thrown as blade::Error with a sentence. Only little-endian arrays without Python objects are read; the
// bytes are row-major whatever the file's order.
Array load_npy(const std::string& path);
std::vector<Array> load_npz(const std::string& path);
void save_npy(const std::string& path, const blade_tensor& tensor);

const char* dtype_name(blade_dtype dtype);

}  // namespace blade::command
