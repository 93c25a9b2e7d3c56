// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back: byte-level BPE (Sennrich et al., ACL 2016, over bytes as in GPT-2),
// with the pre-tokenisers of GPT-2/SmolLM and Llama 3.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace tamis {

// Immutable after construction; every method may be called from any thread.
class Tokenizer {
 public:
  virtual ~Tokenizer();

  // Loads from a .gguf file, a tokenizer.json or a directory that holds one (with
  // tokenizer_config.json for the chat template and special tokens). Errors name file and field.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& path);

  // Ids of `text`. Special tokens written in it are recognised only with `parse_special`. With
  // `add_bos` the model's BOS is put first if the model wants one and it is not there yet.
  // INVALID_ARGUMENT if the text is not UTF-8.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_bos,
                                                      bool parse_special) const = 0;

  // The bytes of one token; empty for special tokens when `skip_special`. Unknown ids give "".
  virtual std::string_view TokenBytes(int32_t id, bool skip_special) const = 0;

  // The text of `ids`; invalid UTF-8 becomes U+FFFD.
  std::string Decode(std::span<const int32_t> ids, bool skip_special) const;

  // Bytes of TokenBytes, of all `ids` together and of the longest token.
  int64_t CountBytes(std::span<const int32_t> ids, bool skip_special) const;
  int64_t token_bytes_max() const;

  virtual int32_t vocab_size() const = 0;
  virtual int32_t bos_token_id() const = 0;  // -1 = none
  virtual std::vector<int32_t> eos_token_ids() const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;
  // The model's Jinja chat template as its file gives it; empty if it has none.
  virtual const std::string& chat_template_source() const = 0;
};

// Detokenises a stream: gives text out as soon as it is whole, never splitting a UTF-8 character.
// One per sequence; `tokenizer` must outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}
  // The text that `id` completes; may be empty.
  std::string Push(int32_t id);
  // What is left at the end: an unfinished character becomes U+FFFD.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::string pending_;  // bytes of an unfinished character
};

struct ChatMessage {
  std::string role;  // system, user, assistant
  std::string content;
};

enum class ChatStyle : uint8_t {
  kLlama3,
  kLlama3Dated,  // Llama 3.1 and 3.2: the system message begins with dates
  kChatMl,
};

// Renders messages as the model's chat template would. Llama 3 and ChatML are known.
class ChatTemplate {
 public:
  // Recognises the tokenizer's template; UNIMPLEMENTED names what is supported otherwise.
  static absl::StatusOr<ChatTemplate> For(const Tokenizer& tokenizer);

  // Token ids of the conversation, ending where the assistant's answer begins. Content is never
  // parsed for special tokens. INVALID_ARGUMENT names messages[i].role when it is unknown, and
  // messages[i].content when it is not UTF-8.
  absl::StatusOr<std::vector<int32_t>> Encode(std::span<const ChatMessage> messages) const;

 private:
  ChatTemplate(const Tokenizer& tokenizer, ChatStyle style, std::optional<std::string> default_text)
      : tokenizer_(&tokenizer), style_(style), default_text_(std::move(default_text)) {}

  const Tokenizer* tokenizer_;
  ChatStyle style_;
  // ChatML: the system message of a conversation without one. Dated: the date, none = today's.
  std::optional<std::string> default_text_;
};

}  // namespace tamis
