// The engine format: what is written is read back, and a damaged, truncated, newer or hostile file is refused.
#include "engine/engine_file.h"

#include <gtest/gtest.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>
#include <random>

#include "engine/compress.h"
#include "engine/test_graphs.h"
#include "ir/serialize.h"

namespace blade::engine {
namespace {

using testing::GraphMaker;
using testing::random_tensor;

EngineFile write(const ir::Graph& graph, const Decisions& decisions = {}) {
  auto file = write_engine_file(graph, decisions);
  EXPECT_TRUE(file.ok()) << file.status().message();
  return std::move(file).value();
}

// One small weight inline, one stored weight used twice.
ir::Graph graph_with_shared_weight() {
  std::mt19937 rng(5);
  GraphMaker m;
  const auto weight = random_tensor(rng, {16, 16});
  auto y = m.node(ir::Op::kMatMul, "a", {m.input("x", {-1, 16}), m.constant(weight)}, ir::MatMulAttrs{});
  y = m.node(ir::Op::kMatMul, "b", {y, m.constant(weight)}, ir::MatMulAttrs{});
  y = m.binary(ir::PointwiseOp::kAdd, "bias", y, m.constant(random_tensor(rng, {16})));
  return m.finish({y});
}

TEST(EngineFile, RoundTripSharesWeightsAndAlignsThem) {
  const ir::Graph graph = graph_with_shared_weight();
  Decisions decisions;
  decisions.tuned_on = "zen4";
  const EngineFile file = write(graph, decisions);
  ASSERT_EQ(file.weights.size(), 1u);  // though two nodes read it
  for (const StoredWeight& weight : file.weights) {
    EXPECT_EQ(weight.offset % 64, 0u);
    const ir::Tensor& tensor = *weight.tensor;
    ASSERT_EQ(weight.bytes, tensor.bytes);
    EXPECT_EQ(std::memcmp(file.bytes.data() + weight.offset, tensor.data, tensor.bytes), 0);
  }
  EXPECT_LT(file.bytes.size(), 16 * 16 * 4 + 2048u);  // the weight once

  auto parsed = parse_engine_file(file.bytes, nullptr);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->decisions.tuned_on, "zen4");
  EXPECT_EQ(ir::to_string(parsed->graph), ir::to_string(graph));
  // Stored weights are read in place.
  const std::byte* begin = file.bytes.data();
  int in_place = 0;
  for (ir::ValueId v = 0; v < parsed->graph.num_values(); ++v) {
    const auto& constant = parsed->graph.value(v).constant;
    if (constant != nullptr && constant->bytes >= kMinStoredWeightBytes) {
      EXPECT_GE(constant->data, begin);
      EXPECT_LT(constant->data, begin + file.bytes.size());
      ++in_place;
    }
  }
  EXPECT_EQ(in_place, 2);
}

TEST(EngineFile, EveryFlippedBitIsRefused) {
  EngineFile file = write(graph_with_shared_weight());
  for (size_t i = 0; i < file.bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      file.bytes[i] ^= std::byte(1 << bit);
      auto parsed = parse_engine_file(file.bytes, nullptr);
      ASSERT_FALSE(parsed.ok()) << "byte " << i << " bit " << bit;
      file.bytes[i] ^= std::byte(1 << bit);
    }
  }
  EXPECT_TRUE(parse_engine_file(file.bytes, nullptr).ok());
}

TEST(EngineFile, EveryTruncationIsRefused) {
  const EngineFile file = write(graph_with_shared_weight());
  for (size_t size = 0; size < file.bytes.size(); ++size) {
    // A copy of exactly this size, so that a sanitizer sees reads past the end.
    const std::vector<std::byte> part(file.bytes.begin(), file.bytes.begin() + static_cast<ptrdiff_t>(size));
    ASSERT_FALSE(parse_engine_file(part, nullptr).ok()) << size;
  }
  std::vector<std::byte> longer = file.bytes;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(parse_engine_file(longer, nullptr).ok());
}

// Each in memory of its own, so that a sanitizer sees reads past an end.
struct Cut {
  Cut(const EngineFile& file, std::vector<size_t> starts) {
    starts.push_back(file.bytes.size());
    for (size_t i = 0; i + 1 < starts.size(); ++i)
      pieces.emplace_back(file.bytes.begin() + starts[i], file.bytes.begin() + starts[i + 1]);
  }
  Pieces view() const {
    std::vector<std::span<const std::byte>> spans(pieces.begin(), pieces.end());
    return Pieces(std::move(spans));
  }
  std::vector<std::vector<std::byte>> pieces;
};

TEST(EngineFile, PiecesAreReadWithoutJoiningThem) {
  std::mt19937 rng(7);
  GraphMaker m;
  auto y = m.input("x", {-1, 16});
  for (int i = 0; i < 4; ++i) {
    y = m.node(ir::Op::kMatMul, "m" + std::to_string(i), {y, m.constant(random_tensor(rng, {16, 16}))},
               ir::MatMulAttrs{});
  }
  const EngineFile file = write(m.finish({y}));
  ASSERT_EQ(file.weights.size(), 4u);

  EXPECT_EQ(piece_starts(file, file.bytes.size()), std::vector<size_t>{0});
  EXPECT_EQ(piece_starts(file, 1), (std::vector<size_t>{0, file.weights[0].offset, file.weights[1].offset,
                                                        file.weights[2].offset, file.weights[3].offset}));
  const size_t limit = file.weights[0].offset + 2048;
  const auto starts = piece_starts(file, limit);
  EXPECT_EQ(starts, (std::vector<size_t>{0, file.weights[2].offset}));
  const Cut cut(file, starts);
  auto parsed = parse_engine_file(cut.view(), nullptr);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  int in_place = 0;
  for (ir::ValueId v = 0; v < parsed->graph.num_values(); ++v) {
    const auto& constant = parsed->graph.value(v).constant;
    for (const auto& piece : cut.pieces) {
      in_place += constant != nullptr && constant->data >= piece.data() && constant->data < piece.data() + piece.size();
    }
  }
  EXPECT_EQ(in_place, 4);
}

TEST(EngineFile, DamagedPiecesAreRefused) {
  const EngineFile file = write(graph_with_shared_weight());
  const size_t weight = file.weights[0].offset;
  ASSERT_TRUE(parse_engine_file(Cut(file, {0, weight}).view(), nullptr).ok());
  for (size_t at = 1; at < file.bytes.size(); ++at) {  // inside a weight, the header, another section
    const auto parsed = parse_engine_file(Cut(file, {0, at}).view(), nullptr);
    if (at < 128 || (at > weight && at < weight + file.weights[0].bytes)) {
      EXPECT_FALSE(parsed.ok()) << at;
    }
  }
  Cut cut(file, {0, weight});
  std::swap(cut.pieces[0], cut.pieces[1]);
  EXPECT_FALSE(parse_engine_file(cut.view(), nullptr).ok());
  std::swap(cut.pieces[0], cut.pieces[1]);
  cut.pieces[1][5] ^= std::byte{1};
  EXPECT_NE(parse_engine_file(cut.view(), nullptr).status().message().find("checksum"), std::string::npos);
  cut.pieces.pop_back();
  EXPECT_FALSE(parse_engine_file(cut.view(), nullptr).ok());
  EXPECT_FALSE(parse_engine_file(Pieces(), nullptr).ok());
}

TEST(EngineFile, ANewerVersionSaysWhatToDo) {
  EngineFile file = write(graph_with_shared_weight());
  const uint32_t newer = kEngineFormatVersion + 1;
  std::memcpy(file.bytes.data() + 8, &newer, sizeof(newer));
  const Status status = parse_engine_file(file.bytes, nullptr).status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find(
                "was written by a newer Blade (format 2, this one reads 1): upgrade Blade or optimize again"),
            std::string::npos)
      << status.message();
}

TEST(EngineFile, OtherFilesAreNamedAsSuch) {
  const std::string text =
      "this is no engine at all, but a text that is longer than a header would be "
      "..........................................................";
  const auto bytes = std::as_bytes(std::span(text));
  EXPECT_NE(parse_engine_file(bytes, nullptr).status().message().find("no Blade engine"), std::string::npos);
  EXPECT_FALSE(parse_engine_file(std::span<const std::byte>(), nullptr).ok());
}

TEST(EngineFile, NoiseIsRefused) {
  std::mt19937 rng(11);
  const EngineFile file = write(graph_with_shared_weight());
  for (int round = 0; round < 500; ++round) {
    std::vector<std::byte> noise(file.bytes.begin(), file.bytes.begin() + 12);
    noise.resize(12 + rng() % 400);
    for (size_t i = 12; i < noise.size(); ++i) noise[i] = std::byte(rng());
    EXPECT_FALSE(parse_engine_file(noise, nullptr).ok());
  }
}

// Offsets of the header's fields.
constexpr size_t kVersionAt = 8, kHeaderSizeAt = 12, kFlagsAt = 24, kDecisionsAt = 32, kModelAt = 48, kWeightsAt = 64;

template <class T>
T& field(std::vector<std::byte>& bytes, size_t at) {
  return *reinterpret_cast<T*>(bytes.data() + at);
}

std::string refusal_behind_a_right_checksum(std::vector<std::byte> bytes) {
  field<uint64_t>(bytes, 80) = 0;
  field<uint64_t>(bytes, 80) = XXH3_64bits(bytes.data(), bytes.size());
  return parse_engine_file(bytes, nullptr).status().message();
}

TEST(EngineFile, EachFieldOfTheHeaderIsChecked) {
  const EngineFile file = write(graph_with_shared_weight());
  const auto with = [&]<class T>(size_t at, T value) {
    std::vector<std::byte> bytes = file.bytes;
    field<T>(bytes, at) = value;
    return refusal_behind_a_right_checksum(std::move(bytes));
  };
  const auto says = [](const std::string& message, const char* what) {
    EXPECT_NE(message.find(what), std::string::npos) << message << ", expected: " << what;
  };
  says(with(kVersionAt, uint32_t{0}), "its format version is 0");
  says(with(kHeaderSizeAt, uint32_t{64}), "its header says 64 bytes");
  says(with(kFlagsAt, uint64_t{1}), "its flags are not 0");
  for (const size_t section : {kDecisionsAt, kModelAt, kWeightsAt}) {
    for (const uint64_t wrong : {uint64_t{0}, uint64_t{64}, uint64_t{file.bytes.size() + 64}, ~uint64_t{63}})
      says(with(section, wrong), "a section lies outside the file");
    for (const uint64_t wrong : {uint64_t{file.bytes.size()}, ~uint64_t{0}})
      says(with(section + 8, wrong), "a section lies outside the file");
  }
  says(with(kWeightsAt, uint64_t{file.weights[0].offset - 8}), "a section lies outside the file");
  says(with(kWeightsAt + 8, uint64_t{64}), "a weight lies outside the weights section");
  const std::vector<std::byte> begin(file.bytes.begin(), file.bytes.begin() + 100);
  says(parse_engine_file(begin, nullptr).status().message(), "it has only 100 bytes");
}

TEST(EngineFile, EachReferenceToAWeightIsChecked) {
  std::mt19937 rng(5);
  const ir::TensorPtr weight = random_tensor(rng, {16, 32});
  ir::Tensor shorter = *weight;
  shorter.bytes = kMinStoredWeightBytes;  // half of it
  const auto refusal = [&](uint64_t offset, const ir::TensorPtr& tensor) {
    GraphMaker m;
    const ir::Graph graph =
        m.finish({m.node(ir::Op::kMatMul, "a", {m.input("x", {-1, 16}), m.constant(tensor)}, ir::MatMulAttrs{})});
    const EngineFile file = write(graph);
    const auto model = compress(ir::serialize(graph, [&](const ir::Value&) { return std::optional(offset); }));
    EXPECT_TRUE(model.ok());
    // The same file with another model behind it.
    std::vector<std::byte> bytes = file.bytes;
    const uint64_t at = bytes.size();
    const auto* data = reinterpret_cast<const std::byte*>(model->data());
    bytes.insert(bytes.end(), data, data + model->size());
    field<uint64_t>(bytes, 16) = bytes.size();
    field<uint64_t>(bytes, kModelAt) = at;
    field<uint64_t>(bytes, kModelAt + 8) = model->size();
    field<uint64_t>(bytes, kWeightsAt + 8) = bytes.size() - file.weights[0].offset;
    return refusal_behind_a_right_checksum(std::move(bytes));
  };
  EXPECT_EQ(refusal(0, weight), "");
  for (const uint64_t offset : {uint64_t{4}, uint64_t{4096}, ~uint64_t{63}})
    EXPECT_NE(refusal(offset, weight).find("a weight lies outside the weights section"), std::string::npos) << offset;
  EXPECT_NE(refusal(0, std::make_shared<ir::Tensor>(shorter)), "");
}

TEST(Compress, DamagedStreamsAreRefused) {
  const std::string plain(5000, 'x');
  const std::string packed = *compress(plain);
  const auto unpacked = [](std::string bytes) { return decompress(std::as_bytes(std::span(bytes))); };
  EXPECT_EQ(*unpacked(packed), plain);
  EXPECT_FALSE(unpacked("1234567").ok());
  EXPECT_FALSE(unpacked(packed.substr(0, packed.size() - 6)).ok());  // the stream does not end
  for (const uint64_t size : {uint64_t{4999}, uint64_t{5001}, ~uint64_t{0}}) {
    std::string other = packed;
    std::memcpy(other.data(), &size, sizeof(size));
    EXPECT_FALSE(unpacked(other).ok()) << size;
  }
}

// Whoever computes a right checksum still must not do harm.
TEST(EngineFile, DamageBehindARightChecksumIsSafe) {
  std::mt19937 rng(13);
  const EngineFile file = write(graph_with_shared_weight());
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::byte> bytes = file.bytes;
    const size_t end = bytes.size() - 16 * 16 * 4;  // weights are only data
    for (int k = 0; k < 1 + round % 4; ++k) bytes[12 + rng() % (end - 12)] = std::byte(rng());
    std::memset(bytes.data() + 80, 0, 8);
    const uint64_t checksum = XXH3_64bits(bytes.data(), bytes.size());
    std::memcpy(bytes.data() + 80, &checksum, 8);
    (void)parse_engine_file(bytes, nullptr).ok();
  }
}

}  // namespace
}  // namespace blade::engine
