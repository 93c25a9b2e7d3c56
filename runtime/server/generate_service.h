// SPDX-License-Identifier: Apache-2.0
// The tamis.v1.Inference service: validate, tokenise, hand to the engine, stream back. Generate
// and Tokenize take raw bytes (wire.h says why).
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "proto/tamis.grpc.pb.h"
#include "runtime/server/backend.h"
#include "runtime/server/encode_pool.h"
#include "runtime/server/places.h"
#include "runtime/server/validate.h"
#include "runtime/tokenizer/tokenizer.h"

namespace tamis {

// What the service derives from: every method in the callback form, two of them raw.
template <typename Base>
using RawText = v1::Inference::WithRawCallbackMethod_Generate<
    v1::Inference::WithRawCallbackMethod_Tokenize<Base>>;
template <typename Base>
using Infos = v1::Inference::WithCallbackMethod_GetModelInfo<
    v1::Inference::WithCallbackMethod_GetServerInfo<Base>>;
using ServiceBase = RawText<Infos<v1::Inference::WithCallbackMethod_Detokenize<
    v1::Inference::WithCallbackMethod_Drain<v1::Inference::Service>>>>;

// Thread-safe: gRPC calls it from its own pool. `tokenizer` must outlive it.
class GenerateService final : public ServiceBase {
 public:
  GenerateService(ServedModel model, const Tokenizer& tokenizer, ServiceBackend backend);

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* bytes) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* bytes,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::GetModelInfoResponse* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const v1::GetServerInfoRequest* request,
                                          v1::GetServerInfoResponse* response) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context,
                                  const v1::DrainRequest* request,
                                  v1::DrainResponse* response) override;

 private:
  // UNAUTHENTICATED unless the call's metadata lets it in.
  absl::Status Authorize(const grpc::CallbackServerContext& context) const;
  // Tokenises a valid message.
  absl::Status FillRequest(const v1::GenerateRequest& message, Request* request);
  absl::StatusOr<std::vector<int32_t>> EncodeText(const std::string& text, bool add_bos) const;
  absl::StatusOr<std::vector<int32_t>> EncodeChat(const v1::ChatMessages& chat) const;
  uint64_t NextRandom();

  const ServedModel model_;
  const RequestLimits limits_;
  const Tokenizer& tokenizer_;
  const absl::StatusOr<ChatTemplate> chat_template_;
  const ServiceBackend backend_;
  Places places_;                       // of streams
  std::atomic<uint64_t> random_state_;  // of seeds and request ids
  EncodePool encoders_;                 // last: its threads use the rest
};

}  // namespace tamis
