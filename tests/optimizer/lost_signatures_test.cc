// Which signatures the report says that the optimized model does not offer.
#include "optimizer/lost_signatures.h"

#include <gtest/gtest.h>

#include "frontends/wire_bytes.h"

namespace blade::optimizer {
namespace {

using namespace tensorflow::testing;
using tensorflow::SavedModel;
using tensorflow::SharedBytes;

std::string tensor_entry(const std::string& key, const std::string& name, int64_t width) {
  return bytes(1, key) + bytes(2, bytes(1, name) + number(2, 1) + bytes(3, shape({-1, width})));
}

std::string signature(const std::string& name, const std::string& output, const std::string& key = "y",
                      int64_t width = 4) {
  return bytes(5, bytes(1, name) + bytes(2, bytes(1, tensor_entry("x", name + "_x:0", width)) +
                                                bytes(2, tensor_entry(key, output, 4))));
}

std::string call_of(const std::string& name, const std::string& function, const std::string& input) {
  return node(name, "StatefulPartitionedCall", bytes(3, input) + attr("f", bytes(10, bytes(1, function))));
}

// A function that a signature calls: it calls `inner` and gives what that gives.
std::string wrapper(const std::string& name, const std::string& inner) {
  const std::string declared = bytes(1, name) + bytes(2, bytes(1, "x")) + bytes(3, bytes(1, "y"));
  return bytes(1, bytes(1, declared) + bytes(3, call_of("call", inner, "x")) +
                      bytes(3, node("identity", "Identity", bytes(3, "call:output:0"))) +
                      bytes(4, bytes(1, "y") + bytes(2, "identity:output:0")));
}

std::string function(const std::string& name) {
  return bytes(1, bytes(1, bytes(1, name)) + bytes(3, node("relu", "Relu", bytes(3, "x"))));
}

// What is said where the optimized graph holds what 'serving_default' needs alone; `serve` calls this function.
std::string said(const std::string& serve, const std::string& called) {
  const std::string graph =
      bytes(1, node("serving_default_x", "Placeholder")) + bytes(1, node("serve_x", "Placeholder")) +
      bytes(1, call_of("first", "wrapper_0", "serving_default_x")) +
      bytes(1, call_of("second", "wrapper_1", "serve_x")) +
      bytes(2, wrapper("wrapper_0", "model") + wrapper("wrapper_1", called) + function("model") + function("other"));
  const std::string kept = bytes(1, node("serving_default_x", "Placeholder")) + bytes(1, node("first", "Relu"));
  auto saved = SavedModel::parse(SharedBytes::own(bytes(2, bytes(1, bytes(4, "serve")) + bytes(2, graph) +
                                                               signature("serving_default", "first:0") + serve)),
                                 "m");
  EXPECT_TRUE(saved.ok()) << saved.status().message();
  if (!saved.ok()) return "";
  tensorflow::LoadedModel model;
  model.signature = "serving_default";
  model.saved_model = *std::move(saved);
  return about_lost_signatures(model, "", "m", kept, {});
}

TEST(LostSignaturesTest, ServeIsNoLossWhereItIsTheDefaultOneAgain) {
  EXPECT_EQ(said(signature("serve", "second:0"), "model"), "");
  const std::string lost = "offers the signature 'serving_default' and not 'serve', which stays";
  for (const std::string& text :
       {said(signature("serve", "second:0"), "other"), said(signature("serve", "second:0", "z"), "model"),
        said(signature("serve", "second:0", "y", 8), "model")}) {
    EXPECT_NE(text.find(lost), std::string::npos) << text;
  }
  EXPECT_NE(said(signature("again", "second:0"), "model").find("not 'again'"), std::string::npos);
}

TEST(LostSignaturesTest, WhatCannotBeToldIsSaid) {
  auto saved = SavedModel::parse(
      SharedBytes::own(bytes(2, bytes(1, bytes(4, "serve")) + bytes(2, bytes(1, node("in", "Placeholder"))))), "m");
  ASSERT_TRUE(saved.ok()) << saved.status().message();
  tensorflow::LoadedModel model;
  model.saved_model = *std::move(saved);
  EXPECT_NE(about_lost_signatures(model, "/nowhere", "m", "", {}).find("is not known"), std::string::npos);
}

}  // namespace
}  // namespace blade::optimizer
