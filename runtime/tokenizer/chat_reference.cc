// SPDX-License-Identifier: Apache-2.0
// See chat_reference.h. The references are Jinja too, compared in normal form.
#include "runtime/tokenizer/chat_reference.h"

#include <string_view>
#include <utility>
#include <vector>

#include "runtime/tokenizer/jinja_source.h"

namespace tamis {
namespace {

constexpr char kHole[] = "@@";  // where a reference leaves the system message or the date open

constexpr char kChatMlTurn[] =
    R"({{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }})";
constexpr char kChatMlPrompt[] = R"({{ '<|im_start|>assistant\n' }})";
constexpr char kChatMlDefault[] = R"({{ '<|im_start|>system\n@@<|im_end|>\n' }}{% endif %})";
constexpr char kLlama3Turn[] =
    R"('<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim)"
    R"( + '<|eot_id|>')";
constexpr char kLlama3Prompt[] = R"({{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }})";

// Conditions of the branches that need tools, of which there are none here, or set their defaults.
JinjaConditions ToolConditions() {
  return {
      "custom_tools is defined",
      "not tools_in_user_message is defined",
      "not tools is defined",
      "builtin_tools is defined or tools is not none",
      "builtin_tools is defined",
      "tools is not none",
      "tools is not none and not tools_in_user_message",
      "tools_in_user_message and not tools is none",
      "\"tool_calls\" in message",
      "message[\"role\"]==\"tool\" or message[\"role\"]==\"ipython\"",
  };
}

std::string Canonical(const std::string& jinja) {
  return CanonicalJinja(jinja, ToolConditions()).value_or("");
}

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

// Llama 3.1 with a `fixed_date`, or 3.2, which asks for today's.
std::string Llama3DatedReference(bool fixed_date) {
  const std::string date = R"({% set date_string = '@@' %})";
  const std::string today =
      R"({% if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %})"
      R"({% else %}{% set date_string = '26 Jul 2024' %}{% endif %})";
  return "{{ bos_token }}{% if not date_string is defined %}" + (fixed_date ? date : today) +
         R"({% endif %}{% if messages[0].role == 'system' %})"
         R"({% set system_message = messages[0].content | trim %})"
         R"({% set messages = messages[1:] %}{% else %}{% set system_message = '' %}{% endif %})"
         R"({{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December )"
         R"(2023\nToday Date: ' + date_string + '\n\n' + system_message + '<|eot_id|>' }})"
         R"({% for message in messages %}{% if not (message.role == 'ipython' or )"
         R"(message.role == 'tool' or 'tool_calls' in message) %}{{ )" +
         std::string(kLlama3Turn) + " }}{% endif %}{% endfor %}" + Prompts(kLlama3Prompt)[0];
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

}  // namespace

std::optional<KnownTemplate> RecogniseTemplate(const std::string& jinja) {
  std::string form = Canonical(jinja);
  const std::string preamble = Canonical(
      "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}"
      "{% endif %}");
  if (form.starts_with(preamble)) form.erase(0, preamble.size());

  const std::pair<ChatStyle, std::vector<std::string>> known[] = {
      {ChatStyle::kChatMl, ChatMlReferences()},
      {ChatStyle::kLlama3, Llama3References()},
      {ChatStyle::kLlama3Dated, {Llama3DatedReference(true), Llama3DatedReference(false)}},
  };
  for (const auto& [style, references] : known) {
    for (const std::string& reference : references) {
      std::optional<std::string> text;
      if (Matches(form, Canonical(reference), text)) return KnownTemplate{style, std::move(text)};
    }
  }
  return std::nullopt;
}

}  // namespace tamis
