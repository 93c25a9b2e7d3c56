// SPDX-License-Identifier: Apache-2.0
// See pre_tokenizer.h. None of the expressions can backtrack over more than one run of characters,
// so matching is linear; PCRE2's own limits, meant for the other kind, are lifted.
#include "runtime/tokenizer/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

// Insides of character classes. The ranges complete PCRE2 10.42's Unicode 14 to the Unicode 16 of
// Hugging Face's engine (Digits: 17, Rust's). ASCII comes first because PCRE2 tests it faster.
// White space is spelt out because PCRE2's \s also has U+180E.
constexpr char kLetter[] =
    R"(a-zA-Z\p{L}\x{1C89}-\x{1C8A}\x{A7CB}-\x{A7CD}\x{A7DA}-\x{A7DC}\x{105C0}-\x{105F3})"
    R"(\x{10D4A}-\x{10D65}\x{10D6F}-\x{10D85}\x{10EC2}-\x{10EC4}\x{1123F}-\x{11240})"
    R"(\x{11380}-\x{11389}\x{1138B}\x{1138E}\x{11390}-\x{113B5}\x{113B7}\x{113D1}\x{113D3})"
    R"(\x{11BC0}-\x{11BE0}\x{11F02}\x{11F04}-\x{11F10}\x{11F12}-\x{11F33}\x{1342F})"
    R"(\x{13441}-\x{13446}\x{13460}-\x{143FA}\x{16100}-\x{1611D}\x{16D40}-\x{16D6C}\x{18CFF})"
    R"(\x{1B132}\x{1B155}\x{1DF25}-\x{1DF2A}\x{1E030}-\x{1E06D}\x{1E4D0}-\x{1E4EB})"
    R"(\x{1E5D0}-\x{1E5ED}\x{1E5F0}\x{2B739}\x{2EBF0}-\x{2EE5D}\x{31350}-\x{323AF})";
constexpr char kNumber[] =
    R"(0-9\p{N}\x{10D40}-\x{10D49}\x{116D0}-\x{116E3}\x{11BF0}-\x{11BF9}\x{11F50}-\x{11F59})"
    R"(\x{16130}-\x{16139}\x{16D70}-\x{16D79}\x{1CCF0}-\x{1CCF9}\x{1D2C0}-\x{1D2D3})"
    R"(\x{1E4F0}-\x{1E4F9}\x{1E5F1}-\x{1E5FA})";
constexpr char kNewestNumber[] = R"(\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6})";
constexpr char kSpace[] =
    R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F})"
    R"(\x{3000})";

std::string Pattern(SplitRule rule) {
  const std::string letters = absl::StrCat("[", kLetter, "]+");
  const std::string others = absl::StrCat("[^", kSpace, kLetter, kNumber, "]+");
  // Spaces give their last one to the word that follows.
  const std::string spaces = absl::StrCat("[", kSpace, "]+(?![^", kSpace, "])|[", kSpace, "]+");
  switch (rule) {
    case SplitRule::kDigits: return absl::StrCat("[", kNumber, kNewestNumber, "]");
    case SplitRule::kGpt2:
      return absl::StrCat("'s|'t|'re|'ve|'m|'ll|'d| ?", letters, "| ?[", kNumber, "]+| ?", others,
                          "|", spaces);
    case SplitRule::kLlama3:
      return absl::StrCat("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n", kLetter, kNumber, "]?", letters,
                          "|[", kNumber, "]{1,3}| ?", others, "[\\r\\n]*|[", kSpace, "]*[\\r\\n]+|",
                          spaces);
  }
  return {};
}

struct Deleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
using Code = std::unique_ptr<pcre2_code, Deleter>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter>;

absl::Status PcreError(const char* what, int code) {
  char message[256] = "";
  pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof(message));
  return absl::InternalError(absl::StrCat("pre-tokeniser: ", what, ": PCRE2: ", message));
}

}  // namespace

struct PreTokenizer::Impl {
  std::vector<Code> stages;
  MatchContext context;

  // Splits `text` by stage `stage` and hands the pieces to the next.
  absl::Status Split(size_t stage, std::string_view text, pcre2_match_data* data,
                     absl::FunctionRef<void(std::string_view)> emit) const {
    if (stage == stages.size()) {
      if (!text.empty()) emit(text);
      return absl::OkStatus();
    }
    size_t done = 0;
    while (done < text.size()) {
      // Checking UTF-8 again for each word would make this quadratic.
      const int rc = pcre2_match(stages[stage].get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                 text.size(), done, PCRE2_NO_UTF_CHECK, data, context.get());
      if (rc == PCRE2_ERROR_NOMATCH) break;
      if (rc < 0) return PcreError("match", rc);
      const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data);
      const size_t begin = bounds[0];
      const size_t end = bounds[1];
      if (end <= begin) return absl::InternalError("pre-tokeniser: empty match");
      if (begin > done) {
        TAMIS_RETURN_IF_ERROR(Split(stage + 1, text.substr(done, begin - done), data, emit));
      }
      TAMIS_RETURN_IF_ERROR(Split(stage + 1, text.substr(begin, end - begin), data, emit));
      done = end;
    }
    return Split(stage + 1, text.substr(done), data, emit);
  }
};

PreTokenizer::PreTokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

absl::StatusOr<PreTokenizer> PreTokenizer::Create(const std::vector<SplitRule>& rules) {
  auto impl = std::make_unique<Impl>();
  for (const SplitRule rule : rules) {
    const std::string pattern = Pattern(rule);
    int error = 0;
    PCRE2_SIZE offset = 0;
    Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                            PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
    if (code == nullptr) return PcreError("compile", error);
    // Where the system forbids JIT, the interpreter gives the same matches.
    const int rc = pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
    if (rc != 0 && rc != PCRE2_ERROR_JIT_BADOPTION && rc != PCRE2_ERROR_NOMEMORY) {
      return PcreError("compile", rc);
    }
    impl->stages.push_back(std::move(code));
  }
  impl->context.reset(pcre2_match_context_create(nullptr));
  if (impl->context == nullptr) return absl::ResourceExhaustedError("pre-tokeniser: no memory");
  pcre2_set_match_limit(impl->context.get(), UINT32_MAX);
  pcre2_set_heap_limit(impl->context.get(), UINT32_MAX);
  return PreTokenizer(std::move(impl));
}

absl::Status PreTokenizer::Split(std::string_view text,
                                 absl::FunctionRef<void(std::string_view)> emit) const {
  const MatchData data(pcre2_match_data_create(1, nullptr));
  if (data == nullptr) return absl::ResourceExhaustedError("pre-tokeniser: no memory");
  return impl_->Split(0, text, data.get(), emit);
}

}  // namespace tamis
