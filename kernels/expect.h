// SPDX-License-Identifier: Apache-2.0
// Checks the arguments of one op call against the shapes that ops.h writes in its comments. A
// symbol takes its value where it is first seen; every later sight must agree. Private to kernels/.
#pragma once

#include <initializer_list>

#include "kernels/device.h"
#include "kernels/kv_layout.h"
#include "kernels/tensor.h"

namespace tamis {

// A size named as in ops.h: unknown until the first argument that has it.
struct Size {
  explicit Size(const char* symbol_in) : symbol(symbol_in) {}
  Size(const char* symbol_in, int64_t value_in, const char* source_in)
      : symbol(symbol_in), value(value_in), source(source_in) {}
  const char* symbol;
  int64_t value = -1;
  const char* source = "";  // the argument it comes from
};

// The checks of one call. Allocates nothing unless it fails.
class OpCheck {
 public:
  using Sizes = std::initializer_list<Size*>;

  OpCheck(const char* op, const Stream& stream) : op_(op), device_(stream.device()) {}

  // A contiguous tensor of f32, f16 or bf16; all of a call share the dtype of the first.
  void Float(const ConstTensorView& x, const char* name, Sizes sizes) {
    FloatRows(x, name, sizes);
    Contiguous(x, name);
  }
  // The same, where rows may have a stride.
  void FloatRows(const ConstTensorView& x, const char* name, Sizes sizes) {
    FloatType(x.dtype, name);
    Place(x, name, sizes);
  }
  // A contiguous tensor of exactly this dtype.
  void Typed(const ConstTensorView& x, DType dtype, const char* name, Sizes sizes) {
    if (x.dtype != dtype) FailType(name, x.dtype, DTypeName(dtype));
    Place(x, name, sizes);
    Contiguous(x, name);
  }
  // f32, or the common float type; rows may have a stride.
  void FloatOrF32Rows(const ConstTensorView& x, const char* name, Sizes sizes);
  // Pages or rows of keys and values; their head size and head count must be positive.
  void Pages(const KvPages& pages, const char* name);
  void KeyValueRows(const KvRows& rows, const char* name);
  // `size` is a whole number of `unit`s, at least one.
  void Multiple(const Size& size, int64_t unit, const char* what) const;
  // a >= b, both named in the message.
  void AtLeast(const Size& a, int64_t b, const char* what) const;
  // Any other rule of ops.h.
  void That(bool holds, const char* rule) const {
    if (!holds) [[unlikely]]
      FailRule(rule);
  }

 private:
  void Place(const ConstTensorView& x, const char* name, Sizes sizes);
  void Contiguous(const ConstTensorView& x, const char* name) const;
  void FloatType(DType dtype, const char* name);
  [[noreturn]] void FailType(const char* name, DType got, const char* expected) const;
  [[noreturn]] void FailRule(const char* rule) const;

  const char* op_;
  DeviceKind device_;
  DType float_type_ = DType::kI32;  // no float argument seen yet
};

}  // namespace tamis
