// SPDX-License-Identifier: Apache-2.0
// The same calls as the server's, so the ids are those that the server would use.
#include "launcher/tokenize.h"

#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "runtime/status_macros.h"
#include "runtime/tokenizer/tokenizer.h"

namespace tamis {
namespace {

absl::StatusOr<std::vector<int32_t>> Ids(const TokenizeFlags& flags) {
  TAMIS_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Open(flags.model));
  if (flags.chat) {
    TAMIS_ASSIGN_OR_RETURN(const ChatTemplate chat, ChatTemplate::For(*tokenizer));
    const std::vector<ChatMessage> messages = {{"user", *flags.chat}};
    return chat.Encode(messages);
  }
  std::ostringstream text;
  if (flags.file) {
    std::ifstream file(*flags.file, std::ios::binary);
    file.peek();  // a directory opens, but does not read
    if (!file.is_open() || file.bad()) {
      return absl::NotFoundError(absl::StrCat(*flags.file, ": cannot be read"));
    }
    text << file.rdbuf();
  } else {
    text << *flags.text;
  }
  return tokenizer->Encode(text.str(), /*add_bos=*/true, /*parse_special=*/true);
}

}  // namespace

int RunTokenize(const TokenizeFlags& flags) {
  const absl::StatusOr<std::vector<int32_t>> ids = Ids(flags);
  if (!ids.ok()) {
    std::cerr << "tamis: " << ids.status().message() << std::endl;
    return 1;
  }
  std::cout << nlohmann::json(*ids).dump() << std::endl;
  return 0;
}

}  // namespace tamis
