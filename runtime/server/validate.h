// SPDX-License-Identifier: Apache-2.0
// Every rule a request must meet before the engine sees it. Messages name the field, the value and
// what is allowed. The status is always INVALID_ARGUMENT.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "proto/tamis.pb.h"
#include "runtime/engine/request.h"

namespace tamis {

struct RequestLimits {
  std::string model_name;
  int64_t max_model_len = 0;  // prompt and completion together
  int64_t vocab_size = 0;
  int64_t token_bytes_max = 0;  // of the longest token
};

inline constexpr float kTemperatureMax = 100.0f;
inline constexpr int kStopStringsMax = 16;
inline constexpr size_t kStopStringBytesMax = 1024;
inline constexpr int kStopTokenIdsMax = 64;
inline constexpr int kLogprobsMax = 20;
inline constexpr size_t kRequestIdBytesMax = 256;
// Of a text to tokenise, and of what tokens become. Prompts are also bound by max_model_len.
inline constexpr int64_t kTextBytesMax = int64_t{16} << 20;

bool IsUtf8(std::string_view text);

// What has to be tokenised, in bytes; a chat message counts with its role. 0 for token ids.
int64_t TextBytes(const v1::GenerateRequest& request);
int64_t TextBytes(const v1::TokenizeRequest& request);

// Everything that can be said before the input is tokenised.
absl::Status ValidateRequest(const v1::GenerateRequest& request, const RequestLimits& limits);
absl::Status ValidateRequest(const v1::TokenizeRequest& request);

// `field` names where the ids come from in the message.
absl::Status ValidateTokenIds(std::span<const int32_t> ids, std::string_view field,
                              const RequestLimits& limits);

// `bytes` is what the tokens' texts add up to.
absl::Status ValidateTextBytes(int64_t bytes);

// What can be said once the prompt's length is known: not empty, room for one token.
absl::Status ValidatePromptLength(int64_t prompt_tokens, const RequestLimits& limits);

SelectionParams ToSelectionParams(const v1::SelectionOptions& selection);

// The engine's form of valid options. max_tokens is cut to what fits into max_model_len;
// `random_seed` is used when the client gives none.
SamplingParams ToSamplingParams(const v1::SamplingOptions& sampling, int64_t prompt_tokens,
                                const RequestLimits& limits, uint64_t random_seed);

}  // namespace tamis
