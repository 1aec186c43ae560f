#include "optimizer/measuring_data.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace blade::optimizer {
namespace {

using Shapes = std::vector<ir::Dims>;  // one an input
using Ranges = std::vector<std::pair<double, double>>;

constexpr int64_t kImageSide = 224;

// Of four dims with three channels second, or one, three or four last.
bool is_image(const ir::Shape& shape) {
  if (!shape.has_rank() || shape.rank() != 4) return false;
  const auto has = [&](int dim, int64_t channels) {
    return shape.dim(dim).is_known() && shape.dim(dim).value() == channels;
  };
  return has(1, 3) || has(3, 1) || has(3, 3) || has(3, 4);
}

// Of four dims of which that of the channels is known, and no other but the first.
bool is_map(const ir::Shape& shape) {
  return shape.has_rank() && shape.rank() == 4 && !shape.dim(2).is_known() &&
         shape.dim(1).is_known() != shape.dim(3).is_known();
}

// Unknown sides of images are taken as those of a usual image, which every layer finds large enough, and so are those
// of maps beside an image, which are mostly joined to it.
ir::Dims dims_to_generate(const ir::Shape& shape, bool beside_image) {
  const bool has_sides = is_image(shape) || (beside_image && is_map(shape));
  ir::Dims dims;
  for (const ir::Dim dim : shape.dims()) {
    const int64_t unknown = !dims.empty() && has_sides ? kImageSide : 1;
    dims.push_back(dim.is_known() ? dim.value() : unknown);
  }
  return dims;
}

// Integers of an image are pixels.
Ranges ranges_of_inputs(const std::vector<engine::TensorInfo>& inputs) {
  Ranges ranges;
  for (const engine::TensorInfo& input : inputs) {
    const bool pixels = is_image(input.shape) && ir::is_integer(input.dtype);
    ranges.emplace_back(0.0, pixels ? 255.0 : 1.0);
  }
  return ranges;
}

// One shape an input, of a group of input_shapes.
Result<Shapes> shapes_of_group(const NamedShapes& group, const std::vector<engine::TensorInfo>& inputs,
                               const std::set<std::string>& needless) {
  if (group.by_name.empty()) {
    if (group.by_order.size() == inputs.size()) return group.by_order;
    return invalid_argument("input_shapes has a group of " + std::to_string(group.by_order.size()) +
                            " shapes, the model has " + std::to_string(inputs.size()) +
                            " inputs; give one shape an input");
  }
  Shapes shapes;
  std::vector<std::string> names;
  for (const engine::TensorInfo& input : inputs) {
    const ir::Dims* given = group.find(shapes.size(), input.name);
    if (given == nullptr && !needless.contains(node_name(input.name)))
      return invalid_argument("the shapes given lack one for the input '" + input.name + "'; give one for each input");
    shapes.push_back(given != nullptr ? *given : dims_to_generate(input.shape, false));
    names.push_back(input.name);
  }
  BLADE_RETURN_IF_ERROR(group.check_names(names));
  return shapes;
}

// The shapes to generate values for: as asked, else the profile's first, else as the model declares them.
Result<std::vector<Shapes>> shapes_to_generate(const OptimizeOptions& options,
                                               const std::vector<engine::TensorInfo>& inputs,
                                               const std::set<std::string>& needless,
                                               const std::optional<engine::Profile>& profile,
                                               std::vector<std::string>& messages) {
  std::vector<Shapes> groups;
  for (const NamedShapes& group : options.input_shapes) {
    BLADE_ASSIGN_OR_RETURN(Shapes shapes, shapes_of_group(group, inputs, needless));
    groups.push_back(std::move(shapes));
  }
  if (!groups.empty()) return groups;
  if (profile) return std::vector<Shapes>{profile->opts.front()};
  const bool has_image =
      std::any_of(inputs.begin(), inputs.end(), [](const engine::TensorInfo& input) { return is_image(input.shape); });
  Shapes shapes;
  for (const engine::TensorInfo& input : inputs) {
    if (!input.shape.has_rank() && !needless.contains(node_name(input.name))) {
      return invalid_argument("the rank of the input '" + input.name +
                              "' is unknown and no test data was given; give test_data or input_shapes");
    }
    shapes.push_back(dims_to_generate(input.shape, has_image));
  }
  messages.emplace_back(
      "no test data was given: values were generated, unknown dims taken as 1, unknown sides of "
      "images as " +
      std::to_string(kImageSide));
  return std::vector<Shapes>{std::move(shapes)};
}

Result<std::vector<Feed>> generate_feeds(const OptimizeOptions& options, const std::vector<engine::TensorInfo>& inputs,
                                         const std::set<std::string>& needless, const std::vector<Shapes>& groups) {
  BLADE_RETURN_IF_ERROR(check_generated_size(inputs, groups));
  std::vector<Feed> feeds;
  for (size_t i = 0; i < groups.size(); ++i) {
    const std::vector<Ranges>& ranges = options.input_ranges;
    const Ranges range = ranges.empty() ? ranges_of_inputs(inputs) : ranges[std::min(i, ranges.size() - 1)];
    BLADE_ASSIGN_OR_RETURN(Feed feed, generate_feed(inputs, groups[i], range, needless));
    feeds.push_back(std::move(feed));
  }
  return feeds;
}

// There the original graph runs: measuring it would say nothing about the engine.
void leave_out_feeds_beyond_profile(MeasuringData& data, const std::string& beyond) {
  std::erase_if(data.feeds, [&](const Feed& feed) {
    if (data.profile.contains(shapes_of(feed))) return false;
    data.messages.push_back("test data of shape " + shapes_to_string(feed) + " " + beyond);
    return true;
  });
}

Status give_each_opt_a_feed(MeasuringData& data) {
  const Feed first = data.feeds[0];
  leave_out_feeds_beyond_profile(data,
                                 "lies outside min..max of dynamic_tuning_shapes, where the original graph runs; the "
                                 "model was measured without it, on the opts");
  for (const auto& shapes : data.profile.opts) {
    const auto has_shape = [&](const Feed& feed) { return shapes_of(feed) == shapes; };
    if (std::any_of(data.feeds.begin(), data.feeds.end(), has_shape)) continue;
    BLADE_ASSIGN_OR_RETURN(Feed resized, resize_feed(first, shapes));
    data.feeds.push_back(std::move(resized));
  }
  return {};
}

// Without a profile the shapes of the test data are optimized; other shapes run the original graph.
engine::Profile hull_of(const std::vector<Feed>& feeds) {
  engine::Profile profile;
  profile.min = profile.max = shapes_of(feeds[0]);
  for (const Feed& feed : feeds) {
    const std::vector<ir::Dims> shapes = shapes_of(feed);
    if (!std::equal(shapes.begin(), shapes.end(), profile.min.begin(), profile.min.end(),
                    [](const ir::Dims& a, const ir::Dims& b) { return a.size() == b.size(); })) {
      continue;  // other ranks cannot be in one box
    }
    profile.opts.push_back(shapes);
    for (size_t i = 0; i < shapes.size(); ++i) {
      for (size_t d = 0; d < shapes[i].size(); ++d) {
        profile.min[i][d] = std::min(profile.min[i][d], shapes[i][d]);
        profile.max[i][d] = std::max(profile.max[i][d], shapes[i][d]);
      }
    }
  }
  return profile;
}

void describe(MeasuringData& data, bool has_profile) {
  bool only_batch = true, varies = false;
  const engine::Profile& profile = data.profile;
  for (size_t i = 0; i < profile.min.size(); ++i) {
    for (size_t d = 0; d < profile.min[i].size(); ++d) {
      if (profile.min[i][d] == profile.max[i][d]) continue;
      varies = true;
      only_batch = only_batch && d == 0;
    }
  }
  data.shape_variation = !varies ? "static" : only_batch && !has_profile ? "batch" : "dynamic";
  for (const NamedTensor& one : data.feeds[0]) {
    data.description += (data.description.empty() ? "" : "\n") + one.name +
                        " shape: " + dims_to_string(one.tensor->dims) + " data type: " + dtype_text(one.tensor->dtype);
  }
}

}  // namespace

Result<MeasuringData> make_measuring_data(const OptimizeOptions& options, const std::vector<engine::TensorInfo>& inputs,
                                          const std::set<std::string>& needless, const std::vector<Feed>& test_data) {
  std::optional<engine::Profile> profile;
  if (!options.tuning_shapes.empty()) {
    BLADE_ASSIGN_OR_RETURN(profile, resolve_profile(options.tuning_shapes, inputs));
  }
  MeasuringData data;
  BLADE_ASSIGN_OR_RETURN(data.feeds, check_feeds(test_data, inputs));
  if (data.feeds.empty()) {
    BLADE_ASSIGN_OR_RETURN(const auto groups, shapes_to_generate(options, inputs, needless, profile, data.messages));
    BLADE_ASSIGN_OR_RETURN(data.feeds, generate_feeds(options, inputs, needless, groups));
  } else {
    data.source = "user provided";
    for (const auto& [given, name] : {std::pair(!options.input_shapes.empty(), "input_shapes"),
                                      std::pair(!options.input_ranges.empty(), "input_ranges")}) {
      if (given) data.messages.push_back(std::string(name) + " has no effect: test_data is given");
    }
  }
  data.profile = profile ? *std::move(profile) : hull_of(data.feeds);
  const bool has_profile = !options.tuning_shapes.empty();
  if (has_profile) {
    BLADE_RETURN_IF_ERROR(give_each_opt_a_feed(data));
  } else {
    leave_out_feeds_beyond_profile(data,
                                   "has other numbers of dims than the first; with such the original graph runs, and "
                                   "the model was measured without them");
  }
  describe(data, has_profile);
  return data;
}

std::optional<size_t> rank_of_data(const OptimizeOptions& options, const std::string& name, size_t index,
                                   const std::vector<Feed>& test_data) {
  std::set<size_t> ranks;
  for (const Feed& feed : test_data) {
    for (const NamedTensor& value : feed) {
      if (node_name(value.name) == node_name(name)) ranks.insert(value.tensor->dims.size());
    }
  }
  if (test_data.empty()) {
    for (const NamedShapes& group : options.input_shapes) {
      if (const ir::Dims* dims = group.find(index, name)) ranks.insert(dims->size());
    }
  }
  if (test_data.empty() && options.input_shapes.empty()) {
    if (const ir::Dims* dims = options.tuning_shapes.min.find(index, name)) ranks.insert(dims->size());
  }
  return ranks.size() == 1 ? std::optional(*ranks.begin()) : std::nullopt;
}

}  // namespace blade::optimizer
