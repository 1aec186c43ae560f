// Turns regions into engine files and the graph that runs them.
#include "optimizer/candidate.h"

#include <algorithm>

#include "engine/engine_file.h"
#include "frontends/tensorflow/writer.h"

namespace blade::optimizer {
namespace {

// Nodes up to this size take memory from the allocator's free lists when TensorFlow copies them; see
// docs/performance/lessons.md.
constexpr size_t kMaxPieceBytes = size_t{4} << 20;

std::vector<int32_t> origins_of(const tensorflow::ImportedModel& model, const engine::Region& region) {
  std::vector<int32_t> origins;
  for (const ir::NodeId id : region.nodes) {
    const int32_t origin = model.graph.node(id).origin;
    if (origin >= 0) origins.push_back(origin);
    if (const auto group = model.groups.find(origin); group != model.groups.end()) {
      origins.insert(origins.end(), group->second.begin(), group->second.end());
    }
  }
  std::sort(origins.begin(), origins.end());
  origins.erase(std::unique(origins.begin(), origins.end()), origins.end());
  return origins;
}

std::vector<tensorflow::BoundaryTensor> boundary(const ir::Graph& graph, const std::vector<ir::ValueId>& values) {
  std::vector<tensorflow::BoundaryTensor> tensors;
  for (const ir::ValueId id : values) {
    tensors.push_back({engine::boundary_name(graph, id), graph.value(id).dtype, graph.value(id).shape});
  }
  return tensors;
}

Result<tensorflow::RegionToWrite> region_to_write(const tensorflow::ImportedModel& imported,
                                                  const engine::Region& region, const engine::Decisions& decisions) {
  BLADE_ASSIGN_OR_RETURN(const ir::Graph graph, engine::extract_region(imported.graph, region));
  BLADE_ASSIGN_OR_RETURN(engine::EngineFile file,
                         engine::write_engine_file(graph, region_decisions(imported.graph, graph, decisions)));
  tensorflow::RegionToWrite written;
  written.origins = origins_of(imported, region);
  written.inputs = boundary(imported.graph, region.inputs);
  written.outputs = boundary(imported.graph, region.outputs);
  for (const engine::StoredWeight& weight : file.weights) {
    const int32_t origin = tensorflow::source_constant(imported, *weight.tensor);
    if (origin >= 0) written.weights.push_back({origin, weight.offset, weight.bytes});
  }
  written.pieces = engine::piece_starts(file, kMaxPieceBytes);
  const auto bytes = std::make_shared<const std::vector<std::byte>>(std::move(file.bytes));
  written.engine = tensorflow::SharedBytes(bytes, {reinterpret_cast<const char*>(bytes->data()), bytes->size()});
  return written;
}

}  // namespace

engine::Decisions region_decisions(const ir::Graph& model, const ir::Graph& region,
                                   const engine::Decisions& decisions) {
  engine::Decisions narrowed = decisions;
  narrowed.profile.reset();
  if (!decisions.profile) return narrowed;
  engine::Profile profile;
  profile.opts.resize(decisions.profile->opts.size());
  for (const ir::ValueId id : region.inputs()) {
    const auto& inputs = model.inputs();
    const auto is_it = [&](ir::ValueId input) { return model.value(input).name == region.value(id).name; };
    const auto found = std::find_if(inputs.begin(), inputs.end(), is_it);
    if (found == inputs.end()) return narrowed;  // computed in TensorFlow: its bounds are not known here
    const size_t index = static_cast<size_t>(found - inputs.begin());
    profile.min.push_back(decisions.profile->min[index]);
    profile.max.push_back(decisions.profile->max[index]);
    for (size_t i = 0; i < profile.opts.size(); ++i) profile.opts[i].push_back(decisions.profile->opts[i][index]);
  }
  narrowed.profile = std::move(profile);
  return narrowed;
}

Result<Candidate> build_candidate(const tensorflow::ImportedModel& imported, const engine::Partition& partition,
                                  const engine::Decisions& decisions) {
  std::vector<tensorflow::RegionToWrite> regions;
  for (const engine::Region& region : partition.regions) {
    BLADE_ASSIGN_OR_RETURN(tensorflow::RegionToWrite written, region_to_write(imported, region, decisions));
    regions.push_back(std::move(written));
  }
  BLADE_ASSIGN_OR_RETURN(const tensorflow::GraphDef graph,
                         tensorflow::write_optimized(imported, imported.graph, regions));
  Candidate candidate;
  BLADE_ASSIGN_OR_RETURN(candidate.graph_def, tensorflow::serialize(graph));
  return candidate;
}

}  // namespace blade::optimizer
