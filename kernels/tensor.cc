// SPDX-License-Identifier: Apache-2.0
#include "kernels/tensor.h"

namespace tamis {
namespace {

template <typename View>
View SubRows(const View& x, int64_t begin, int64_t count) {
  CHECK(begin >= 0 && count >= 0 && begin + count <= x.shape[0])
      << "rows " << begin << "+" << count << " of " << x.shape.ToString();
  View out = x;
  using Byte = std::conditional_t<std::is_same_v<View, TensorView>, std::byte, const std::byte>;
  out.data =
      static_cast<Byte*>(x.data) + static_cast<size_t>(begin * x.row_stride) * DTypeBytes(x.dtype);
  switch (x.shape.rank()) {
    case 1: out.shape = {count}; break;
    case 2: out.shape = {count, x.shape[1]}; break;
    case 3: out.shape = {count, x.shape[1], x.shape[2]}; break;
    default: out.shape = {count, x.shape[1], x.shape[2], x.shape[3]}; break;
  }
  return out;
}

template <typename View>
View SubColumns(const View& x, int64_t begin, int64_t count) {
  CHECK_EQ(x.shape.rank(), 2);
  CHECK(begin >= 0 && count >= 0 && begin + count <= x.shape[1])
      << "columns " << begin << "+" << count << " of " << x.shape.ToString();
  View out = x;
  using Byte = std::conditional_t<std::is_same_v<View, TensorView>, std::byte, const std::byte>;
  out.data = static_cast<Byte*>(x.data) + static_cast<size_t>(begin) * DTypeBytes(x.dtype);
  out.shape = {x.shape[0], count};
  return out;
}

template <typename View>
View Reshaped(const View& x, Shape shape) {
  CHECK(x.contiguous()) << "reshape of a strided view " << x.shape.ToString();
  CHECK_EQ(x.elements(), shape.elements()) << x.shape.ToString() << " as " << shape.ToString();
  return View(x.data, shape, x.dtype, x.device);
}

}  // namespace

const char* DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "float32";
    case DType::kF16: return "float16";
    case DType::kBF16: return "bfloat16";
    case DType::kI32: return "int32";
    case DType::kI64: return "int64";
    case DType::kU64: return "uint64";
  }
  return "unknown";
}

std::string Shape::ToString() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(sizes_[static_cast<size_t>(i)]);
  }
  return text + "]";
}

TensorView Rows(const TensorView& x, int64_t begin, int64_t count) {
  return SubRows(x, begin, count);
}
ConstTensorView Rows(const ConstTensorView& x, int64_t begin, int64_t count) {
  return SubRows(x, begin, count);
}
TensorView Columns(const TensorView& x, int64_t begin, int64_t count) {
  return SubColumns(x, begin, count);
}
ConstTensorView Columns(const ConstTensorView& x, int64_t begin, int64_t count) {
  return SubColumns(x, begin, count);
}
TensorView Reshape(const TensorView& x, Shape shape) { return Reshaped(x, shape); }
ConstTensorView Reshape(const ConstTensorView& x, Shape shape) { return Reshaped(x, shape); }

}  // namespace tamis
