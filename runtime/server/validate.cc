// SPDX-License-Identifier: Apache-2.0
// One function per field group; the first problem is the answer.
#include "runtime/server/validate.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "runtime/server/wire.h"

namespace tamis {
namespace {

template <typename... Parts>
absl::Status Bad(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// A client's string as it may stand in a message: escaped and cut.
std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 64;
  return absl::StrCat("\"", absl::Utf8SafeCEscape(View(text.substr(0, kShown))),
                      text.size() > kShown ? "...\"" : "\"");
}

absl::Status CheckText(std::string_view text, std::string_view field) {
  if (!IsUtf8(text)) return Bad(View(field), ": not valid UTF-8");
  return absl::OkStatus();
}

absl::Status CheckChat(const v1::ChatMessages& chat) {
  if (chat.messages().empty()) return Bad("chat.messages: empty; at least one is needed");
  for (int i = 0; i < chat.messages_size(); ++i) {
    const v1::ChatMessage& message = chat.messages(i);
    const std::string& role = message.role();
    if (role != "system" && role != "user" && role != "assistant") {
      return Bad("chat.messages[", i, "].role: ", Quoted(role),
                 "; allowed are system, user and assistant");
    }
    const std::string field = absl::StrCat("chat.messages[", i, "].content");
    if (absl::Status status = CheckText(message.content(), field); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckInt(std::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Bad("sampling.", View(field), ": ", value, "; allowed is [", low, ", ", high, "]");
}

absl::Status CheckFloat(std::string_view field, float value, float low, float high) {
  // Written so that a NaN fails.
  if (value >= low && value <= high) return absl::OkStatus();
  return Bad("sampling.", View(field), ": ", value, "; allowed is [", low, ", ", high, "]");
}

absl::Status CheckNumbers(const v1::SamplingOptions& sampling) {
  absl::Status status;
  if (sampling.has_max_tokens()) {
    status = CheckInt("max_tokens", sampling.max_tokens(), 1, INT32_MAX);
  }
  if (status.ok() && sampling.has_temperature()) {
    status = CheckFloat("temperature", sampling.temperature(), 0.0f, kTemperatureMax);
  }
  if (status.ok() && sampling.has_top_k()) {
    status = CheckInt("top_k", sampling.top_k(), 0, INT32_MAX);
  }
  if (status.ok() && sampling.has_top_p() && !(sampling.top_p() > 0 && sampling.top_p() <= 1)) {
    status = Bad("sampling.top_p: ", sampling.top_p(), "; allowed is (0, 1]");
  }
  if (status.ok() && sampling.has_min_p()) {
    status = CheckFloat("min_p", sampling.min_p(), 0.0f, 1.0f);
  }
  if (status.ok() && sampling.has_logprobs()) {
    status = CheckInt("logprobs", sampling.logprobs(), 0, kLogprobsMax);
  }
  return status;
}

absl::Status CheckStops(const v1::SamplingOptions& sampling, const RequestLimits& limits) {
  if (sampling.stop_size() > kStopStringsMax) {
    return Bad("sampling.stop: ", sampling.stop_size(), " strings; allowed are at most ",
               kStopStringsMax);
  }
  for (int i = 0; i < sampling.stop_size(); ++i) {
    const std::string& stop = sampling.stop(i);
    if (stop.empty() || stop.size() > kStopStringBytesMax) {
      return Bad("sampling.stop[", i, "]: ", stop.size(), " bytes; allowed are 1 to ",
                 kStopStringBytesMax);
    }
    const std::string field = absl::StrCat("sampling.stop[", i, "]");
    if (absl::Status status = CheckText(stop, field); !status.ok()) return status;
  }
  if (sampling.stop_token_ids_size() > kStopTokenIdsMax) {
    return Bad("sampling.stop_token_ids: ", sampling.stop_token_ids_size(),
               " ids; allowed are at most ", kStopTokenIdsMax);
  }
  return ValidateTokenIds(TokenSpan(sampling.stop_token_ids()), "sampling.stop_token_ids", limits);
}

// The server's own limits are the engine's to check.
absl::Status CheckSelection(const v1::SelectionOptions& selection) {
  if (!v1::SelectionMode_IsValid(selection.mode())) {
    return Bad("selection.mode: ", static_cast<int>(selection.mode()), "; allowed is [0, 3]");
  }
  if (selection.has_num_selected_tokens() && selection.num_selected_tokens() < 1) {
    return Bad("selection.num_selected_tokens: ", selection.num_selected_tokens(),
               "; it must be at least 1");
  }
  const double fraction = selection.selected_fraction();
  if (selection.has_selected_fraction() && !(fraction > 0 && fraction <= 1)) {
    return Bad("selection.selected_fraction: ", fraction, "; allowed is (0, 1]");
  }
  return absl::OkStatus();
}

int64_t ChatBytes(const v1::ChatMessages& chat) {
  int64_t bytes = 0;
  for (const v1::ChatMessage& message : chat.messages()) {
    bytes += static_cast<int64_t>(message.role().size() + message.content().size());
  }
  return bytes;
}

// A token more than max_model_len never fits, and none is longer than the longest.
absl::Status CheckPromptBytes(int64_t bytes, const RequestLimits& limits) {
  const int64_t most = limits.max_model_len * limits.token_bytes_max;
  if (limits.token_bytes_max == 0 || bytes <= most) return absl::OkStatus();
  return Bad("input: ", bytes, " bytes of text; allowed are at most ", most,
             ", what max_model_len (", limits.max_model_len, ") of the longest token hold");
}

}  // namespace

int64_t TextBytes(const v1::GenerateRequest& request) {
  if (request.has_chat()) return ChatBytes(request.chat());
  return static_cast<int64_t>(request.text().size());
}

int64_t TextBytes(const v1::TokenizeRequest& request) {
  if (request.has_chat()) return ChatBytes(request.chat());
  return static_cast<int64_t>(request.text().size());
}

absl::Status ValidateTextBytes(int64_t bytes) {
  if (bytes <= kTextBytesMax) return absl::OkStatus();
  return Bad("input: ", bytes, " bytes of text; allowed are at most ", kTextBytesMax);
}

bool IsUtf8(std::string_view text) {
  size_t i = 0;
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(text[at]); };
  while (i < text.size()) {
    const unsigned char lead = byte(i);
    size_t length = 1;
    unsigned char low = 0x80;  // allowed range of the second byte
    unsigned char high = 0xBF;
    if (lead >= 0x80) {
      if (lead < 0xC2 || lead > 0xF4) return false;
      length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
      if (lead == 0xE0) low = 0xA0;   // overlong
      if (lead == 0xED) high = 0x9F;  // surrogates
      if (lead == 0xF0) low = 0x90;   // overlong
      if (lead == 0xF4) high = 0x8F;  // above U+10FFFF
      if (i + length > text.size()) return false;
      if (byte(i + 1) < low || byte(i + 1) > high) return false;
      for (size_t j = 2; j < length; ++j) {
        if ((byte(i + j) & 0xC0) != 0x80) return false;
      }
    }
    i += length;
  }
  return true;
}

absl::Status ValidateTokenIds(std::span<const int32_t> ids, std::string_view field,
                              const RequestLimits& limits) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= limits.vocab_size) {
      return Bad(View(field), "[", i, "]: ", ids[i], "; allowed is [0, ", limits.vocab_size, ")");
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateRequest(const v1::GenerateRequest& request, const RequestLimits& limits) {
  if (!request.model().empty() && request.model() != limits.model_name) {
    return Bad("model: ", Quoted(request.model()), "; this server serves ",
               Quoted(limits.model_name));
  }
  if (request.request_id().size() > kRequestIdBytesMax) {
    return Bad("request_id: ", request.request_id().size(), " bytes; allowed are at most ",
               kRequestIdBytesMax);
  }
  absl::Status status = CheckPromptBytes(TextBytes(request), limits);
  if (!status.ok()) return status;
  switch (request.input_case()) {
    case v1::GenerateRequest::kText: status = CheckText(request.text(), "text"); break;
    case v1::GenerateRequest::kTokenIds:
      status = ValidateTokenIds(TokenSpan(request.token_ids().ids()), "token_ids.ids", limits);
      break;
    case v1::GenerateRequest::kChat: status = CheckChat(request.chat()); break;
    case v1::GenerateRequest::INPUT_NOT_SET:
      status = Bad("input: not set; one of text, token_ids and chat is needed");
      break;
  }
  if (status.ok()) status = CheckNumbers(request.sampling());
  if (status.ok()) status = CheckStops(request.sampling(), limits);
  if (status.ok()) status = CheckSelection(request.selection());
  return status;
}

absl::Status ValidateRequest(const v1::TokenizeRequest& request) {
  if (absl::Status status = ValidateTextBytes(TextBytes(request)); !status.ok()) return status;
  switch (request.input_case()) {
    case v1::TokenizeRequest::kText: return CheckText(request.text(), "text");
    case v1::TokenizeRequest::kChat: return CheckChat(request.chat());
    case v1::TokenizeRequest::INPUT_NOT_SET: break;
  }
  return Bad("input: not set; one of text and chat is needed");
}

absl::Status ValidatePromptLength(int64_t prompt_tokens, const RequestLimits& limits) {
  if (prompt_tokens == 0) return Bad("input: the prompt has no tokens; at least one is needed");
  if (prompt_tokens >= limits.max_model_len) {
    return Bad("input: the prompt has ", prompt_tokens, " tokens; allowed are at most ",
               limits.max_model_len - 1, " (max_model_len - 1)");
  }
  return absl::OkStatus();
}

SelectionParams ToSelectionParams(const v1::SelectionOptions& selection) {
  SelectionParams params;
  if (selection.mode() == v1::SELECTION_MODE_ON) params.mode = SelectionMode::kOn;
  if (selection.mode() == v1::SELECTION_MODE_OFF) params.mode = SelectionMode::kOff;
  if (selection.has_num_selected_tokens()) {
    params.budget = SelectionBudget{selection.num_selected_tokens(), 0.0};
  }
  if (selection.has_selected_fraction()) {
    params.budget = SelectionBudget{0, selection.selected_fraction()};
  }
  return params;
}

SamplingParams ToSamplingParams(const v1::SamplingOptions& sampling, int64_t prompt_tokens,
                                const RequestLimits& limits, uint64_t random_seed) {
  SamplingParams params;
  int64_t room = std::min<int64_t>(limits.max_model_len - prompt_tokens, INT32_MAX);
  if (sampling.has_max_tokens()) room = std::min<int64_t>(room, sampling.max_tokens());
  params.max_tokens = static_cast<int32_t>(room);
  if (sampling.has_temperature()) params.temperature = sampling.temperature();
  if (sampling.has_top_k()) params.top_k = sampling.top_k();
  if (sampling.has_top_p()) params.top_p = sampling.top_p();
  if (sampling.has_min_p()) params.min_p = sampling.min_p();
  params.seed = sampling.has_seed() ? sampling.seed() : random_seed;
  params.ignore_eos = sampling.ignore_eos();
  params.stop_token_ids.assign(sampling.stop_token_ids().begin(), sampling.stop_token_ids().end());
  if (sampling.has_logprobs()) params.num_logprobs = sampling.logprobs();
  return params;
}

}  // namespace tamis
