// SPDX-License-Identifier: Apache-2.0
// Steps 1 and 2 of a request's life. Short texts are tokenised on gRPC's threads, long ones on
// threads of their own: a million-token prompt delays nobody but its sender.
#include "runtime/server/generate_service.h"

#include <chrono>
#include <memory>
#include <random>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/server/generate_stream.h"
#include "runtime/server/wire.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

// The client's deadline on our clock; max() when it gave none.
std::chrono::steady_clock::time_point SteadyDeadline(const grpc::CallbackServerContext& context) {
  using std::chrono::steady_clock;
  using std::chrono::system_clock;
  const system_clock::time_point deadline = context.deadline();
  const system_clock::duration left = deadline - system_clock::now();
  // A year and "never" are the same to a server, and do not overflow.
  if (deadline == system_clock::time_point::max() || left > std::chrono::hours(24 * 365)) {
    return steady_clock::time_point::max();
  }
  return steady_clock::now() + std::chrono::duration_cast<steady_clock::duration>(left);
}

grpc::ServerUnaryReactor* Reply(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

}  // namespace

GenerateService::GenerateService(ServedModel model, const Tokenizer& tokenizer,
                                 ServiceBackend backend)
    : model_(std::move(model)),
      limits_{model_.name, model_.max_model_len, model_.config.vocab_size,
              tokenizer.token_bytes_max()},
      tokenizer_(tokenizer),
      chat_template_(ChatTemplate::For(tokenizer)),
      backend_(std::move(backend)),
      places_(model_.max_streams),
      random_state_((uint64_t{std::random_device{}()} << 32) | std::random_device{}()) {}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerateService::Generate(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* bytes) {
  const auto message = std::make_shared<v1::GenerateRequest>();
  std::shared_ptr<void> place;
  absl::Status status = Authorize(*context);
  if (status.ok()) status = ParseMessage(*bytes, message.get());
  if (status.ok()) status = ValidateRequest(*message, limits_);
  if (status.ok()) status = places_.Take(&place);
  if (!status.ok()) return RefusedStream(ToGrpc(status));
  const auto request = std::make_shared<Request>();
  request->deadline = SteadyDeadline(*context);
  request->id = message->request_id().empty() ? absl::StrCat("gen-", absl::Hex(NextRandom()))
                                              : message->request_id();
  // Tokens may arrive before this call returns; gRPC holds them until the stream is bound.
  const auto stream = GenerateStream::Create(tokenizer_, request, message->sampling(),
                                             backend_.observer, std::move(place));
  status = encoders_.Run(static_cast<size_t>(TextBytes(*message)), [=, this] {
    if (request->cancelled) return;  // the stream is over
    absl::Status bad = FillRequest(*message, request.get());
    if (bad.ok()) stream->SetTaken();
    if (bad.ok()) bad = backend_.submit(request);
    if (!bad.ok()) stream->Refuse(ToGrpc(bad));
  });
  if (!status.ok()) stream->Refuse(ToGrpc(status));
  return stream.get();
}

absl::Status GenerateService::Authorize(const grpc::CallbackServerContext& context) const {
  if (!backend_.authorize) return absl::OkStatus();
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("authorization");
  const std::string_view value = found == metadata.end()
                                     ? std::string_view()
                                     : std::string_view(found->second.data(), found->second.size());
  if (backend_.authorize(value)) return absl::OkStatus();
  return absl::UnauthenticatedError(
      value.empty() ? "metadata authorization: missing; allowed is \"Bearer \" and an API key"
                    : "metadata authorization: not \"Bearer \" and an API key of this server");
}

absl::Status GenerateService::FillRequest(const v1::GenerateRequest& message, Request* request) {
  if (message.has_token_ids()) {
    request->prompt.assign(message.token_ids().ids().begin(), message.token_ids().ids().end());
  } else {
    absl::StatusOr<std::vector<int32_t>> prompt =
        message.has_chat() ? EncodeChat(message.chat()) : EncodeText(message.text(), true);
    if (!prompt.ok()) return prompt.status();
    // A tokenizer may know added tokens that the model has no embedding for.
    TAMIS_RETURN_IF_ERROR(ValidateTokenIds(*prompt, "input: token", limits_));
    request->prompt = *std::move(prompt);
  }
  const auto prompt_tokens = static_cast<int64_t>(request->prompt.size());
  TAMIS_RETURN_IF_ERROR(ValidatePromptLength(prompt_tokens, limits_));
  request->sampling = ToSamplingParams(message.sampling(), prompt_tokens, limits_, NextRandom());
  request->selection = ToSelectionParams(message.selection());
  request->eos_token_ids = model_.eos_token_ids;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> GenerateService::EncodeText(const std::string& text,
                                                                 bool add_bos) const {
  return tokenizer_.Encode(text, add_bos, /*parse_special=*/true);
}

absl::StatusOr<std::vector<int32_t>> GenerateService::EncodeChat(
    const v1::ChatMessages& chat) const {
  if (!chat_template_.ok()) return chat_template_.status();
  std::vector<ChatMessage> messages;
  for (const v1::ChatMessage& message : chat.messages()) {
    messages.push_back({message.role(), message.content()});
  }
  return chat_template_->Encode(messages);
}

grpc::ServerUnaryReactor* GenerateService::Tokenize(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* bytes,
                                                    grpc::ByteBuffer* response) {
  const auto message = std::make_shared<v1::TokenizeRequest>();
  absl::Status status = Authorize(*context);
  if (status.ok()) status = ParseMessage(*bytes, message.get());
  if (status.ok()) status = ValidateRequest(*message);
  if (!status.ok()) return Reply(context, status);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  status = encoders_.Run(static_cast<size_t>(TextBytes(*message)), [=, this] {
    const bool add_bos = !message->has_add_special_tokens() || message->add_special_tokens();
    const absl::StatusOr<std::vector<int32_t>> ids =
        message->has_chat() ? EncodeChat(message->chat()) : EncodeText(message->text(), add_bos);
    if (!ids.ok()) return reactor->Finish(ToGrpc(ids.status()));
    v1::TokenizeResponse answer;
    answer.mutable_token_ids()->Add(ids->begin(), ids->end());
    answer.set_max_model_len(static_cast<int32_t>(model_.max_model_len));
    *response = SerializeMessage(answer);
    reactor->Finish(grpc::Status::OK);
  });
  if (!status.ok()) reactor->Finish(ToGrpc(status));
  return reactor;
}

grpc::ServerUnaryReactor* GenerateService::Detokenize(grpc::CallbackServerContext* context,
                                                      const v1::DetokenizeRequest* request,
                                                      v1::DetokenizeResponse* response) {
  const bool skip = !request->has_skip_special_tokens() || request->skip_special_tokens();
  const std::span<const int32_t> ids = TokenSpan(request->token_ids());
  absl::Status status = Authorize(*context);
  if (status.ok()) status = ValidateTokenIds(ids, "token_ids", limits_);
  if (status.ok()) status = ValidateTextBytes(tokenizer_.CountBytes(ids, skip));
  if (status.ok()) response->set_text(tokenizer_.Decode(ids, skip));
  return Reply(context, status);
}

grpc::ServerUnaryReactor* GenerateService::GetModelInfo(grpc::CallbackServerContext* context,
                                                        const v1::GetModelInfoRequest*,
                                                        v1::GetModelInfoResponse* response) {
  if (absl::Status status = Authorize(*context); !status.ok()) return Reply(context, status);
  const ModelConfig& config = model_.config;
  response->set_name(model_.name);
  response->set_architecture(config.architecture);
  response->set_num_layers(config.num_layers);
  response->set_hidden_size(config.hidden_size);
  response->set_num_q_heads(config.num_q_heads);
  response->set_num_kv_heads(config.num_kv_heads);
  response->set_head_dim(config.head_dim);
  response->set_ffn_size(config.ffn_size);
  response->set_vocab_size(config.vocab_size);
  response->set_max_model_len(model_.max_model_len);
  response->set_dtype(model_.dtype);
  response->mutable_eos_token_ids()->Add(model_.eos_token_ids.begin(), model_.eos_token_ids.end());
  response->set_bos_token_id(tokenizer_.bos_token_id());
  response->set_has_chat_template(chat_template_.ok());
  return Reply(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* GenerateService::GetServerInfo(grpc::CallbackServerContext* context,
                                                         const v1::GetServerInfoRequest*,
                                                         v1::GetServerInfoResponse* response) {
  if (absl::Status status = Authorize(*context); !status.ok()) return Reply(context, status);
  backend_.fill_info(response);
  return Reply(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* GenerateService::Drain(grpc::CallbackServerContext* context,
                                                 const v1::DrainRequest*, v1::DrainResponse*) {
  if (absl::Status status = Authorize(*context); !status.ok()) return Reply(context, status);
  backend_.drain();
  return Reply(context, absl::OkStatus());
}

uint64_t GenerateService::NextRandom() {
  // SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a counter, mixed.
  uint64_t z = random_state_.fetch_add(0x9E3779B97F4A7C15ULL, std::memory_order_relaxed);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

}  // namespace tamis
