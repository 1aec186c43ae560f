// The text of a generated kernel: what all have alike, the ops of the program, and the program itself.
#include "backends/cuda/pointwise_source.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <set>

namespace blade::backends::cuda {
namespace {

constexpr const char* kPrelude = R"(#define INFINITY __int_as_float(0x7f800000)
struct half_t { unsigned short bits; };
struct bfloat_t { unsigned short bits; };
struct bool_t { unsigned char bits; };
template <class T, int kCount>
struct alignas(sizeof(T) * kCount < 16 ? sizeof(T) * kCount : 16) Pack { T at[kCount]; };

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(half_t x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
__device__ __forceinline__ float to_float(bfloat_t x) { return __int_as_float(x.bits << 16); }
__device__ __forceinline__ float to_float(bool_t x) { return x.bits != 0 ? 1.0f : 0.0f; }
__device__ __forceinline__ void set(float& to, float x) { to = x; }
__device__ __forceinline__ void set(half_t& to, float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(x)); }
__device__ __forceinline__ void set(bfloat_t& to, float x) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(x)); }
__device__ __forceinline__ void set(bool_t& to, float x) { to.bits = x != 0.0f ? 1 : 0; }

struct Divisor { unsigned divisor, multiplier, shift; };
__device__ __forceinline__ int divide(int n, Divisor d) {
  return (int)((__umulhi((unsigned)n, d.multiplier) + (unsigned)n) >> d.shift);
}
)";

constexpr const char* kPrologue = R"(#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
)";

const char* expression_of(ir::PointwiseOp op) {
  switch (op) {
#define BLADE_FLOAT_OP(name, ...) \
  case ir::PointwiseOp::name:     \
    return #__VA_ARGS__;
#define BLADE_LONG_FLOAT_OP(name, ...) BLADE_FLOAT_OP(name, __VA_ARGS__)
#include "backends/cuda/kernels/float_ops.inc"
    default:
      return "a";  // supports_program() lets no others through
  }
}

const char* type_name(ElementType type) {
  switch (type) {
    case ElementType::kFloat16:
      return "half_t";
    case ElementType::kBFloat16:
      return "bfloat_t";
    case ElementType::kBool:
      return "bool_t";
    default:
      return "float";
  }
}

std::string number(size_t n) { return std::to_string(n); }

// To the bit.
std::string literal(float value) {
  char text[48];
  std::snprintf(text, sizeof text, "__int_as_float(0x%08x)", std::bit_cast<uint32_t>(value));
  return text;
}

std::string op_functions(const ir::PointwiseProgram& program) {
  std::set<ir::PointwiseOp> used;
  for (const ir::PointwiseInstr& instr : program.code) used.insert(instr.op);
  std::string text;
  for (const ir::PointwiseOp op : used) {
    text += "__device__ __forceinline__ float op_" + std::string(ir::pointwise_name(op)) +
            "(float a, float b, float c, float alpha, float beta) { return " + expression_of(op) + "; }\n";
  }
  return text;
}

class Writer {
 public:
  explicit Writer(const PointwiseSource& spec) : spec_(spec), inputs_(spec.types.size()), rank_(spec.moves[0].size()) {}

  std::string write() const {
    std::string text = kPrelude + op_functions(*spec_.program) + params() +
                       "\nextern \"C\" __global__ void __launch_bounds__(" + number(kGeneratedThreads) + ") " +
                       kGeneratedName + "(const Params p) {\n" + kPrologue + "  const int first = blockIdx.x * " +
                       number(kGeneratedThreads * kGeneratedVectors) +
                       " + threadIdx.x, last = p.count - 1;\n  if (first > last) return;\n";
    // All loads before the first use. Behind the end the last vector is read again, and not written.
    for (int u = 0; u < kGeneratedVectors; ++u) text += place(suffix(u), u * kGeneratedThreads) + loads(suffix(u));
    for (int u = 0; u < kGeneratedVectors; ++u) text += program(suffix(u), u * kGeneratedThreads);
    return text + "}\n";
  }

 private:
  bool is_vector(size_t input) const { return spec_.vector > 1 && spec_.moves[input].back(); }
  std::string pack(ElementType type, int count) const {
    return "Pack<" + std::string(type_name(type)) + ", " + std::to_string(count) + ">";
  }
  std::string pack_of(size_t input) const { return pack(spec_.types[input], is_vector(input) ? spec_.vector : 1); }

  std::string params() const {
    std::string text = "struct Params {\n";
    for (size_t i = 0; i < inputs_; ++i) text += "  const void* in" + number(i) + ";\n";
    text += "  void* out;\n  int count;\n";
    if (rank_ > 1) text += "  Divisor dims[" + number(rank_ - 1) + "];\n";
    return text + "  int strides[" + number(inputs_) + "][" + number(rank_) + "];\n};\n";
  }

  static std::string suffix(int u) { return "_" + std::to_string(u); }

  // A vector's number as one index a dim.
  std::string place(const std::string& u, int ahead) const {
    std::string text, rest = "min(first + " + std::to_string(ahead) + ", last)";
    for (size_t d = rank_; d-- > 1;) {
      const std::string n = number(d) + u, at = "p.dims[" + number(d - 1) + "]";
      text += "  const int all" + n + " = " + rest + ", rest" + n + " = divide(all" + n + ", " + at + "), i" + n +
              " = all" + n + " - rest" + n + " * (int)" + at + ".divisor;\n";
      rest = "rest" + n;
    }
    return text + "  const int i0" + u + " = " + rest + ";\n";
  }

  std::string offset_of(size_t input, const std::string& u) const {
    std::string sum = "0";
    for (size_t d = 0; d < rank_; ++d) {
      if (!spec_.moves[input][d]) continue;
      const bool is_last = d + 1 == rank_;
      sum += " + i" + number(d) + u + " * " +
             (is_last && spec_.vector > 1 ? std::to_string(spec_.vector)
                                          : "p.strides[" + number(input) + "][" + number(d) + "]");
    }
    return sum;
  }

  std::string loads(const std::string& u) const {
    std::string text;
    for (size_t i = 0; i < inputs_; ++i) {
      text += "  const " + pack_of(i) + " v" + number(i) + u + " = *reinterpret_cast<const " + pack_of(i) +
              "*>(static_cast<const " + type_name(spec_.types[i]) + "*>(p.in" + number(i) + ") + (" + offset_of(i, u) +
              "));\n";
    }
    return text;
  }

  std::string program(const std::string& u, int ahead) const {
    const std::string out = pack(spec_.output, spec_.vector), at = "first + " + std::to_string(ahead);
    std::string text = "  if (" + at + " <= last) {\n    " + out +
                       " result;\n#pragma unroll\n    for (int k = 0; k < " + std::to_string(spec_.vector) +
                       "; ++k) {\n";
    for (size_t i = 0; i < inputs_; ++i) {
      text += "      const float t" + number(i) + " = to_float(v" + number(i) + u + ".at[" +
              (is_vector(i) ? "k" : "0") + "]);\n";
    }
    size_t value = inputs_;
    const auto operand = [](int t) { return t < 0 ? std::string("0.0f") : "t" + std::to_string(t); };
    for (const ir::PointwiseInstr& instr : spec_.program->code) {
      text += "      const float t" + number(value++) + " = op_" + ir::pointwise_name(instr.op) + "(" +
              operand(instr.a) + ", " + operand(instr.b) + ", " + operand(instr.c) + ", " + literal(instr.alpha) +
              ", " + literal(instr.beta) + ");\n";
    }
    return text + "      set(result.at[k], t" + number(value - 1) + ");\n    }\n    reinterpret_cast<" + out +
           "*>(p.out)[" + at + "] = result;\n  }\n";
  }

  const PointwiseSource& spec_;
  size_t inputs_, rank_;
};

}  // namespace

std::string pointwise_source(const PointwiseSource& spec) { return Writer(spec).write(); }

}  // namespace blade::backends::cuda
