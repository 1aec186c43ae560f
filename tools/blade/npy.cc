// Reads and writes NumPy files.
#include "npy.h"

#include <zip.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <regex>

#include "blade/blade.hpp"

namespace blade::command {
namespace {

struct TypeRow {
  blade_dtype dtype;
  const char* descr;  // NumPy's, little endian
  const char* name;
  size_t size;
};

constexpr TypeRow kTypes[] = {
    {BLADE_FLOAT32, "<f4", "float32", 4},   {BLADE_FLOAT64, "<f8", "float64", 8}, {BLADE_FLOAT16, "<f2", "float16", 2},
    {BLADE_INT8, "|i1", "int8", 1},         {BLADE_INT16, "<i2", "int16", 2},     {BLADE_INT32, "<i4", "int32", 4},
    {BLADE_INT64, "<i8", "int64", 8},       {BLADE_UINT8, "|u1", "uint8", 1},     {BLADE_UINT16, "<u2", "uint16", 2},
    {BLADE_UINT32, "<u4", "uint32", 4},     {BLADE_UINT64, "<u8", "uint64", 8},   {BLADE_BOOL, "|b1", "bool", 1},
    {BLADE_BFLOAT16, "<V2", "bfloat16", 2},  // as ml_dtypes writes it, and as it is written again without that package
    {BLADE_BFLOAT16, "|V2", "bfloat16", 2}};

[[noreturn]] void fail(const std::string& sentence) { throw Error(BLADE_INVALID_ARGUMENT, sentence); }

// The shape text of a header: "1, 224, 224, 3".
void parse_shape(const std::string& text, const std::string& what, blade_tensor& out) {
  static const std::regex number("[0-9]+");
  for (auto it = std::sregex_iterator(text.begin(), text.end(), number); it != std::sregex_iterator(); ++it) {
    if (out.rank == BLADE_MAX_RANK || it->str().size() > 18) fail(what + " has a shape that is too large");
    out.dims[out.rank++] = std::stoll(it->str());
  }
}

// Fortran order has the first dim change fastest; Blade's tensors the last.
std::vector<char> row_major(const std::vector<char>& from, const blade_tensor& tensor, size_t element) {
  std::vector<char> to(from.size());
  std::vector<int64_t> at(static_cast<size_t>(tensor.rank), 0);
  for (size_t i = 0; i < to.size(); i += element) {
    size_t source = 0;
    for (int d = tensor.rank; d-- > 0;)
      source = source * static_cast<size_t>(tensor.dims[d]) + static_cast<size_t>(at[static_cast<size_t>(d)]);
    std::memcpy(to.data() + i, from.data() + source * element, element);
    for (int d = tensor.rank; d-- > 0;) {
      if (++at[static_cast<size_t>(d)] < tensor.dims[d]) break;
      at[static_cast<size_t>(d)] = 0;
    }
  }
  return to;
}

Array parse_npy(std::vector<char> file, const std::string& what) {
  const size_t size = file.size();
  if (size < 12 || std::memcmp(file.data(), "\x93NUMPY", 6) != 0) fail(what + " is not a .npy file");
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(file[i])); };
  const bool version1 = byte(6) == 1;
  const size_t start = version1 ? 10 : 12;
  const size_t length = version1 ? byte(8) | byte(9) << 8 : byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
  if (length > size - start) fail(what + " is truncated inside its header");
  const std::string header(file.data() + start, length);
  static const std::regex descr("'descr': *'([^']*)'"), order("'fortran_order': *(True|False)"),
      shape("'shape': *\\(([^)]*)\\)");
  std::smatch found_descr, found_order, found_shape;
  if (!std::regex_search(header, found_descr, descr) || !std::regex_search(header, found_order, order) ||
      !std::regex_search(header, found_shape, shape)) {
    fail(what + " has a header that is not understood (arrays of plain numbers are; pickled objects are not)");
  }
  Array array;
  size_t element = 0;
  for (const TypeRow& row : kTypes) {
    if (found_descr[1] != row.descr) continue;
    array.description.dtype = row.dtype;
    element = row.size;
  }
  if (element == 0) {
    fail(what + " holds elements of type '" + found_descr[1].str() +
         "', which Blade cannot take; save plain numbers, a dict of arrays by numpy.savez");
  }
  parse_shape(found_shape[1], what, array.description);
  size_t bytes = element;
  for (int i = 0; i < array.description.rank; ++i) {
    if (__builtin_mul_overflow(bytes, static_cast<size_t>(array.description.dims[i]), &bytes))
      fail(what + " has too large a shape");
  }
  if (bytes > size - start - length) fail(what + " is truncated: its shape needs " + std::to_string(bytes) + " bytes");
  file.erase(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(start + length));
  file.resize(bytes);
  array.description.bytes = bytes;
  array.bytes = found_order[1] == "True" ? row_major(file, array.description, element) : std::move(file);
  return array;
}

template <class From, class To>
void change_elements(Array& array) {
  std::vector<char> made(array.bytes.size() / sizeof(From) * sizeof(To));
  for (size_t i = 0; i < made.size() / sizeof(To); ++i) {
    From from;
    std::memcpy(&from, array.bytes.data() + i * sizeof from, sizeof from);
    const To to(from);
    std::memcpy(made.data() + i * sizeof to, &to, sizeof to);
  }
  array.bytes = std::move(made);
  array.description.bytes = array.bytes.size();
  array.description.dtype = DType<To>::value;
}

}  // namespace

blade_tensor Array::tensor() const {
  blade_tensor tensor = description;
  tensor.data = const_cast<char*>(bytes.data());
  return tensor;
}

const char* dtype_name(blade_dtype dtype) {
  for (const TypeRow& row : kTypes) {
    if (row.dtype == dtype) return row.name;
  }
  return "unknown";
}

Array load_npy(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (std::error_code error; std::filesystem::is_directory(path, error))
    fail("'" + path + "' is a directory; give a .npy file");
  if (!in) throw Error(BLADE_NOT_FOUND, "the file '" + path + "' cannot be opened");
  return parse_npy({std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()}, "'" + path + "'");
}

std::vector<Array> load_npz(const std::string& path) {
  int code = 0;
  const std::unique_ptr<zip_t, int (*)(zip_t*)> archive(zip_open(path.c_str(), ZIP_RDONLY, &code), zip_close);
  if (!archive) throw Error(BLADE_NOT_FOUND, "'" + path + "' cannot be opened as a .npz file");
  std::vector<Array> arrays;
  for (zip_int64_t i = 0; i < zip_get_num_entries(archive.get(), 0); ++i) {
    zip_stat_t stat;
    if (zip_stat_index(archive.get(), static_cast<zip_uint64_t>(i), 0, &stat) != 0)
      fail("'" + path + "' has a broken entry");
    const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(
        zip_fopen_index(archive.get(), static_cast<zip_uint64_t>(i), 0), zip_fclose);
    constexpr zip_uint64_t kLargest = zip_uint64_t{1} << 32;  // a hostile size must not be allocated
    if (!file || stat.size > kLargest) fail("'" + path + "' has an entry that cannot be read: " + stat.name);
    std::vector<char> bytes(stat.size);
    if (zip_fread(file.get(), bytes.data(), stat.size) != static_cast<zip_int64_t>(stat.size))
      fail("'" + path + "' is truncated");
    std::string name = stat.name;
    if (name.ends_with(".npy")) name.resize(name.size() - 4);
    arrays.push_back(parse_npy(std::move(bytes), "'" + name + "' in '" + path + "'"));
    arrays.back().name = name;
  }
  return arrays;
}

void Array::convert_to(blade_dtype wanted) {
  if (wanted == BLADE_BFLOAT16 && description.dtype == BLADE_UINT16) description.dtype = wanted;  // its bits
  if (wanted == BLADE_BFLOAT16 && description.dtype == BLADE_FLOAT32) change_elements<float, BFloat16>(*this);
  if (wanted == BLADE_FLOAT32 && description.dtype == BLADE_BFLOAT16) change_elements<BFloat16, float>(*this);
}

void save_npy(const std::string& path, const blade_tensor& tensor) {
  std::string descr;
  for (const TypeRow& row : kTypes) {
    if (row.dtype == tensor.dtype) descr = row.descr;
  }
  if (descr.empty()) fail(std::string("NumPy has no type for ") + dtype_name(tensor.dtype));
  std::string shape;
  for (int i = 0; i < tensor.rank; ++i) shape += std::to_string(tensor.dims[i]) + ", ";
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.append(64 - (10 + header.size() + 1) % 64, ' ');
  header += '\n';
  std::ofstream out(path, std::ios::binary);
  if (!out) throw Error(BLADE_INVALID_ARGUMENT, "'" + path + "' could not be opened for writing");
  const char prefix[] = {'\x93',
                         'N',
                         'U',
                         'M',
                         'P',
                         'Y',
                         1,
                         0,
                         static_cast<char>(header.size() & 255),
                         static_cast<char>(header.size() >> 8)};
  out.write(prefix, sizeof prefix);
  out << header;
  out.write(static_cast<const char*>(tensor.data), static_cast<std::streamsize>(tensor.bytes));
  out.flush();
  if (out) return;
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored)) std::filesystem::remove(path, ignored);  // half a file is none
  throw Error(BLADE_RESOURCE_EXHAUSTED, "'" + path + "' could not be written; is the disk full?");
}

}  // namespace blade::command
