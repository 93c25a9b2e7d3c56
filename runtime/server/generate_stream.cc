// SPDX-License-Identifier: Apache-2.0
// Text is made on the engine thread (microseconds a token), so that a stop string ends the request
// at once however slowly the client reads.
#include "runtime/server/generate_stream.h"

#include <algorithm>
#include <utility>

#include "runtime/server/wire.h"

namespace tamis {
namespace {

// About half a megabyte; most clients take messages of up to 4 MiB.
constexpr int64_t kMessageEntriesMax = 32768;

void AddLogprobs(int32_t token_id, const TokenLogprobs& from, v1::Logprobs* to) {
  to->set_token_id(token_id);
  to->set_logprob(from.logprob);
  for (const auto& [id, logprob] : from.top) {
    v1::TopLogprob* top = to->add_top();
    top->set_token_id(id);
    top->set_logprob(logprob);
  }
}

grpc::Status AbortStatus(const TokenEvent& event) {
  return grpc::Status(
      event.abort_is_deadline ? grpc::StatusCode::DEADLINE_EXCEEDED : grpc::StatusCode::UNAVAILABLE,
      event.abort_reason);
}

class Refused final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit Refused(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

GenerateStream::GenerateStream(const Tokenizer& tokenizer, std::shared_ptr<Request> request,
                               const v1::SamplingOptions& options, const RequestObserver& observer)
    : request_(std::move(request)),
      observer_(observer),
      decoder_(tokenizer, !options.has_skip_special_tokens() || options.skip_special_tokens()),
      matcher_(std::vector<std::string>(options.stop().begin(), options.stop().end())) {
  pending_.set_request_id(request_->id);
}

std::shared_ptr<GenerateStream> GenerateStream::Create(const Tokenizer& tokenizer,
                                                       std::shared_ptr<Request> request,
                                                       const v1::SamplingOptions& options,
                                                       const RequestObserver& observer,
                                                       std::shared_ptr<void> place) {
  std::shared_ptr<GenerateStream> stream(new GenerateStream(tokenizer, request, options, observer));
  stream->self_ = stream;
  stream->place_ = std::move(place);
  request->on_token = [stream](const TokenEvent& event) { stream->OnToken(event); };
  return stream;
}

void GenerateStream::SetTaken() {
  const std::lock_guard<std::mutex> lock(mutex_);
  taken_ = true;
}

void GenerateStream::Refuse(const grpc::Status& status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  taken_ = false;
  Close(status);
}

void GenerateStream::OnToken(const TokenEvent& event) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ended_) return;
  if (event.finish == FinishReason::kAbort) {
    Close(AbortStatus(event));
    return;
  }
  ObserveToken();
  AddToken(event);
  Advance();
}

// TokenEvents come one by one, so the gap is the engine's, whatever the client's pace.
void GenerateStream::ObserveToken() {
  const auto now = std::chrono::steady_clock::now();
  const auto since = [&](std::chrono::steady_clock::time_point then) {
    return std::chrono::duration<double>(now - then).count();
  };
  const bool first = completion_tokens_ == 0;
  if (first && observer_.first_token) {
    observer_.first_token(since(request_->arrival), static_cast<int64_t>(request_->prompt.size()));
  }
  if (!first && observer_.next_token) observer_.next_token(since(last_token_));
  last_token_ = now;
}

void GenerateStream::ObserveEnd() {
  if (!taken_ || !observer_.done) return;
  RequestSummary summary;
  summary.finish = finish_;
  summary.e2e_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - request_->arrival).count();
  summary.prompt_tokens = static_cast<int64_t>(request_->prompt.size());
  summary.generation_tokens = completion_tokens_;
  summary.max_tokens = request_->sampling.max_tokens;
  observer_.done(summary);
}

void GenerateStream::AddToken(const TokenEvent& event) {
  ++completion_tokens_;
  if (pending_entries_ >= kMessageEntriesMax) {
    full_.push_back(std::exchange(pending_, {}));
    pending_entries_ = 0;
  }
  has_pending_ = true;
  pending_entries_ += 1 + std::max(0, request_->sampling.num_logprobs + 1);
  pending_.add_token_ids(event.token_id);
  if (request_->sampling.num_logprobs >= 0) {
    AddLogprobs(event.token_id, event.logprobs, pending_.add_logprobs());
  }
  // The token that stopped the sequence (EOS, a stop token) is not part of the text.
  std::string text;
  if (event.finish != FinishReason::kStop) text = decoder_.Push(event.token_id);
  if (event.finish != FinishReason::kNone) text += decoder_.Finish();
  *pending_.mutable_text() += matcher_.Push(text);
  if (event.finish != FinishReason::kNone) *pending_.mutable_text() += matcher_.Finish();

  if (matcher_.matched()) {
    request_->cancelled = true;
    EndWith(v1::FINISH_REASON_STOP);
  } else if (event.finish == FinishReason::kStop) {
    EndWith(v1::FINISH_REASON_STOP);
  } else if (event.finish == FinishReason::kLength) {
    EndWith(v1::FINISH_REASON_LENGTH);
  }
}

void GenerateStream::EndWith(v1::FinishReason reason) {
  ended_ = true;
  finish_ = reason == v1::FINISH_REASON_LENGTH ? FinishReason::kLength : FinishReason::kStop;
  pending_.set_finish_reason(reason);
  pending_.mutable_usage()->set_prompt_tokens(static_cast<int32_t>(request_->prompt.size()));
  pending_.mutable_usage()->set_completion_tokens(completion_tokens_);
}

void GenerateStream::Close(const grpc::Status& status) {
  request_->cancelled = true;
  if (ended_ && !HasMessages()) return;  // the last message is on its way
  ended_ = true;
  has_pending_ = false;
  full_.clear();
  status_ = status;
  Advance();
}

// REQUIRES: there is one.
v1::GenerateResponse GenerateStream::TakeMessage() {
  v1::GenerateResponse message;
  if (!full_.empty()) {
    message = std::move(full_.front());
    full_.pop_front();
  } else {
    message.Swap(&pending_);
    has_pending_ = false;
    pending_entries_ = 0;
  }
  return message;
}

void GenerateStream::Advance() {
  if (write_in_flight_ || finish_called_) return;
  if (HasMessages()) {
    write_in_flight_ = true;
    writing_ = SerializeMessage(TakeMessage());
    if (ended_ && !HasMessages()) {
      finish_called_ = true;
      StartWriteAndFinish(&writing_, grpc::WriteOptions(), grpc::Status::OK);
    } else {
      StartWrite(&writing_);
    }
  } else if (ended_) {
    finish_called_ = true;
    Finish(status_);
  }
}

void GenerateStream::OnWriteDone(bool ok) {
  const std::lock_guard<std::mutex> lock(mutex_);
  write_in_flight_ = false;
  if (!ok) Close(grpc::Status(grpc::StatusCode::CANCELLED, "the client is gone"));
  Advance();
}

void GenerateStream::OnCancel() {
  const std::lock_guard<std::mutex> lock(mutex_);
  Close(grpc::Status(grpc::StatusCode::CANCELLED, "cancelled by the client"));
}

void GenerateStream::OnDone() {
  std::shared_ptr<GenerateStream> self;  // outlives the lock
  const std::lock_guard<std::mutex> lock(mutex_);
  ended_ = true;
  request_->cancelled = true;
  ObserveEnd();
  request_.reset();  // it holds this stream in on_token
  place_.reset();
  self = std::move(self_);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* RefusedStream(const grpc::Status& status) {
  return new Refused(status);
}

}  // namespace tamis
