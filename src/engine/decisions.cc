// Decisions to JSON and back: the file is hostile until every field has the type and the range it needs.
#include "engine/decisions.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/half.h"

namespace blade::engine {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxJsonBytes = size_t{64} << 20;
constexpr size_t kMaxRank = 32;
constexpr size_t kMaxShapes = 4096;

Status wrong(const std::string& field, const std::string& expected) {
  return data_loss("The engine's decisions hold '" + field + "' that is not " + expected +
                   "; the file is damaged: optimize the model again.");
}

Json shapes_to_json(const std::vector<ir::Dims>& shapes) { return Json(shapes); }

Result<std::vector<ir::Dims>> shapes_from_json(const Json& json, const std::string& field) {
  if (!json.is_array() || json.size() > kMaxShapes) return wrong(field, "a list of shapes");
  std::vector<ir::Dims> shapes;
  for (const Json& shape : json) {
    if (!shape.is_array() || shape.size() > kMaxRank) return wrong(field, "a list of shapes");
    ir::Dims dims;
    for (const Json& dim : shape) {
      const bool number =
          dim.is_number_unsigned() ? dim.get<uint64_t>() <= uint64_t{INT64_MAX} : dim.is_number_integer();
      if (!number || dim.get<int64_t>() < 0) return wrong(field, "made of dims that are whole numbers of at least 0");
      dims.push_back(dim.get<int64_t>());
    }
    shapes.push_back(std::move(dims));
  }
  return shapes;
}

bool same_ranks(const std::vector<ir::Dims>& a, const std::vector<ir::Dims>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size()) return false;
  }
  return true;
}

Result<Profile> profile_from_json(const Json& json) {
  if (!json.contains("min") || !json.contains("max")) return wrong("profile", "an object with min and max");
  Profile profile;
  BLADE_ASSIGN_OR_RETURN(profile.min, shapes_from_json(json["min"], "profile.min"));
  BLADE_ASSIGN_OR_RETURN(profile.max, shapes_from_json(json["max"], "profile.max"));
  if (!same_ranks(profile.min, profile.max)) return wrong("profile.max", "of the ranks of profile.min");
  if (json.contains("opts")) {
    const Json& opts = json["opts"];
    if (!opts.is_array() || opts.size() > kMaxShapes) return wrong("profile.opts", "a list of groups of shapes");
    for (const Json& group : opts) {
      BLADE_ASSIGN_OR_RETURN(std::vector<ir::Dims> shapes, shapes_from_json(group, "profile.opts"));
      if (!same_ranks(profile.min, shapes)) return wrong("profile.opts", "of the ranks of profile.min");
      profile.opts.push_back(std::move(shapes));
    }
  }
  return profile;
}

Status read_string(const Json& json, const char* field, std::string& out) {
  const auto it = json.find(field);
  if (it == json.end()) return {};
  if (!it->is_string()) return wrong(field, "a string");
  out = it->get<std::string>();
  return {};
}

Status read_num_threads(const Json& json, int& out) {
  const auto it = json.find("num_threads");
  if (it == json.end()) return {};
  if (!it->is_number_integer() || *it < 0 || *it > 1024) return wrong("num_threads", "0 to 1024");
  out = it->get<int>();
  return {};
}

Status read_flag(const Json& json, const char* field, bool& out) {
  const auto it = json.find(field);
  if (it == json.end()) return {};
  if (!it->is_boolean()) return wrong(field, "true or false");
  out = it->get<bool>();
  return {};
}

Status read_kernels(const Json& json, std::map<std::string, std::string>& out) {
  const auto it = json.find("kernels");
  if (it == json.end()) return {};
  if (!it->is_object()) return wrong("kernels", "an object of strings");
  for (const auto& [signature, name] : it->items()) {
    if (!name.is_string()) return wrong("kernels", "an object of strings");
    out.emplace(signature, name.get<std::string>());
  }
  return {};
}

// A list in the order of the kernels, which are sorted.
Status read_figures(const Json& json, const std::map<std::string, std::string>& kernels,
                    std::map<std::string, TunedFigures>& out) {
  const auto it = json.find("kernel_figures");
  if (it == json.end()) return {};
  if (!it->is_array() || it->size() != kernels.size()) return wrong("kernel_figures", "a list of one entry a kernel");
  auto kernel = kernels.begin();
  for (const Json& entry : *it) {
    const std::string& signature = (kernel++)->first;
    if (entry.is_null()) continue;
    const bool whole =
        entry.is_array() && entry.size() == 3 && entry[0].is_string() && entry[1].is_number() && entry[2].is_number();
    if (!whole) return wrong("kernel_figures", "made of a name and two times");
    out[signature] = {entry[0].get<std::string>(), entry[1].get<double>(), entry[2].get<double>()};
  }
  return {};
}

// Four hexadecimal digits a number: means, then variances.
std::string moments_to_text(const passes::InputMoments& moments) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const auto* numbers : {&moments.means, &moments.variances}) {
    for (const float number : *numbers) {
      const uint16_t bits = float_to_bfloat16(number);
      for (int shift = 12; shift >= 0; shift -= 4) text += kDigits[(bits >> shift) & 15];
    }
  }
  return text;
}

std::optional<passes::InputMoments> moments_from_text(const std::string& text) {
  if (text.size() % 8 != 0) return std::nullopt;
  passes::InputMoments moments;
  for (size_t at = 0; at < text.size(); at += 4) {
    uint16_t bits = 0;
    for (size_t i = at; i < at + 4; ++i) {
      const char c = text[i];
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
      if (digit < 0) return std::nullopt;
      bits = static_cast<uint16_t>(bits << 4 | digit);
    }
    const float number = bfloat16_to_float(bits);
    const bool is_variance = at >= text.size() / 2;
    if (!std::isfinite(number) || (is_variance && number < 0)) return std::nullopt;
    (is_variance ? moments.variances : moments.means).push_back(number);
  }
  return moments;
}

Status read_moments(const Json& json, std::map<std::string, passes::InputMoments>& out) {
  const auto it = json.find("input_moments");
  if (it == json.end()) return {};
  const auto refused = [] { return wrong("input_moments", "an object of finite numbers in hexadecimal digits"); };
  if (!it->is_object()) return refused();
  for (const auto& [node, text] : it->items()) {
    std::optional<passes::InputMoments> moments;
    if (text.is_string()) moments = moments_from_text(text.get<std::string>());
    if (!moments) return refused();
    out.emplace(node, std::move(*moments));
  }
  return {};
}

Status read_strings(const Json& json, const char* field, std::vector<std::string>& out) {
  const auto it = json.find(field);
  if (it == json.end()) return {};
  if (!it->is_array()) return wrong(field, "a list of strings");
  for (const Json& name : *it) {
    if (!name.is_string()) return wrong(field, "a list of strings");
    out.push_back(name.get<std::string>());
  }
  return {};
}

}  // namespace

bool Profile::contains(std::span<const ir::Dims> input_dims) const {
  if (input_dims.size() != min.size()) return false;
  for (size_t i = 0; i < input_dims.size(); ++i) {
    const ir::Dims& dims = input_dims[i];
    if (dims.size() != min[i].size()) return false;
    for (size_t d = 0; d < dims.size(); ++d) {
      if (dims[d] < min[i][d] || dims[d] > max[i][d]) return false;
    }
  }
  return true;
}

std::string Decisions::to_json() const {
  Json json = {{"blade_version", blade_version},
               {"tuned_on", tuned_on},
               {"disabled_passes", disabled_passes},
               {"kernels", kernels},
               {"device", device},
               {"precision", precision}};
  if (!keep_float32.empty()) json["keep_float32"] = keep_float32;
  if (for_tiles) json["for_tiles"] = true;
  if (!input_moments.empty()) {
    Json by_node = Json::object();
    for (const auto& [node, moments] : input_moments) by_node[node] = moments_to_text(moments);
    json["input_moments"] = std::move(by_node);
  }
  if (!figures.empty()) {
    Json list = Json::array();
    for (const auto& [signature, name] : kernels) {
      const auto found = figures.find(signature);
      if (found == figures.end()) {
        list.push_back(nullptr);
      } else {
        list.push_back({found->second.static_choice, found->second.static_us, found->second.us});
      }
    }
    json["kernel_figures"] = std::move(list);
  }
  if (num_threads != 0) json["num_threads"] = num_threads;
  if (profile) {
    Json opts = Json::array();
    for (const auto& group : profile->opts) opts.push_back(shapes_to_json(group));
    json["profile"] = {{"min", shapes_to_json(profile->min)}, {"max", shapes_to_json(profile->max)}, {"opts", opts}};
  }
  // Names may hold bytes that are not UTF-8; they are for people only.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<Decisions> Decisions::from_json(std::string_view text) {
  if (text.size() > kMaxJsonBytes) return wrong("text", "under 64 MiB");
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return wrong("text", "a JSON object");
  Decisions decisions;
  BLADE_RETURN_IF_ERROR(read_string(json, "blade_version", decisions.blade_version));
  BLADE_RETURN_IF_ERROR(read_string(json, "tuned_on", decisions.tuned_on));
  BLADE_RETURN_IF_ERROR(read_string(json, "device", decisions.device));
  BLADE_RETURN_IF_ERROR(read_string(json, "precision", decisions.precision));
  BLADE_RETURN_IF_ERROR(read_strings(json, "keep_float32", decisions.keep_float32));
  BLADE_RETURN_IF_ERROR(read_flag(json, "for_tiles", decisions.for_tiles));
  BLADE_RETURN_IF_ERROR(read_strings(json, "disabled_passes", decisions.disabled_passes));
  BLADE_RETURN_IF_ERROR(read_moments(json, decisions.input_moments));
  BLADE_RETURN_IF_ERROR(read_kernels(json, decisions.kernels));
  BLADE_RETURN_IF_ERROR(read_figures(json, decisions.kernels, decisions.figures));
  BLADE_RETURN_IF_ERROR(read_num_threads(json, decisions.num_threads));
  if (json.contains("profile")) {
    BLADE_ASSIGN_OR_RETURN(decisions.profile, profile_from_json(json["profile"]));
  }
  return decisions;
}

}  // namespace blade::engine
