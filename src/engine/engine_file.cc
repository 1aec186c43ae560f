// Writes and reads the engine format of docs/engine-format.md. Reading checks everything before it believes anything.
#include "engine/engine_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "base/checked_math.h"
#include "base/checksum.h"
#include "engine/compress.h"
#include "ir/serialize.h"

namespace blade::engine {
namespace {

static_assert(std::endian::native == std::endian::little, "the engine format is little endian");

constexpr char kMagic[8] = {'B', 'L', 'A', 'D', 'E', 'E', 'N', 'G'};
constexpr size_t kAlignment = 64;

struct Section {
  uint64_t offset, size;
};

// The first 128 bytes of the file, field for field as documented.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t header_size;
  uint64_t file_size;
  uint64_t flags;
  Section decisions, model, weights;
  uint64_t checksum;
  uint64_t reserved[5];
};
static_assert(sizeof(Header) == 128);

// Over the header with a checksum of 0 and everything after it.
uint64_t checksum_of(Header header, const Pieces& file) {
  header.checksum = 0;
  std::vector<std::span<const std::byte>> pieces(file.list().begin(), file.list().end());
  pieces[0] = pieces[0].subspan(sizeof(header));
  pieces.insert(pieces.begin(), std::as_bytes(std::span(&header, 1)));
  return checksum(pieces);
}

Status damaged(const std::string& found) {
  return data_loss("The engine file is damaged: " + found + "; copy it again or optimize the model again.");
}

bool inside(const Section& section, uint64_t file_size) {
  const auto end = checked_add(section.offset, section.size);
  return end && *end <= file_size && section.offset >= sizeof(Header);
}

// `bytes`: the file, or the first piece of it.
Result<Header> read_header(std::span<const std::byte> bytes, uint64_t file_size) {
  if (bytes.size() < sizeof(Header) || !has_engine_magic(bytes)) {
    const bool begins_right = has_engine_magic(bytes);
    if (begins_right) return damaged("it has only " + std::to_string(bytes.size()) + " bytes");
    return data_loss("These " + std::to_string(bytes.size()) +
                     " bytes are no Blade engine (they do not begin with BLADEENG): give a file that Blade wrote.");
  }
  Header header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.version > kEngineFormatVersion) {
    return failed_precondition("The engine was written by a newer Blade (format " + std::to_string(header.version) +
                               ", this one reads " + std::to_string(kEngineFormatVersion) +
                               "): upgrade Blade or optimize again.");
  }
  if (header.version == 0) return damaged("its format version is 0");
  if (header.header_size != sizeof(Header)) {
    return damaged("its header says " + std::to_string(header.header_size) + " bytes, expected 128");
  }
  if (header.flags != 0) return damaged("its flags are not 0");
  if (header.file_size != file_size) {
    return damaged("it has " + std::to_string(file_size) + " bytes, its header says " +
                   std::to_string(header.file_size));
  }
  return header;
}

// Constants that are the same bytes get one place; offsets count from the start of the weights section.
class WeightLayout {
 public:
  void add(const ir::Value& value) {
    const ir::Tensor& tensor = *value.constant;
    if (tensor.bytes < kMinStoredWeightBytes) return;
    const auto [it, is_new] = places_.try_emplace({tensor.data, tensor.bytes}, size_);
    if (is_new) {
      order_.push_back(&tensor);
      size_ = align_up(size_ + tensor.bytes, kAlignment);
    }
    if (is_new) tensors_.emplace_back(value.constant, it->second);
  }
  // All constants of the graph and of the graphs that its nodes hold.
  void add(const ir::Graph& graph) {
    for (ir::ValueId id = 0; id < graph.num_values(); ++id) {
      if (graph.value(id).is_constant()) add(graph.value(id));
    }
    for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
      if (!graph.is_live(id)) continue;
      const auto* attrs = std::get_if<ir::SubGraphsAttrs>(&graph.node(id).attrs);
      for (size_t i = 0; attrs != nullptr && i < attrs->graphs.size(); ++i) add(*attrs->graphs[i]);
    }
  }
  std::optional<uint64_t> place(const ir::Tensor& tensor) const {
    const auto it = places_.find({tensor.data, tensor.bytes});
    return it == places_.end() ? std::nullopt : std::optional<uint64_t>(it->second);
  }
  size_t size() const { return size_; }
  const std::vector<const ir::Tensor*>& order() const { return order_; }
  const std::vector<std::pair<ir::TensorPtr, uint64_t>>& tensors() const { return tensors_; }

 private:
  std::map<std::pair<const std::byte*, size_t>, uint64_t> places_;
  std::vector<std::pair<ir::TensorPtr, uint64_t>> tensors_;
  std::vector<const ir::Tensor*> order_;
  size_t size_ = 0;
};

}  // namespace

Result<EngineFile> write_engine_file(const ir::Graph& graph, const Decisions& decisions) {
  WeightLayout layout;
  layout.add(graph);
  const std::string json = decisions.to_json();
  BLADE_ASSIGN_OR_RETURN(
      const std::string model,
      compress(ir::serialize(graph, [&](const ir::Value& value) { return layout.place(*value.constant); })));

  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kEngineFormatVersion;
  header.header_size = sizeof(Header);
  header.decisions = {sizeof(Header), json.size()};
  header.model = {align_up(sizeof(Header) + json.size(), 8), model.size()};
  header.weights = {align_up(header.model.offset + model.size(), kAlignment), layout.size()};
  header.file_size = header.weights.offset + header.weights.size;

  EngineFile file;
  try {
    file.bytes.resize(header.file_size);
  } catch (const std::bad_alloc&) {
    return resource_exhausted("There is no memory for an engine of " + std::to_string(header.file_size) + " bytes.");
  }
  std::memcpy(file.bytes.data() + header.decisions.offset, json.data(), json.size());
  std::memcpy(file.bytes.data() + header.model.offset, model.data(), model.size());
  size_t at = header.weights.offset;
  for (const ir::Tensor* tensor : layout.order()) {
    std::memcpy(file.bytes.data() + at, tensor->data, tensor->bytes);
    at = align_up(at + tensor->bytes, kAlignment);
  }
  header.checksum = checksum_of(header, Pieces(file.bytes));
  std::memcpy(file.bytes.data(), &header, sizeof(header));
  for (const auto& [tensor, offset] : layout.tensors()) {
    file.weights.push_back({tensor, header.weights.offset + offset, tensor->bytes});
  }
  return file;
}

std::vector<size_t> piece_starts(const EngineFile& file, size_t limit) {
  std::vector<size_t> starts = {0};
  for (const StoredWeight& weight : file.weights) {
    if (weight.offset > starts.back() && weight.offset + weight.bytes > starts.back() + limit)
      starts.push_back(weight.offset);
  }
  return starts;
}

bool has_engine_magic(std::span<const std::byte> bytes) {
  return bytes.size() >= sizeof(kMagic) && std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) == 0;
}

Result<ParsedEngine> parse_engine_file(const Pieces& file, std::shared_ptr<const void> owner) {
  const std::span<const std::byte> first = file.list().empty() ? std::span<const std::byte>() : file.list()[0];
  BLADE_ASSIGN_OR_RETURN(const Header header, read_header(first, file.size()));
  if (checksum_of(header, file) != header.checksum) return damaged("its checksum does not match its content");
  // A matching checksum only means that somebody computed one: everything below is still checked.
  const auto json = file.find(header.decisions.offset, header.decisions.size);
  const auto compressed = file.find(header.model.offset, header.model.size);
  if (!json || !compressed || !inside(header.decisions, file.size()) || !inside(header.model, file.size()) ||
      !inside(header.weights, file.size()) || header.weights.offset % kAlignment != 0) {
    return damaged("a section lies outside the file");
  }
  BLADE_ASSIGN_OR_RETURN(Decisions decisions,
                         Decisions::from_json({reinterpret_cast<const char*>(json->data()), json->size()}));
  const ir::ConstantLoader load = [&](ir::DType dtype, ir::Dims dims, uint64_t offset,
                                      uint64_t size) -> Result<ir::TensorPtr> {
    const auto end = checked_add(offset, size);
    const auto count = checked_element_count(dims);
    const auto expected =
        count ? checked_mul<uint64_t>(static_cast<uint64_t>(*count), ir::dtype_size(dtype)) : std::nullopt;
    if (!end || *end > header.weights.size || !expected || *expected != size || offset % kAlignment != 0) {
      return damaged("a weight lies outside the weights section");
    }
    const auto data = file.find(header.weights.offset + offset, size);
    if (!data) return damaged("a weight does not lie in one piece of it");
    auto tensor = std::make_shared<ir::Tensor>();
    tensor->dtype = dtype;
    tensor->dims = std::move(dims);
    tensor->data = data->data();
    tensor->bytes = size;
    tensor->owner = owner;
    return ir::TensorPtr(std::move(tensor));
  };
  const auto model = decompress(*compressed);
  if (!model.ok()) return damaged(model.status().message());
  auto graph = ir::deserialize(std::as_bytes(std::span(*model)), load);
  if (!graph.ok()) return graph.status().with_context("The engine file is damaged");
  return ParsedEngine{std::move(graph).value(), std::move(decisions)};
}

}  // namespace blade::engine
