// What users' names of a model's inputs and outputs mean: the one decision that every door asks.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/model_loader.h"

namespace blade::tensorflow {

// A tensor's name without ":0".
std::string node_name(const std::string& tensor);

class ModelNames {
 public:
  ModelNames() = default;  // of a model without a signature
  explicit ModelNames(const LoadedModel& model);

  // The tensor that `name` stands for: that of the signature's key `name`, or else the one called so; "NAME:0" is a key
  // only where no node is called NAME. An error where `name` is a key of one input and the name of another.
  Result<std::string> input(const std::string& name) const;
  // The tensors of several, an error also where two names mean one.
  Result<std::vector<std::string>> inputs(const std::vector<std::string>& names) const;
  // The same for an output; a key is meant before another output's name.
  std::string output(const std::string& name) const;

 private:
  using Keys = std::map<std::string, std::string>;  // tensors by keys
  std::string meant(const Keys& keys, const std::string& name) const;

  Keys input_keys_, output_keys_;
  std::set<std::string> nodes_;  // those that are called as a key is
};

// The error for a name that means none of `inputs`.
Status no_such_input(const std::string& name, const std::vector<std::string>& inputs);

}  // namespace blade::tensorflow
