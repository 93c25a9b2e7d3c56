// SPDX-License-Identifier: Apache-2.0
// Chat templates are recognised, not executed: a template is known when its normal form is that of
// a reference below, so a variant that renders differently is refused and never approximated.
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/status_macros.h"
#include "runtime/tokenizer/jinja_source.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tokenizer/utf8.h"

namespace tamis {
namespace {

constexpr char kHole[] = "@@";  // where a reference leaves the system message open

constexpr char kChatMlTurn[] =
    R"({{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }})";
constexpr char kChatMlPrompt[] = R"({{ '<|im_start|>assistant\n' }})";
constexpr char kChatMlDefault[] = R"({{ '<|im_start|>system\n@@<|im_end|>\n' }}{% endif %})";
constexpr char kLlama3Turn[] =
    R"('<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim)"
    R"( + '<|eot_id|>')";
constexpr char kLlama3Prompt[] = R"({{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }})";

std::string Canonical(const std::string& jinja) { return CanonicalJinja(jinja).value_or(""); }

// `prompt`, with and without the condition on add_generation_prompt.
std::vector<std::string> Prompts(const std::string& prompt) {
  return {"{% if add_generation_prompt %}" + prompt + "{% endif %}", prompt};
}

std::vector<std::string> ChatMlReferences() {
  const std::string loop = "{% for message in messages %}";
  const std::string no_system = "messages[0].role != 'system' %}";
  std::vector<std::string> references;
  for (const std::string& prompt : Prompts(kChatMlPrompt)) {
    const std::string rest = kChatMlTurn + std::string("{% endfor %}") + prompt;
    references.push_back(loop + rest);
    references.push_back(loop + "{% if loop.first and " + no_system + kChatMlDefault + rest);
    references.push_back("{% if " + no_system + kChatMlDefault + loop + rest);
  }
  return references;
}

std::vector<std::string> Llama3References() {
  const std::string turn = kLlama3Turn;
  std::vector<std::string> references;
  for (const std::string& prompt : Prompts(kLlama3Prompt)) {
    references.push_back(
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = " +
        turn +
        " %}{% if loop.index0 == 0 %}"
        "{% set content = bos_token + content %}{% endif %}{{ content }}"
        "{% endfor %}" +
        prompt);
    references.push_back("{{ bos_token }}{% for message in messages %}{{ " + turn +
                         " }}{% endfor %}" + prompt);
  }
  return references;
}

// Whether `form` is `reference`; the text in its hole, if it has one, goes to `hole`.
bool Matches(const std::string& form, const std::string& reference,
             std::optional<std::string>& hole) {
  const size_t at = reference.find(kHole);
  if (at == std::string::npos) return form == reference;
  const std::string_view before = std::string_view(reference).substr(0, at);
  const std::string_view after = std::string_view(reference).substr(at + 2);
  if (form.size() < before.size() + after.size() || !form.starts_with(before) ||
      !form.ends_with(after)) {
    return false;
  }
  const std::string_view inside =
      std::string_view(form).substr(at, form.size() - before.size() - after.size());
  std::string text;
  for (size_t i = 0; i < inside.size(); ++i) {
    if (inside[i] == '"') return false;  // the literal ends before the hole does
    if (inside[i] == '\\') ++i;
    text.push_back(inside[i]);
  }
  // A special token in the literal would need parsing that the rest of it must not get.
  if (text.find("<|") != std::string::npos) return false;
  hole = std::move(text);
  return true;
}

// Whether `form` is Llama 3.1's or 3.2's template: that these parts stand in it in this order
// fixes how it renders without tools. `date` is the one it falls back on.
bool IsLlama3Dated(const std::string& form, std::optional<std::string>& date) {
  const std::string set_date = "{%set date_string=\"";
  const std::string turn = Canonical(absl::StrCat("{{ ", kLlama3Turn, " }}"));
  const std::string parts[] = {
      set_date,
      Canonical("{% if messages[0].role == 'system' %}"
                "{% set system_message = messages[0].content | trim %}"
                "{% set messages = messages[1:] %}{% else %}{% set system_message = '' %}"
                "{% endif %}"),
      "<|start_header_id|>system<|end_header_id|>\n\n",
      "Cutting Knowledge Date: December 2023\nToday Date: \"+date_string+\"\n\n",
      "system_message+\"<|eot_id|>\"",
      Canonical("{% for message in messages %}{% if not (message.role == 'ipython' or "
                "message.role == 'tool' or 'tool_calls' in message) %}") +
          turn,
      "{%endfor%}" + Canonical(Prompts(kLlama3Prompt)[0]),
  };
  if (!form.starts_with("{{bos_token}}") || !form.ends_with(parts[6])) return false;
  size_t at = 0;
  for (const std::string& part : parts) {
    at = form.find(part, at);
    if (at == std::string::npos) return false;
    at += part.size();
  }
  if (form.find("strftime_now") == std::string::npos) {
    const size_t start = form.find(set_date) + set_date.size();
    date = form.substr(start, form.find('"', start) - start);
  }
  return true;
}

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
  std::string form = Canonical(tokenizer.chat_template_source());
  const std::string preamble = Canonical(
      "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}"
      "{% endif %}");
  if (form.starts_with(preamble)) form.erase(0, preamble.size());

  std::optional<std::string> text;
  std::optional<Style> style;
  for (const std::string& reference : ChatMlReferences()) {
    if (!style && Matches(form, Canonical(reference), text)) style = Style::kChatMl;
  }
  for (const std::string& reference : Llama3References()) {
    if (!style && Matches(form, Canonical(reference), text)) style = Style::kLlama3;
  }
  if (!style && IsLlama3Dated(form, text)) style = Style::kLlama3Dated;
  if (!style) {
    return absl::UnimplementedError(
        absl::StrCat("chat template: the model's is not supported (", kSupported, ")"));
  }
  if (*style == Style::kChatMl) {
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
  return ChatTemplate(tokenizer, *style, std::move(text));
}

absl::StatusOr<std::vector<int32_t>> ChatTemplate::Encode(
    std::span<const ChatMessage> messages) const {
  TAMIS_RETURN_IF_ERROR(CheckMessages(messages));
  PromptWriter out(*tokenizer_);
  if (style_ == Style::kChatMl) {
    TAMIS_RETURN_IF_ERROR(WriteChatMl(messages, default_text_, out));
  } else {
    std::optional<std::string> preamble;
    if (style_ == Style::kLlama3Dated) {
      preamble = absl::StrCat("Cutting Knowledge Date: December 2023\nToday Date: ",
                              default_text_ ? *default_text_ : Today(), "\n\n");
    }
    TAMIS_RETURN_IF_ERROR(WriteLlama3(messages, tokenizer_->bos_token_id(), preamble, out));
  }
  return out.Finish();
}

}  // namespace tamis
