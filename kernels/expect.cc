// SPDX-License-Identifier: Apache-2.0
#include "kernels/expect.h"

#include <sstream>

#include "kernels/check.h"

namespace tamis {
namespace {

const char* DeviceName(DeviceKind device) {
  return device == DeviceKind::kCuda ? "the GPU" : "the CPU";
}

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

std::string Symbols(OpCheck::Sizes sizes) {
  std::string text = "[";
  for (const Size* size : sizes) {
    if (text.size() > 1) text += ", ";
    text += size->symbol;
  }
  return text + "]";
}

[[noreturn]] void Fail(const std::ostringstream& message) { Die(message.str()); }

}  // namespace

void OpCheck::Place(const ConstTensorView& x, const char* name, Sizes sizes) {
  std::ostringstream text;
  if (x.shape.rank() != static_cast<int>(sizes.size())) {
    text << op_ << ": " << name << " has shape " << x.shape.ToString() << ", expected "
         << Symbols(sizes);
    Fail(text);
  }
  int i = 0;
  for (Size* size : sizes) {
    const int64_t got = x.shape[i++];
    if (size->value < 0) {
      size->value = got;
      size->source = name;
    } else if (size->value != got) {
      text << op_ << ": " << name << " has shape " << x.shape.ToString() << ", expected "
           << Symbols(sizes) << ": " << size->symbol << " is " << got << " here and " << size->value
           << " in " << size->source;
      Fail(text);
    }
  }
  if (x.device != device_) {
    text << op_ << ": " << name << " lives on " << DeviceName(x.device) << ", the stream is of "
         << DeviceName(device_);
    Fail(text);
  }
  if (x.data == nullptr && !x.empty()) {
    text << op_ << ": " << name << " has shape " << x.shape.ToString() << " and no data";
    Fail(text);
  }
}

void OpCheck::Contiguous(const ConstTensorView& x, const char* name) const {
  if (x.contiguous()) return;
  std::ostringstream text;
  text << op_ << ": " << name << " must be contiguous, its rows of shape " << x.shape.ToString()
       << " are " << x.row_stride << " apart";
  Fail(text);
}

void OpCheck::FloatType(DType dtype, const char* name) {
  if (!IsFloat(dtype)) FailType(name, dtype, "a float type");
  if (!IsFloat(float_type_)) float_type_ = dtype;
  if (dtype != float_type_) FailType(name, dtype, DTypeName(float_type_));
}

void OpCheck::FloatOrF32Rows(const ConstTensorView& x, const char* name, Sizes sizes) {
  if (x.dtype != DType::kF32) FloatType(x.dtype, name);
  Place(x, name, sizes);
}

void OpCheck::Pages(const KvPages& pages, const char* name) {
  FloatType(pages.dtype, name);
  That(pages.device == device_, "the pages live on the stream's device");
  That(pages.head_dim > 0 && pages.kv_heads_local > 0 && pages.block_tokens > 0,
       "the pages have positive sizes");
  That(pages.data != nullptr || pages.num_blocks == 0, "the pages have data");
}

void OpCheck::KeyValueRows(const KvRows& rows, const char* name) {
  FloatType(rows.dtype, name);
  That(rows.head_dim > 0 && rows.kv_heads_local > 0 && rows.block_tokens > 0,
       "the rows have positive sizes");
  That(rows.row_stride >= rows.head_dim, "row_stride >= head_dim");
}

void OpCheck::Multiple(const Size& size, int64_t unit, const char* what) const {
  if (size.value > 0 && size.value % unit == 0) return;
  std::ostringstream text;
  text << op_ << ": " << size.symbol << " is " << size.value << " in " << size.source
       << ", not a positive multiple of " << what << " = " << unit;
  Fail(text);
}

void OpCheck::AtLeast(const Size& a, int64_t b, const char* what) const {
  if (a.value >= b) return;
  std::ostringstream text;
  text << op_ << ": " << a.symbol << " is " << a.value << " in " << a.source << ", less than "
       << what << " = " << b;
  Fail(text);
}

void OpCheck::FailType(const char* name, DType got, const char* expected) const {
  std::ostringstream text;
  text << op_ << ": " << name << " is " << DTypeName(got) << ", expected " << expected;
  Fail(text);
}

void OpCheck::FailRule(const char* rule) const {
  std::ostringstream text;
  text << op_ << ": broken rule: " << rule;
  Fail(text);
}

}  // namespace tamis
