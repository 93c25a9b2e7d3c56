// SPDX-License-Identifier: Apache-2.0
// See jinja_source.h.
#include "runtime/tokenizer/jinja_source.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace tamis {
namespace {

struct JinjaToken {
  enum class Kind { kWord, kString, kPunctuation } kind;
  std::string text;  // a string's value
};
using Tokens = std::vector<JinjaToken>;
using Kind = JinjaToken::Kind;

bool IsWordChar(char c) {
  return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Reads the string literal at the front of `in` and removes it.
std::optional<std::string> TakeString(std::string_view& in) {
  const char quote = in[0];
  std::string value;
  for (size_t i = 1; i < in.size(); ++i) {
    if (in[i] == quote) {
      in.remove_prefix(i + 1);
      return value;
    }
    if (in[i] != '\\') {
      value.push_back(in[i]);
      continue;
    }
    if (++i == in.size()) break;
    switch (in[i]) {
      case 'n': value.push_back('\n'); break;
      case 't': value.push_back('\t'); break;
      case 'r': value.push_back('\r'); break;
      case '\\':
      case '\'':
      case '"': value.push_back(in[i]); break;
      default: return std::nullopt;
    }
  }
  return std::nullopt;
}

// Lexes `in` up to `close` ("%}" or "}}") and removes both. `trim` says whether "-" stood before.
std::optional<Tokens> TakeTag(std::string_view& in, std::string_view close, bool& trim) {
  Tokens tokens;
  while (!in.empty()) {
    trim = in[0] == '-' && in.substr(1).starts_with(close);
    if (trim || in.starts_with(close)) {
      in.remove_prefix(close.size() + (trim ? 1 : 0));
      return tokens;
    }
    if (IsSpace(in[0])) {
      in.remove_prefix(1);
    } else if (in[0] == '\'' || in[0] == '"') {
      std::optional<std::string> value = TakeString(in);
      if (!value) return std::nullopt;
      tokens.push_back({Kind::kString, *std::move(value)});
    } else if (IsWordChar(in[0])) {
      size_t length = 1;
      while (length < in.size() && IsWordChar(in[length])) ++length;
      tokens.push_back({Kind::kWord, std::string(in.substr(0, length))});
      in.remove_prefix(length);
    } else {
      const bool two = in.size() > 1 && in[1] == '=' &&
                       std::string_view("=!<>").find(in[0]) != std::string_view::npos;
      tokens.push_back({Kind::kPunctuation, std::string(in.substr(0, two ? 2 : 1))});
      in.remove_prefix(two ? 2 : 1);
    }
  }
  return std::nullopt;
}

bool Is(const JinjaToken& token, std::string_view punctuation) {
  return token.kind == Kind::kPunctuation && token.text == punctuation;
}

// Appends `token`, rewriting x.y to x["y"] and joining string literals that are added.
void Append(JinjaToken token, Tokens& out) {
  if (token.kind == Kind::kWord && !out.empty() && Is(out.back(), ".")) {
    out.back() = {Kind::kPunctuation, "["};
    out.push_back({Kind::kString, std::move(token.text)});
    out.push_back({Kind::kPunctuation, "]"});
    return;
  }
  if (token.kind == Kind::kString && out.size() >= 2 && Is(out.back(), "+") &&
      out[out.size() - 2].kind == Kind::kString) {
    out.pop_back();
    out.back().text += token.text;
    return;
  }
  out.push_back(std::move(token));
}

std::string Print(const Tokens& tokens) {
  std::string text;
  bool after_operand = false;  // two operands side by side need a space
  for (const JinjaToken& token : tokens) {
    if (after_operand && token.kind != Kind::kPunctuation) text += ' ';
    if (token.kind == Kind::kString) {
      text += '"';
      for (const char c : token.text) {
        if (c == '"' || c == '\\') text += '\\';
        text += c;
      }
      text += '"';
    } else {
      text += token.text;
    }
    after_operand = token.kind != Kind::kPunctuation || Is(token, ")") || Is(token, "]");
  }
  return text;
}

// Collects the normal form; outputs wait until a statement ends their run.
class Writer {
 public:
  explicit Writer(const JinjaConditions& never) : never_(never) {}

  void Text(std::string_view text) {
    if (!text.empty()) Output({{Kind::kString, std::string(text)}});
  }
  void Output(Tokens tokens) {
    if (skip_ != Skip::kNothing) return;
    if (!output_.empty()) Append({Kind::kPunctuation, "+"}, output_);
    for (JinjaToken& token : tokens) Append(std::move(token), output_);
  }
  void Statement(Tokens tokens) {
    Tokens joined;
    for (JinjaToken& token : tokens) Append(std::move(token), joined);
    const std::string text = Print(joined);
    const std::string_view word = joined.empty() ? std::string_view() : joined[0].text;
    if (skip_ != Skip::kNothing && StillSkipped(word)) return;
    if ((word == "if" || word == "elif") && IsNever(std::string_view(text).substr(word.size()))) {
      skip_ = word == "if" ? Skip::kBlock : Skip::kBranch;
      depth_ = 0;
      return;
    }
    Flush();
    text_ += "{%" + text + "%}";
  }
  std::string Finish() {
    Flush();
    return std::move(text_);
  }

 private:
  enum class Skip { kNothing, kBlock, kBranch };

  bool IsNever(std::string_view condition) const {
    if (condition.starts_with(' ')) condition.remove_prefix(1);
    return std::find(never_.begin(), never_.end(), condition) != never_.end();
  }
  // Follows the nesting of a branch left out; false for the statement that ends it and is kept.
  bool StillSkipped(std::string_view word) {
    if (word == "if" || word == "for") ++depth_;
    const bool ends = word == "endif" || word == "endfor";
    if (depth_ > 0) {
      if (ends) --depth_;
      return true;
    }
    if (!ends && word != "else" && word != "elif") return true;
    const bool dropped = skip_ == Skip::kBlock && ends;
    skip_ = Skip::kNothing;
    return dropped;
  }
  void Flush() {
    if (!output_.empty()) text_ += "{{" + Print(output_) + "}}";
    output_.clear();
  }

  const JinjaConditions& never_;
  Skip skip_ = Skip::kNothing;
  int depth_ = 0;  // of blocks opened inside what is skipped
  Tokens output_;
  std::string text_;
};

// Removes the white space before a tag: all of it for "-", else what stands between the start of
// its line and a block.
std::string_view TrimEnd(std::string_view text, bool trim, bool block, bool at_line_start) {
  size_t end = text.size();
  if (trim) {
    while (end > 0 && IsSpace(text[end - 1])) --end;
    return text.substr(0, end);
  }
  if (!block) return text;
  while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t')) --end;
  const bool own_line = end == 0 ? at_line_start : text[end - 1] == '\n';
  return own_line ? text.substr(0, end) : text;
}

}  // namespace

std::optional<std::string> CanonicalJinja(std::string_view source, const JinjaConditions& never) {
  if (source.ends_with('\n')) source.remove_suffix(1);
  Writer writer(never);
  bool at_line_start = true;  // whether `source` now stands at the start of a line
  while (!source.empty()) {
    size_t open = 0;
    while (open < source.size() &&
           !(source[open] == '{' && open + 1 < source.size() &&
             std::string_view("{%#").find(source[open + 1]) != std::string_view::npos)) {
      ++open;
    }
    if (open == source.size()) {
      writer.Text(source);
      break;
    }
    const char kind = source[open + 1];
    const bool trim_before = open + 2 < source.size() && source[open + 2] == '-';
    writer.Text(TrimEnd(source.substr(0, open), trim_before, kind != '{', at_line_start));
    source.remove_prefix(open + 2 + (trim_before ? 1 : 0));

    bool trim_after = false;
    if (kind == '#') {
      const size_t close = source.find("#}");
      if (close == std::string_view::npos) return std::nullopt;
      trim_after = close > 0 && source[close - 1] == '-';
      source.remove_prefix(close + 2);
    } else {
      std::optional<Tokens> tokens = TakeTag(source, kind == '%' ? "%}" : "}}", trim_after);
      if (!tokens) return std::nullopt;
      if (kind == '%') {
        writer.Statement(*std::move(tokens));
      } else {
        writer.Output(*std::move(tokens));
      }
    }
    at_line_start = false;
    if (trim_after) {
      while (!source.empty() && IsSpace(source[0])) source.remove_prefix(1);
    } else if (kind != '{' && source.starts_with('\n')) {
      source.remove_prefix(1);
      at_line_start = true;
    }
  }
  return writer.Finish();
}

}  // namespace tamis
