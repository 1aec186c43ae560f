// The feeds that optimizing measures and checks with: the user's, or generated from shapes and ranges.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"
#include "optimizer/options.h"
#include "optimizer/tensorflow_library.h"

namespace blade::optimizer {

using Feed = std::vector<NamedTensor>;  // one entry a model input, in the model's order

// The inputs, by node name, that no output of `graph` needs and any values do for: of a signature's, where some of its
// outputs are asked for. Those of types that engines do not have are among them where `strings` has them.
std::set<std::string> needless_inputs(const ir::Graph& graph, const std::set<std::string>& strings);

// Gives each feed zeros, or empty strings, for the `needless` inputs that it lacks. They have the shapes of `least`,
// where it names them, else 1 for unknown dims.
Status add_needless_values(const std::vector<engine::TensorInfo>& inputs, const std::set<std::string>& needless,
                           const NamedShapes& least, std::vector<Feed>& feeds);

// Orders the user's feeds as `inputs` and checks names, dtypes, ranks and known dims. The error names the input, what
// was found and what was expected.
Result<std::vector<Feed>> check_feeds(const std::vector<Feed>& given, const std::vector<engine::TensorInfo>& inputs);

// Nobody means values that take minutes to make, and the layers behind them take memory, too: an error where those of
// all groups of shapes (one an input) together take more than 4 GiB.
Status check_generated_size(const std::vector<engine::TensorInfo>& inputs,
                            const std::vector<std::vector<ir::Dims>>& groups);

// One feed of seeded values: floats and integers uniform in the range given for each input (default [0,1] for floats,
// [0,1] for integers), booleans alternating; empty strings for those inputs of strings that are `needless`.
Result<Feed> generate_feed(const std::vector<engine::TensorInfo>& inputs, const std::vector<ir::Dims>& shapes,
                           const std::vector<std::pair<double, double>>& ranges,
                           const std::set<std::string>& needless = {});

// `feed` repeated or cropped along every dim to the given shapes: realistic data at another shape.
Result<Feed> resize_feed(const Feed& feed, const std::vector<ir::Dims>& shapes);

// Other data of the same shapes and ranges, the same for each seed: floats drawn between the smallest and the largest
// of the feed's for even seeds; otherwise the feed's own elements in another order. Strings stay.
Result<Feed> vary_feed(const Feed& feed, uint64_t seed);

// The feed with noise of a tenth to nine tenths of its floats' deviation, within their range, by seeds; other elements
// in another order. Strings stay.
Result<Feed> disturb_feed(const Feed& feed, uint64_t seed);

std::vector<ir::Dims> shapes_of(const Feed& feed);
const char* dtype_text(ir::DType dtype);           // "float32"; "string" for what is not numbers
std::string dims_to_string(const ir::Dims& dims);  // "(1, 224, 224, 3)"
std::string shapes_to_string(const Feed& feed);    // those of all inputs

}  // namespace blade::optimizer
