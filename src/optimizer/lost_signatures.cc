// Signatures of a SavedModel that the optimized one does not offer.
#include "optimizer/lost_signatures.h"

#include <vector>

namespace blade::optimizer {
namespace {

Result<std::vector<std::string>> lost_signatures(const tensorflow::LoadedModel& model, const std::string& original,
                                                 const std::string& path, std::string_view optimized) {
  if (original.empty() || original == path) {
    BLADE_ASSIGN_OR_RETURN(
        const tensorflow::GraphDef graph,
        tensorflow::parse_graph_def(tensorflow::SharedBytes::borrow(optimized), "the optimized graph"));
    return model.saved_model->signatures_lost_with(graph);
  }
  BLADE_ASSIGN_OR_RETURN(const tensorflow::SavedModel whole, tensorflow::SavedModel::load(original));
  BLADE_ASSIGN_OR_RETURN(const tensorflow::MetaGraph* serving, whole.serving());
  return tensorflow::signature_names(*serving);
}

}  // namespace

std::string about_lost_signatures(const tensorflow::LoadedModel& model, const std::string& original,
                                  const std::string& path, std::string_view optimized) {
  if (!model.saved_model) return "";
  auto lost = lost_signatures(model, original, path, optimized);
  if (!lost.ok()) return "";  // the meta graph that TensorFlow froze has other tags
  std::erase(*lost, model.signature);
  if (lost->empty()) return "";
  std::string list;
  for (const std::string& name : *lost) list += (list.empty() ? "'" : ", '") + name + "'";
  const bool one = lost->size() == 1;
  return "the result offers the signature '" + model.signature + "' and not " + list +
         (one ? ", which stays" : ", which stay") + " in the original alone: optimize " + (one ? "it" : "each") +
         " by itself, with the argument signature, or go on serving the original beside this";
}

}  // namespace blade::optimizer
