// Reading and writing of the messages that several files here share; not for use outside this folder.
#pragma once

#include <string>

#include "frontends/tensorflow/proto/graph_def.h"
#include "frontends/tensorflow/proto/wire.h"

namespace blade::tensorflow {

// Each returns the reader's error. Outputs may be half filled then.
Status read_shape(const SharedBytes& wire, ParseContext& context, TensorShapeProto* shape);
void write_shape(const TensorShapeProto& shape, WireWriter& writer);

struct AttrReader {
  static Status read(const SharedBytes& wire, ParseContext& context, AttrValue* attr);

 private:
  static Status read_list(const SharedBytes& wire, ParseContext& context, AttrList* list);
  static Status read_func(const SharedBytes& wire, ParseContext& context, NameAttrList* func);
};

// One entry of a map<string, AttrValue>; a later entry of the same key wins.
Status read_attr_entry(const SharedBytes& wire, ParseContext& context, AttrMap* attrs);
void write_attrs(uint32_t field, const AttrMap& attrs, WireWriter& writer);

// One entry of a map<string, string>.
Status read_string_entry(const SharedBytes& wire, ParseContext& context, std::map<std::string, std::string>* out);

Status read_graph(const SharedBytes& wire, ParseContext& context, GraphDef* graph);
void write_graph(const GraphDef& graph, WireWriter& writer);

}  // namespace blade::tensorflow
