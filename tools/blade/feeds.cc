// Makes feeds.
#include "feeds.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <random>
#include <utility>

namespace blade::command {

std::string node_name(std::string name) {
  if (name.ends_with(":0")) name.resize(name.size() - 2);
  return name;
}

namespace {

std::pair<std::string, std::string> split_assignment(const std::string& text, const char* expected) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) throw Error(BLADE_INVALID_ARGUMENT, "'" + text + "' is not " + expected);
  return {text.substr(0, equals), text.substr(equals + 1)};
}

std::vector<int64_t> parse_dims(const std::string& text) {
  std::vector<int64_t> dims;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find_first_of("x*,", at), text.size());
    const std::string part = text.substr(at, end - at);
    if (part.empty() || part.size() > 18 || part.find_first_not_of("0123456789") != std::string::npos) {
      throw Error(BLADE_INVALID_ARGUMENT,
                  "'" + text + "' is no shape; expected dims with x between them, as 1x224x224x3");
    }
    dims.push_back(std::stoll(part));
    at = end + 1;
  }
  return dims;
}

template <class T>
void fill_uniform(std::vector<char>& bytes) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(0, 1);
  for (size_t i = 0; i + sizeof(T) <= bytes.size(); i += sizeof(T)) {
    const T value(uniform(random));
    std::memcpy(bytes.data() + i, &value, sizeof value);
  }
}

void fill(Array& array) {
  switch (array.description.dtype) {
    case BLADE_FLOAT32:
      return fill_uniform<float>(array.bytes);
    case BLADE_FLOAT64:
      return fill_uniform<double>(array.bytes);
    case BLADE_FLOAT16:
      return fill_uniform<Float16>(array.bytes);
    case BLADE_BFLOAT16:
      return fill_uniform<BFloat16>(array.bytes);
    default:  // zeros, which every model takes (token ids, masks)
      return;
  }
}

template <class Named>
void refuse_repeated(const std::vector<Named>& all, std::string Named::*name, const std::string& where) {
  std::vector<std::string> names;
  for (const Named& one : all) names.push_back(one.*name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice == names.end()) return;
  throw Error(BLADE_INVALID_ARGUMENT, where + " more than once for the input '" + *twice + "'; leave all but one out");
}

std::string input_names(const Engine& engine) {
  std::string names;
  for (const Engine::Info& info : engine.inputs()) names += (names.empty() ? "'" : ", '") + info.name + "'";
  return names.empty() ? "none" : names;
}

// What is given for a placeholder that the engine is not fed.
void check_unread(const Engine& engine, int32_t number, Array& array) {
  blade_tensor value;
  blade_engine_unread_input(engine.get(), number, &value);
  if (value.dtype == BLADE_INVALID_DTYPE) return;
  array.convert_to(value.dtype);
  value = array.tensor();
  check(blade_engine_check_unread_input(engine.get(), number, &value));
}

void refuse_built_in(const Engine& engine, int32_t number) {
  blade_tensor value;
  const char* name = blade_engine_unread_input(engine.get(), number, &value);
  if (value.dtype == BLADE_INVALID_DTYPE) return;
  throw Error(BLADE_INVALID_ARGUMENT,
              "--shape names '" + std::string(name) + "', a placeholder whose default is built in; leave it out");
}

size_t memory_bytes() {
  return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// The parts of `text` between commas outside of [ ].
void add_parts(const std::string& text, std::vector<std::string>& parts) {
  std::string part;
  int depth = 0;
  for (const char c : text) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (c == ',' && depth == 0) {
      parts.push_back(std::exchange(part, {}));
    } else {
      part += c;
    }
  }
  parts.push_back(part);
}

Array generate(const Engine::Info& info, const std::vector<int64_t>* dims) {
  Array array;
  array.description = info.description;
  if (dims != nullptr) {
    if (dims->size() > BLADE_MAX_RANK)
      throw Error(BLADE_INVALID_ARGUMENT, "the shape of '" + info.name + "' has more than 16 dims");
    array.description.rank = static_cast<int32_t>(dims->size());
    std::copy(dims->begin(), dims->end(), array.description.dims);
  }
  if (array.description.rank < 0) {
    throw Error(BLADE_INVALID_ARGUMENT,
                "the shape of the input '" + info.name + "' is unknown; give it with --shape " + info.name + "=...");
  }
  static constexpr size_t kSizes[] = {0, 4, 8, 2, 2, 1, 2, 4, 8, 1, 2, 4, 8, 1};
  size_t bytes = kSizes[array.description.dtype];
  bool fits = true;
  for (int i = 0; i < array.description.rank; ++i) {
    if (array.description.dims[i] < 0) array.description.dims[i] = 1;
    fits = !__builtin_mul_overflow(bytes, static_cast<size_t>(array.description.dims[i]), &bytes) && fits;
  }
  if (!fits || bytes > memory_bytes()) {
    throw Error(BLADE_RESOURCE_EXHAUSTED, "the shape given for the input '" + info.name +
                                              "' needs more memory than this machine has (" +
                                              std::to_string(memory_bytes() >> 30) + " GiB); give a smaller one");
  }
  array.description.bytes = bytes;
  array.bytes.assign(bytes, 0);
  fill(array);
  return array;
}

}  // namespace

CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<std::string>& values,
                      const std::string& description) {
  const auto divide = [&values](const std::vector<std::string>& given) {
    for (const std::string& text : given) add_parts(text, values);
  };
  return app.add_option_function<std::vector<std::string>>(name, divide, description)->allow_extra_args(false);
}

void ModelOptions::add_to(CLI::App& app) {
  add_list(app, "--outputs", outputs, "Node or tensor names, with commas between");
  app.add_option("--signature", signature, "Which of a SavedModel's signatures (default: serving_default)");
}

void RunOptions::add_to(CLI::App& app) {
  ModelOptions::add_to(app);
  app.add_option("--device", device, "cpu, gpu or auto (default: what the model was optimized for)");
  app.add_option("--threads", threads, "0: as many as the process may use")->capture_default_str();
}

Engine::Options RunOptions::engine_options() const {
  Engine::Options options;
  options.num_threads = threads;
  options.outputs = outputs;
  options.signature = signature;
  options.device = device;
  return options;
}

void FeedOptions::add_to(CLI::App& app) {
  app.add_option("--data", data, "A .npz whose arrays are named as the inputs; may be repeated")
      ->allow_extra_args(false)
      ->check(CLI::ExistingFile);
  app.add_option("--input", inputs, "NAME=FILE.npy, one input's data; may be repeated")->allow_extra_args(false);
  app.add_option("--shape", shapes, "NAME=1x224x224x3, the shape of a generated input; may be repeated")
      ->allow_extra_args(false);
}

std::vector<std::string> feed_files(const FeedOptions& options) {
  std::vector<std::string> files = options.data;
  for (const std::string& text : options.inputs) files.push_back(split_assignment(text, "NAME=FILE.npy").second);
  return files;
}

std::vector<Array> load_feed_files(const FeedOptions& options) {
  std::vector<Array> arrays;
  for (const std::string& path : options.data) {
    for (Array& array : load_npz(path)) arrays.push_back(std::move(array));
  }
  for (const std::string& text : options.inputs) {
    const auto [name, path] = split_assignment(text, "NAME=FILE.npy");
    arrays.push_back(load_npy(path));
    arrays.back().name = name;
  }
  refuse_repeated(arrays, &Array::name, "--data and --input give data");
  return arrays;
}

std::vector<NamedShape> parse_shapes(const FeedOptions& options) {
  std::vector<NamedShape> shapes;
  for (const std::string& text : options.shapes) {
    const auto [name, dims] = split_assignment(text, "NAME=1x224x224x3");
    shapes.emplace_back(name, parse_dims(dims));
  }
  refuse_repeated(shapes, &NamedShape::first, "--shape gives a shape");
  return shapes;
}

std::vector<Array> make_feed(const Engine& engine, const FeedOptions& options) {
  std::vector<Array> files = load_feed_files(options);
  const std::vector<NamedShape> shapes = parse_shapes(options);
  std::vector<std::string> names;
  for (const Array& file : files) names.push_back(file.name);
  for (const NamedShape& shape : shapes) names.push_back(shape.first);
  const std::vector<int32_t> meant = engine.find_inputs(names);
  const std::vector<Engine::Info> infos = engine.inputs();
  const auto count = static_cast<int32_t>(infos.size());
  std::vector<std::optional<Array>> given(infos.size());
  std::vector<const std::vector<int64_t>*> dims(infos.size());
  for (size_t i = 0; i < files.size(); ++i) {
    if (meant[i] < count) {
      files[i].convert_to(infos[static_cast<size_t>(meant[i])].description.dtype);
      given[static_cast<size_t>(meant[i])] = std::move(files[i]);
    } else {
      check_unread(engine, meant[i] - count, files[i]);
    }
  }
  for (size_t i = 0; i < shapes.size(); ++i) {
    const int32_t input = meant[files.size() + i];
    if (input < count) {
      dims[static_cast<size_t>(input)] = &shapes[i].second;
    } else {
      refuse_built_in(engine, input - count);
    }
  }
  std::vector<Array> feed;
  for (size_t i = 0; i < infos.size(); ++i)
    feed.push_back(given[i] ? std::move(*given[i]) : generate(infos[i], dims[i]));
  return feed;
}

std::vector<blade_tensor> feed_in_order(const Engine& first, const std::vector<Array>& feed, const Engine& second) {
  const std::vector<Engine::Info> from = first.inputs(), to = second.inputs();
  std::vector<blade_tensor> ordered;
  for (const Engine::Info& info : to) {
    const auto is_it = [&](const Engine::Info& other) { return node_name(other.name) == node_name(info.name); };
    const auto found = std::find_if(from.begin(), from.end(), is_it);
    if (found == from.end()) {
      throw Error(BLADE_INVALID_ARGUMENT, "the second model has the input '" + info.name +
                                              "', the inputs of the first are " + input_names(first) +
                                              "; both have to take the same data");
    }
    if (found->description.dtype != info.description.dtype) {
      throw Error(BLADE_INVALID_ARGUMENT, "the second model takes " + std::string(dtype_name(info.description.dtype)) +
                                              " for the input '" + info.name + "', the first " +
                                              dtype_name(found->description.dtype) +
                                              "; both have to take the same data");
    }
    ordered.push_back(feed[static_cast<size_t>(found - from.begin())].tensor());
  }
  return ordered;
}

std::vector<blade_tensor> tensors_of(const std::vector<Array>& arrays) {
  std::vector<blade_tensor> tensors;
  for (const Array& array : arrays) tensors.push_back(array.tensor());
  return tensors;
}

}  // namespace blade::command
