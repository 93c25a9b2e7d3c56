// SPDX-License-Identifier: Apache-2.0
// Writes a conversation in one of the known styles. Special tokens are ids from the start and never
// text, so nothing that a message contains can become one.
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/status_macros.h"
#include "runtime/tokenizer/chat_reference.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tokenizer/utf8.h"

namespace tamis {
namespace {

absl::StatusOr<int32_t> SpecialId(const Tokenizer& tokenizer, const std::string& text) {
  TAMIS_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                         tokenizer.Encode(text, /*add_bos=*/false, /*parse_special=*/true));
  if (ids.size() == 1 && tokenizer.IsSpecial(ids[0])) return ids[0];
  return absl::InvalidArgumentError(
      absl::StrCat("chat template: ", text, " is not a special token of this tokenizer"));
}

std::string Today() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%d %b %Y", &local)};
}

// Joins text between special tokens before encoding it: its words must not see how it was made.
class PromptWriter {
 public:
  explicit PromptWriter(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void Text(std::string_view text) { text_.append(text); }
  absl::Status Special(const std::string& name) {
    TAMIS_ASSIGN_OR_RETURN(const int32_t id, SpecialId(tokenizer_, name));
    return Id(id);
  }
  absl::Status Id(int32_t id) {
    TAMIS_RETURN_IF_ERROR(Flush());
    ids_.push_back(id);
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<int32_t>> Finish() {
    TAMIS_RETURN_IF_ERROR(Flush());
    return std::move(ids_);
  }

 private:
  absl::Status Flush() {
    TAMIS_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                           tokenizer_.Encode(text_, /*add_bos=*/false, /*parse_special=*/false));
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    text_.clear();
    return absl::OkStatus();
  }
  const Tokenizer& tokenizer_;
  std::vector<int32_t> ids_;
  std::string text_;
};

absl::Status WriteChatMl(std::span<const ChatMessage> messages,
                         const std::optional<std::string>& default_system, PromptWriter& out) {
  const auto turn = [&out](std::string_view role, std::string_view content) -> absl::Status {
    TAMIS_RETURN_IF_ERROR(out.Special("<|im_start|>"));
    out.Text(role);
    out.Text("\n");
    out.Text(content);
    TAMIS_RETURN_IF_ERROR(out.Special("<|im_end|>"));
    out.Text("\n");
    return absl::OkStatus();
  };
  if (default_system && messages[0].role != "system") {
    TAMIS_RETURN_IF_ERROR(turn("system", *default_system));
  }
  for (const ChatMessage& message : messages) {
    TAMIS_RETURN_IF_ERROR(turn(message.role, message.content));
  }
  TAMIS_RETURN_IF_ERROR(out.Special("<|im_start|>"));
  out.Text("assistant\n");
  return absl::OkStatus();
}

// `preamble` begins the system message, which is then always there.
absl::Status WriteLlama3(std::span<const ChatMessage> messages, int32_t bos_id,
                         const std::optional<std::string>& preamble, PromptWriter& out) {
  const auto header = [&out](std::string_view role) -> absl::Status {
    TAMIS_RETURN_IF_ERROR(out.Special("<|start_header_id|>"));
    out.Text(role);
    TAMIS_RETURN_IF_ERROR(out.Special("<|end_header_id|>"));
    out.Text("\n\n");
    return absl::OkStatus();
  };
  TAMIS_RETURN_IF_ERROR(out.Id(bos_id));
  if (preamble) {
    TAMIS_RETURN_IF_ERROR(header("system"));
    out.Text(*preamble);
    if (messages[0].role == "system") {
      out.Text(StripPythonSpace(messages[0].content));
      messages = messages.subspan(1);
    }
    TAMIS_RETURN_IF_ERROR(out.Special("<|eot_id|>"));
  }
  for (const ChatMessage& message : messages) {
    TAMIS_RETURN_IF_ERROR(header(message.role));
    out.Text(StripPythonSpace(message.content));
    TAMIS_RETURN_IF_ERROR(out.Special("<|eot_id|>"));
  }
  return header("assistant");
}

absl::Status CheckMessages(std::span<const ChatMessage> messages) {
  if (messages.empty()) return absl::InvalidArgumentError("messages: at least one is needed");
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant") {
      return absl::InvalidArgumentError(absl::StrCat("messages[", i, "].role: \"", role,
                                                     "\" is none of system, user, assistant"));
    }
    if (const size_t bad = FindInvalidUtf8(messages[i].content); bad != std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("messages[", i, "].content: not UTF-8 at byte ", bad));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::For(const Tokenizer& tokenizer) {
  constexpr char kSupported[] = "supported: the templates of Llama 3, 3.1, 3.2, and ChatML";
  if (tokenizer.chat_template_source().empty()) {
    return absl::UnimplementedError(
        absl::StrCat("chat template: the model has none (", kSupported, ")"));
  }
  std::optional<KnownTemplate> known = RecogniseTemplate(tokenizer.chat_template_source());
  if (!known) {
    return absl::UnimplementedError(
        absl::StrCat("chat template: the model's is not supported (", kSupported, ")"));
  }
  if (known->style == ChatStyle::kChatMl) {
    TAMIS_RETURN_IF_ERROR(SpecialId(tokenizer, "<|im_start|>").status());
    TAMIS_RETURN_IF_ERROR(SpecialId(tokenizer, "<|im_end|>").status());
  } else {
    for (const char* name : {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}) {
      TAMIS_RETURN_IF_ERROR(SpecialId(tokenizer, name).status());
    }
    if (tokenizer.bos_token_id() < 0) {
      return absl::InvalidArgumentError("chat template: it needs a BOS token, the model has none");
    }
  }
  return ChatTemplate(tokenizer, known->style, std::move(known->text));
}

absl::StatusOr<std::vector<int32_t>> ChatTemplate::Encode(
    std::span<const ChatMessage> messages) const {
  TAMIS_RETURN_IF_ERROR(CheckMessages(messages));
  PromptWriter out(*tokenizer_);
  if (style_ == ChatStyle::kChatMl) {
    TAMIS_RETURN_IF_ERROR(WriteChatMl(messages, default_text_, out));
  } else {
    std::optional<std::string> preamble;
    if (style_ == ChatStyle::kLlama3Dated) {
      preamble = absl::StrCat("Cutting Knowledge Date: December 2023\nToday Date: ",
                              default_text_ ? *default_text_ : Today(), "\n\n");
    }
    TAMIS_RETURN_IF_ERROR(WriteLlama3(messages, tokenizer_->bos_token_id(), preamble, out));
  }
  return out.Finish();
}

}  // namespace tamis
