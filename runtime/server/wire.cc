// SPDX-License-Identifier: Apache-2.0
// Parsing stops at the first bad string but leaves it in the message, where reflection finds it.
#include "runtime/server/wire.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "grpcpp/support/slice.h"
#include "runtime/server/validate.h"

namespace tamis {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The path of the first string field that is not UTF-8, or "".
std::string BadStringField(const Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const bool repeated = field->is_repeated();
    const int count = repeated ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      const std::string name = repeated ? absl::StrCat(field->name(), "[", i, "]") : field->name();
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        const std::string text = repeated ? reflection.GetRepeatedString(message, field, i)
                                          : reflection.GetString(message, field);
        if (!IsUtf8(text)) return name;
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        const std::string inner =
            BadStringField(repeated ? reflection.GetRepeatedMessage(message, field, i)
                                    : reflection.GetMessage(message, field));
        if (!inner.empty()) return absl::StrCat(name, ".", inner);
      }
    }
  }
  return "";
}

}  // namespace

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, Message* message) {
  // The reader wants a buffer it may change; a copy shares the slices.
  grpc::ByteBuffer copy(bytes);
  grpc::ProtoBufferReader reader(&copy);
  if (reader.status().ok() && message->ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  const std::string field = BadStringField(*message);
  if (!field.empty()) return absl::InvalidArgumentError(absl::StrCat(field, ": not valid UTF-8"));
  return absl::InvalidArgumentError(
      absl::StrCat("request: the bytes are no ", message->GetTypeName()));
}

grpc::ByteBuffer SerializeMessage(const Message& message) {
  const std::string bytes = message.SerializeAsString();
  const grpc::Slice slice(bytes.data(), bytes.size());
  return grpc::ByteBuffer(&slice, 1);
}

grpc::Status ToGrpc(const absl::Status& status) {
  const absl::string_view message = status.message();
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(message.data(), message.size()));
}

}  // namespace tamis
