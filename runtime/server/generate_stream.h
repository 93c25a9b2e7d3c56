// SPDX-License-Identifier: Apache-2.0
// One Generate call: token events in on the engine thread, messages out through gRPC's callback
// API. At most one write is in flight; what happens meanwhile is merged into the next message, so
// a slow client costs memory bounded by its max_tokens and never blocks the engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "proto/tamis.pb.h"
#include "runtime/engine/request.h"
#include "runtime/server/backend.h"
#include "runtime/server/stop_matcher.h"
#include "runtime/tokenizer/tokenizer.h"

namespace tamis {

// Held by gRPC until OnDone and by the request's on_token until the engine drops the request;
// whichever is last frees it.
class GenerateStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  // Makes request->on_token feed the stream. `tokenizer` and `observer` must outlive it. `place`
  // is let go when the call is over.
  static std::shared_ptr<GenerateStream> Create(const Tokenizer& tokenizer,
                                                std::shared_ptr<Request> request,
                                                const v1::SamplingOptions& options,
                                                const RequestObserver& observer,
                                                std::shared_ptr<void> place = nullptr);

  // The request is whole and the engine gets it now; what becomes of it is observed.
  void SetTaken();

  // Ends the call with an error instead of tokens; for a request the engine did not take.
  void Refuse(const grpc::Status& status);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  GenerateStream(const Tokenizer& tokenizer, std::shared_ptr<Request> request,
                 const v1::SamplingOptions& options, const RequestObserver& observer);

  void OnToken(const TokenEvent& event);

  // REQUIRES: mutex_ held, for all below.
  void AddToken(const TokenEvent& event);
  void EndWith(v1::FinishReason reason);
  bool HasMessages() const { return has_pending_ || !full_.empty(); }
  v1::GenerateResponse TakeMessage();
  void Close(const grpc::Status& status);
  void Advance();
  void ObserveToken();
  void ObserveEnd();

  std::mutex mutex_;
  std::shared_ptr<GenerateStream> self_;  // until OnDone
  std::shared_ptr<Request> request_;
  const RequestObserver& observer_;
  std::shared_ptr<void> place_;
  std::chrono::steady_clock::time_point last_token_;
  FinishReason finish_ = FinishReason::kAbort;  // until it ended otherwise
  bool taken_ = false;                          // by the engine
  StreamDecoder decoder_;
  StopMatcher matcher_;
  std::deque<v1::GenerateResponse> full_;  // not yet given to gRPC, as large as a message may be
  v1::GenerateResponse pending_;           // comes after those
  bool has_pending_ = false;
  int64_t pending_entries_ = 0;  // tokens and logprobs in it
  int32_t completion_tokens_ = 0;
  bool ended_ = false;  // no event counts any more; status_ says how the call ends
  grpc::Status status_;
  grpc::ByteBuffer writing_;  // must live while the write is in flight
  bool write_in_flight_ = false;
  bool finish_called_ = false;
};

// The call that is over before it began.
grpc::ServerWriteReactor<grpc::ByteBuffer>* RefusedStream(const grpc::Status& status);

}  // namespace tamis
