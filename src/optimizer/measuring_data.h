// What a model is measured and checked with: feeds, the profile of shapes they stand for, and what the report says of
// both.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"
#include "optimizer/options.h"
#include "optimizer/test_data.h"

namespace blade::optimizer {

struct MeasuringData {
  std::vector<Feed> feeds;  // the first one decides
  engine::Profile profile;
  const char* source = "generated";        // or "user provided"
  const char* shape_variation = "static";  // or "batch", "dynamic"
  std::string description;                 // a line an input of the first feed
  std::vector<std::string> messages;
};

// `test_data` are the user's feeds, with values for `inputs` alone; generated where there are none. Each `opts` of a
// profile has a feed. The profile is checked first: its errors come before any work. For inputs that are `needless`
// nobody has to give shapes.
Result<MeasuringData> make_measuring_data(const OptimizeOptions& options, const std::vector<engine::TensorInfo>& inputs,
                                          const std::set<std::string>& needless, const std::vector<Feed>& test_data);

// The rank that the user's data, or else the user's shapes (input_shapes, dynamic_tuning_shapes), give the input
// `name`, `index` among them; none where they say nothing, or differ.
std::optional<size_t> rank_of_data(const OptimizeOptions& options, const std::string& name, size_t index,
                                   const std::vector<Feed>& test_data);

}  // namespace blade::optimizer
