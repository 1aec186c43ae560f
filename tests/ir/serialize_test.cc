// The portable graph format: exact round trips, and every corruption is an error or a sound graph, never a crash.
#include "ir/serialize.h"

#include <random>

#include "infer_test_util.h"

namespace blade::testing {
namespace {

std::span<const std::byte> bytes_of(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

ir::Graph sample() {
  GraphBuilder b;
  const auto x = b.input("x", {-1, -1, -1, 3});
  ir::ConvAttrs conv;
  conv.strides = {2, 2};
  conv.dilations = {1, 1};
  conv.padding = ir::Padding::kExplicit;
  conv.explicit_pads = {1, 1, 1, 1};
  conv.epilogue = compose(ir::PointwiseProgram::binary(P::kAdd), ir::PointwiseProgram::unary(P::kClip, 0, 6), 0);
  const auto y =
      b.op(Op::kConv, {x, b.filled<float>({3, 3, 3, 8}, 0.5f, "w"), b.filled<float>({8}, 1.f, "bias")}, conv, "conv");
  const auto dead = b.relu(y);
  const auto shape = b.shape_of(y);
  const auto last =
      b.op(Op::kStridedSlice, {shape, b.ints({-1}), b.ints({0}), b.ints({1})}, ir::StridedSliceAttrs{0, 1, 0, 0, 0});
  const auto target = b.op(Op::kConcat, {b.ints({-1}), last}, ir::AxisAttrs{0});
  const auto flat = b.op(Op::kReshape, {y, target}, ir::EmptyAttrs{}, "flat");
  const auto parts = b.ops(Op::kSplit, {flat}, 2, ir::SplitAttrs{1, {3, -1}}, "split");
  const auto where = b.op(Op::kWhere, {b.pointwise(P::kGreater, {parts[0], b.scalar(0.f)})}, ir::EmptyAttrs{}, "where");
  const auto e = b.op(Op::kEinsum, {parts[1], parts[1]}, ir::EinsumAttrs{"ab,ac->bc"});
  const auto foreign = b.ops(Op::kForeign, {where}, 1, ir::ForeignAttrs{"Custom", "no kernel", true}, "foreign");
  b.graph().value(y).name = "conv:0";
  b.output(e, "e").output(foreign[0], "f").output(dead, "d");
  ir::Graph g = b.build();
  g.node(g.value(foreign[0]).producer).control_inputs = {0};
  g.node(0).origin = 17;
  g.replace_uses(dead, y);
  g.remove_dead_nodes();
  return g;
}

TEST(Serialize, RoundTripsExactly) {
  const ir::Graph g = sample();
  const std::string bytes = ir::serialize(g, nullptr);
  const auto back = ir::deserialize(bytes_of(bytes), nullptr);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(to_string(*back), to_string(g));
  EXPECT_EQ(ir::serialize(*back, nullptr), bytes);
  EXPECT_EQ(back->node(0).origin, 17);
  EXPECT_EQ(back->num_values(), g.num_values());
  EXPECT_EQ(back->node(0).attrs, g.node(0).attrs);
  EXPECT_EQ(back->output_names(), g.output_names());
}

TEST(Serialize, SymbolsKeepTheirMeaning) {
  GraphBuilder b;
  const auto x = b.input("x", {-1, -1});
  ir::Graph g = b.output(b.reshape(x, {-1, 4})).build();
  const auto back = ir::deserialize(bytes_of(ir::serialize(g, nullptr)), nullptr);
  ASSERT_TRUE(back.ok()) << back.status().message();
  ir::Graph again = back->clone();
  ASSERT_TRUE(ir::infer_shapes(again).ok());
  EXPECT_EQ(again.value(again.outputs()[0]).shape, back->value(back->outputs()[0]).shape);
  EXPECT_EQ(again.symbols().size(), back->symbols().size());
}

TEST(Serialize, ConstantsByReference) {
  GraphBuilder b;
  const auto w = b.constant<float>({4}, {1, 2, 3, 4}, "w");
  const ir::Graph g = b.output(b.add(b.input("x", {4}), w), "y").build();
  const std::string bytes = ir::serialize(g, [](const ir::Value&) { return std::optional<uint64_t>(128); });
  const auto back = ir::deserialize(bytes_of(bytes), [&](DType dtype, ir::Dims dims, uint64_t offset, uint64_t size) {
    EXPECT_EQ(offset, 128u);
    EXPECT_EQ(size, 16u);
    EXPECT_EQ(dtype, DType::kFloat32);
    EXPECT_EQ(dims, ir::Dims{4});
    return Result<ir::TensorPtr>(g.value(w).constant);
  });
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->value(w).constant.get(), g.value(w).constant.get());
  EXPECT_FALSE(ir::deserialize(bytes_of(bytes), nullptr).ok());
  const auto refused = ir::deserialize(
      bytes_of(bytes),
      [](DType, ir::Dims, uint64_t, uint64_t) -> Result<ir::TensorPtr> { return data_loss("out of bounds"); });
  EXPECT_EQ(refused.status().message(), "out of bounds");
}

TEST(Serialize, NewerVersionsSaySo) {
  std::string bytes = ir::serialize(sample(), nullptr);
  bytes[0] = 3;
  EXPECT_EQ(ir::deserialize(bytes_of(bytes), nullptr).status().code(), StatusCode::kFailedPrecondition);
}

TEST(Serialize, EveryTruncationIsAnError) {
  const std::string bytes = ir::serialize(sample(), nullptr);
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(ir::deserialize(bytes_of(bytes.substr(0, n)), nullptr).ok()) << n;
  }
  EXPECT_FALSE(ir::deserialize(bytes_of(bytes + "x"), nullptr).ok());
}

void read_hostile(const std::string& bytes) {
  const auto back = ir::deserialize(bytes_of(bytes), nullptr);
  if (!back.ok()) {
    EXPECT_FALSE(back.status().message().empty());
    return;
  }
  EXPECT_TRUE(ir::verify(*back).ok());
  (void)to_string(*back);
  std::vector<ir::Dims> dims;
  for (const auto id : back->inputs()) dims.push_back(ir::Dims(back->value(id).shape.rank(), 3));
  (void)ir::specialize(*back, dims);
}

TEST(Serialize, RandomCorruptionsAreSafe) {
  const std::string good = ir::serialize(sample(), nullptr);
  std::mt19937 rng(11);
  for (int round = 0; round < 5000; ++round) {
    std::string bytes = good;
    const int changes = 1 + static_cast<int>(rng() % 4);
    for (int i = 0; i < changes; ++i) {
      const size_t at = rng() % bytes.size();
      switch (rng() % 4) {
        case 0:
          bytes[at] = static_cast<char>(rng());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << (rng() % 8)));
          break;
        case 2:
          bytes.erase(at, 1 + rng() % 3);
          break;
        default:
          bytes.insert(at, 1 + rng() % 3, static_cast<char>(rng()));
          break;
      }
    }
    read_hostile(bytes);
  }
}

TEST(Serialize, RandomBytesAreSafe) {
  std::mt19937 rng(12);
  for (int round = 0; round < 500; ++round) {
    std::string bytes(rng() % 300, '\0');
    for (char& c : bytes) c = static_cast<char>(rng());
    if (!bytes.empty()) bytes[0] = 1;
    read_hostile(bytes);
  }
}

}  // namespace
}  // namespace blade::testing
