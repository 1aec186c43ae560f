// TensorProto's encodings, TensorFlow's rules for missing values, and data that does not fit its shape.
#include "frontends/tensorflow/proto/tensor_proto.h"

#include <gtest/gtest.h>

#include <cstring>

#include "frontends/wire_bytes.h"

namespace blade::tensorflow {
namespace {

using namespace testing;

Result<TensorData> decode(int dtype, const std::vector<int64_t>& dims, const std::string& values,
                          size_t max_bytes = size_t{1} << 20) {
  return TensorProto::from_wire(SharedBytes::own(tensor(dtype, dims, values))).decode(max_bytes);
}

template <class T>
std::vector<T> elements(const Result<TensorData>& data) {
  if (!data.ok()) {
    ADD_FAILURE() << data.status().message();
    return {};
  }
  std::vector<T> out(data->content.size() / sizeof(T));
  std::memcpy(out.data(), data->content.data(), out.size() * sizeof(T));
  return out;
}

void expect_error(const Result<TensorData>& data, const std::string& part) {
  ASSERT_FALSE(data.ok());
  EXPECT_NE(data.status().message().find(part), std::string::npos) << data.status().message();
}

TEST(TensorProtoTest, EachValueField) {
  EXPECT_EQ(elements<float>(decode(1, {2}, float32(5, 1.5f) + float32(5, -2))), (std::vector<float>{1.5f, -2}));
  EXPECT_EQ(elements<float>(decode(1, {2}, bytes(5, raw(1.5f) + raw(-2.f)))), (std::vector<float>{1.5f, -2}));
  EXPECT_EQ(elements<double>(decode(2, {1}, bytes(6, raw(0.1)))), std::vector<double>{0.1});
  EXPECT_EQ(elements<int32_t>(decode(3, {2}, number(7, uint64_t(-5)) + number(7, 6))), (std::vector<int32_t>{-5, 6}));
  EXPECT_EQ(elements<int8_t>(decode(6, {2}, bytes(7, varint(uint64_t(-5)) + varint(6)))), (std::vector<int8_t>{-5, 6}));
  EXPECT_EQ(elements<uint8_t>(decode(4, {1}, number(7, 200))), std::vector<uint8_t>{200});
  EXPECT_EQ(elements<uint16_t>(decode(17, {1}, number(7, 60000))), std::vector<uint16_t>{60000});
  EXPECT_EQ(elements<int64_t>(decode(9, {1}, number(10, uint64_t(-5)))), std::vector<int64_t>{-5});
  EXPECT_EQ(elements<uint8_t>(decode(10, {3}, bytes(11, varint(1) + varint(0) + varint(7)))),
            (std::vector<uint8_t>{1, 0, 1}));
  EXPECT_EQ(elements<uint16_t>(decode(19, {1}, number(13, 0x3c00))), std::vector<uint16_t>{0x3c00});
  EXPECT_EQ(elements<uint16_t>(decode(14, {1}, number(13, 0x3f80))), std::vector<uint16_t>{0x3f80});
  EXPECT_EQ(elements<uint32_t>(decode(22, {1}, number(16, 0xffffffff))), std::vector<uint32_t>{0xffffffff});
  EXPECT_EQ(elements<uint64_t>(decode(23, {1}, number(17, UINT64_MAX))), std::vector<uint64_t>{UINT64_MAX});
  EXPECT_EQ(elements<float>(decode(8, {2}, float32(9, 1) + float32(9, 2))), (std::vector<float>{1, 2, 1, 2}));
  EXPECT_EQ(elements<uint8_t>(decode(24, {2}, bytes(18, "\x12\x34"))), (std::vector<uint8_t>{0x12, 0x34}));
  EXPECT_EQ(elements<int8_t>(decode(29, {1}, number(7, uint64_t(-3)))), std::vector<int8_t>{-3});
}

TEST(TensorProtoTest, LastValueRepeats) {
  EXPECT_EQ(elements<float>(decode(1, {2, 2}, float32(5, 1) + float32(5, 2))), (std::vector<float>{1, 2, 2, 2}));
  EXPECT_EQ(elements<int32_t>(decode(3, {3}, "")), (std::vector<int32_t>{0, 0, 0}));
  EXPECT_EQ(elements<int32_t>(decode(3, {1}, number(7, 1) + number(7, 2))), std::vector<int32_t>{1});
  EXPECT_EQ(decode(7, {3}, bytes(8, "a") + bytes(8, "b"))->strings, (std::vector<std::string>{"a", "b", "b"}));
  EXPECT_EQ(decode(7, {2}, "")->strings, (std::vector<std::string>{"", ""}));
}

TEST(TensorProtoTest, ScalarsAndEmptyTensors) {
  EXPECT_EQ(elements<float>(decode(1, {}, float32(5, 3))), std::vector<float>{3});
  EXPECT_EQ(decode(1, {0, 5}, "")->content.size(), 0u);
  EXPECT_EQ(decode(1, {0, 5}, "")->element_count, 0);
}

TEST(TensorProtoTest, StringsInTensorContent) {
  EXPECT_EQ(decode(7, {2}, bytes(4, varint(1) + varint(2) + "abb"))->strings, (std::vector<std::string>{"a", "bb"}));
  expect_error(decode(7, {2}, bytes(4, varint(1) + varint(200) + "abb")), "runs past the end");
  expect_error(decode(7, {1000}, bytes(4, "abc")), "too short");
}

TEST(TensorProtoTest, DataThatDoesNotFitTheShape) {
  expect_error(decode(1, {2, 2}, bytes(4, std::string(15, 'x'))),
               "the float32 tensor of shape [2,2] needs 16 bytes, but its tensor_content has 15");
  expect_error(decode(1, {-1}, ""), "no known element count");
  expect_error(decode(1, {int64_t{1} << 40, int64_t{1} << 40}, ""), "no known element count");
  expect_error(decode(1, {int64_t{1} << 40}, ""), "does not fit the limit");
  expect_error(decode(1, {int64_t{1} << 62}, bytes(4, "x")), "needs too many bytes");
  expect_error(decode(7, {int64_t{1} << 40}, bytes(8, "a")), "do not fit the limit");
  expect_error(decode(7, {1000}, bytes(8, std::string(10000, 'x'))), "do not fit the limit");
  expect_error(decode(20, {1}, ""), "does not hold numbers or strings");
  expect_error(decode(99, {1}, ""), "data type 99");
  expect_error(decode(1, {1}, number(5, 1)), "a 32-bit value is expected");
  expect_error(decode(1, {1}, bytes(5, "abc")), "runs past the end");
  EXPECT_FALSE(TensorProto::from_wire(SharedBytes::own("\x0a")).decode().ok());
}

TEST(TensorProtoTest, TypeAndShapeAlone) {
  auto proto = TensorProto::from_wire(SharedBytes::own(tensor(3, {4, 5}, bytes(4, "wrong"))));
  EXPECT_EQ(*proto.dtype(), DataType::kInt32);
  EXPECT_EQ(proto.shape()->dims, (std::vector<int64_t>{4, 5}));
  EXPECT_EQ(to_string(*proto.shape()), "[4,5]");
  EXPECT_EQ(to_string(TensorShapeProto{false, {-1, 3}}), "[?,3]");
}

TEST(TensorProtoTest, MadeTensors) {
  auto proto = TensorProto::from_dense(DataType::kFloat, {3}, SharedBytes::own(std::string(8, 'x')));
  expect_error(proto.decode(), "needs 12 bytes");
  proto = TensorProto::from_strings({3}, {"a"});
  expect_error(proto.decode(), "was given 1 strings");
}

}  // namespace
}  // namespace blade::tensorflow
