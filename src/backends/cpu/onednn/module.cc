// The module itself: oneDNN primitives behind the function table. Exceptions stay inside.
#include <omp.h>

#include <cstdio>
#include <cstring>
#include <dnnl.hpp>
#include <exception>
#include <memory>
#include <unordered_map>

#include "backends/cpu/onednn/module_table.h"

namespace {

using dnnl::memory;
using Tag = memory::format_tag;
constexpr auto kF32 = memory::data_type::f32;

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

// A primitive with its reordered weights; immutable after creation.
struct Primitive {
  dnnl::primitive primitive;
  memory::desc in, out, bias, scratch;
  memory weights;
  bool has_bias = false, has_residual = false;
};

// The residual stands in the output before the primitive adds to it: as an operand of its own, oneDNN 2.6 reads it
// wrongly where AVX2 leaves a tail of channels.
dnnl::primitive_attr attributes(bool has_residual, bool has_clamp, float lo, float hi) {
  dnnl::post_ops ops;
  if (has_residual) ops.append_sum(1.0f);
  if (has_clamp) ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_clip, lo, hi);
  dnnl::primitive_attr attr;
  attr.set_post_ops(ops);
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

memory reordered(const memory::desc& from, const float* data, const memory::desc& to) {
  memory source(from, cpu_engine(), const_cast<float*>(data));
  memory target(to, cpu_engine());
  dnnl::stream stream(cpu_engine());
  dnnl::reorder(source, target).execute(stream, source, target);
  stream.wait();
  return target;
}

std::unique_ptr<Primitive> make_conv(const BladeOneDnnConv& c, const float* weights) {
  auto made = std::make_unique<Primitive>();
  made->in = memory::desc({c.n, c.c, c.h, c.w}, kF32, Tag::nhwc);
  made->out = memory::desc({c.n, c.oc, c.oh, c.ow}, kF32, Tag::nhwc);
  made->bias = memory::desc({c.oc}, kF32, Tag::a);
  made->has_bias = c.has_bias != 0;
  made->has_residual = c.has_residual != 0;
  const int64_t group_in = c.c / c.groups, group_out = c.oc / c.groups;
  const bool grouped = c.groups != 1;
  // HWIO with groups: output channels are [groups][oc / groups] in memory.
  const memory::dims dims =
      grouped ? memory::dims{c.groups, group_out, group_in, c.kh, c.kw} : memory::dims{c.oc, c.c, c.kh, c.kw};
  const memory::dims strides = grouped ? memory::dims{group_out, 1, c.oc, c.kw * group_in * c.oc, group_in * c.oc}
                                       : memory::dims{1, c.oc, c.kw * c.c * c.oc, c.c * c.oc};
  const memory::desc user_weights(dims, kF32, strides), any_weights(dims, kF32, Tag::any);
  const int64_t pad_bottom = (c.oh - 1) * c.stride_h + (c.kh - 1) * c.dilation_h + 1 - c.h - c.pad_top;
  const int64_t pad_right = (c.ow - 1) * c.stride_w + (c.kw - 1) * c.dilation_w + 1 - c.w - c.pad_left;
  const memory::dims stride = {c.stride_h, c.stride_w}, dilation = {c.dilation_h - 1, c.dilation_w - 1};
  const memory::dims before = {c.pad_top, c.pad_left}, after = {pad_bottom, pad_right};
  using Conv = dnnl::convolution_forward;
  const auto kind = dnnl::prop_kind::forward_inference;
  const auto algorithm = dnnl::algorithm::convolution_auto;
  const Conv::desc desc =
      made->has_bias
          ? Conv::desc(kind, algorithm, made->in, any_weights, made->bias, made->out, stride, dilation, before, after)
          : Conv::desc(kind, algorithm, made->in, any_weights, made->out, stride, dilation, before, after);
  const Conv::primitive_desc chosen(desc, attributes(made->has_residual, c.has_clamp != 0, c.lo, c.hi), cpu_engine());
  made->weights = reordered(user_weights, weights, chosen.weights_desc());
  made->scratch = chosen.scratchpad_desc();
  made->primitive = Conv(chosen);
  return made;
}

std::unique_ptr<Primitive> make_matmul(const BladeOneDnnMatMul& m, const float* b) {
  auto made = std::make_unique<Primitive>();
  made->in = memory::desc({m.m, m.k}, kF32, Tag::ab);
  made->out = memory::desc({m.m, m.n}, kF32, Tag::ab);
  made->bias = memory::desc({1, m.n}, kF32, Tag::ab);
  made->has_bias = m.has_bias != 0;
  made->has_residual = m.has_residual != 0;
  const memory::desc user_b({m.k, m.n}, kF32, m.b_transposed != 0 ? Tag::ba : Tag::ab),
      any_b({m.k, m.n}, kF32, Tag::any);
  using MatMul = dnnl::matmul;
  const MatMul::desc desc =
      made->has_bias ? MatMul::desc(made->in, any_b, made->bias, made->out) : MatMul::desc(made->in, any_b, made->out);
  const MatMul::primitive_desc chosen(desc, attributes(made->has_residual, m.has_clamp != 0, m.lo, m.hi), cpu_engine());
  made->weights = reordered(user_b, b, chosen.weights_desc());
  made->scratch = chosen.scratchpad_desc();
  made->primitive = MatMul(chosen);
  return made;
}

// Calls fn; writes what it throws to `error` and returns a null or zero value then.
template <class Fn>
auto guarded(char* error, size_t error_size, Fn&& fn) -> decltype(fn()) {
  try {
    return fn();
  } catch (const std::exception& e) {
    std::snprintf(error, error_size, "oneDNN: %s", e.what());
  } catch (...) {
    std::snprintf(error, error_size, "oneDNN failed");
  }
  return {};
}

void* create_conv(const BladeOneDnnConv* conv, const float* weights, int32_t threads, char* error, size_t size) {
  return guarded(error, size, [&]() -> void* {
    omp_set_num_threads(threads);
    return make_conv(*conv, weights).release();
  });
}

void* create_matmul(const BladeOneDnnMatMul* matmul, const float* b, int32_t threads, char* error, size_t size) {
  return guarded(error, size, [&]() -> void* {
    omp_set_num_threads(threads);
    return make_matmul(*matmul, b).release();
  });
}

size_t scratch_bytes(const void* primitive) { return static_cast<const Primitive*>(primitive)->scratch.get_size(); }

int32_t run(const void* primitive, const BladeOneDnnRun* r, char* error, size_t size) {
  return guarded(error, size, [&]() -> int32_t {
    const Primitive& p = *static_cast<const Primitive*>(primitive);
    omp_set_num_threads(r->threads);  // of the calling thread only
    auto wrap = [](const memory::desc& desc, const void* data) {
      return memory(desc, cpu_engine(), const_cast<void*>(data));
    };
    std::unordered_map<int, memory> args = {{DNNL_ARG_SRC, wrap(p.in, r->in)},
                                            {DNNL_ARG_WEIGHTS, p.weights},
                                            {DNNL_ARG_DST, wrap(p.out, r->out)},
                                            {DNNL_ARG_SCRATCHPAD, wrap(p.scratch, r->scratch)}};
    if (p.has_bias) args.insert({DNNL_ARG_BIAS, wrap(p.bias, r->bias)});
    if (p.has_residual && r->residual != r->out) std::memcpy(r->out, r->residual, p.out.get_size());
    dnnl::stream stream(cpu_engine());
    p.primitive.execute(stream, args);
    stream.wait();
    return 1;
  });
}

void destroy(void* primitive) { delete static_cast<Primitive*>(primitive); }

constexpr BladeOneDnnTable kTable = {
    BLADE_ONEDNN_TABLE_VERSION, create_conv, create_matmul, scratch_bytes, run, destroy};

}  // namespace

extern "C" __attribute__((visibility("default"))) const BladeOneDnnTable* blade_onednn_table() { return &kTable; }
