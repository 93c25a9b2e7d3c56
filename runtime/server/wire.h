// SPDX-License-Identifier: Apache-2.0
// Bytes to messages. gRPC answers a message that does not parse with UNIMPLEMENTED, and protobuf
// refuses a string that is not UTF-8 without a word; requests that carry text are therefore taken
// as raw bytes and parsed here, so that the client is told which field is wrong.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "google/protobuf/repeated_field.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"

namespace tamis {

// INVALID_ARGUMENT names the first string field that is not UTF-8, if that is the reason.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message);

// A repeated field as a view; protobuf 3.21's does not convert by itself.
inline std::span<const int32_t> TokenSpan(const google::protobuf::RepeatedField<int32_t>& ids) {
  return {ids.data(), static_cast<size_t>(ids.size())};
}

grpc::Status ToGrpc(const absl::Status& status);

}  // namespace tamis
