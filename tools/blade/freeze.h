// SavedModels with variables or lookup tables: TensorFlow has to freeze them, through the Python that it is installed
// in.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace blade::command {

// A frozen copy of a SavedModel, removed at the end, and where Ctrl-C ends the process. There may be one at a time.
class FrozenCopy {
 public:
  // custom_ops: paths of TensorFlow op libraries that the model needs.
  FrozenCopy(const std::string& model, const std::string& signature, const std::vector<std::string>& custom_ops);
  ~FrozenCopy() { remove(); }
  FrozenCopy(const FrozenCopy&) = delete;
  FrozenCopy& operator=(const FrozenCopy&) = delete;
  std::string path() const { return folder_ + "/frozen"; }

 private:
  void remove();

  std::string folder_;
  void (*previous_)(int);  // what Ctrl-C did
};

// Whether a directory holds variables or asset files that are not in its graph.
bool must_be_frozen(const std::string& model);

}  // namespace blade::command
