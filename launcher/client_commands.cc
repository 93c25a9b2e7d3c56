// SPDX-License-Identifier: Apache-2.0
// `tamis generate` and `tamis chat`: what is asked, and how answers look in a terminal.
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iostream>
#include <sstream>

#include "launcher/client.h"
#include "launcher/signals.h"

namespace tamis {
namespace {

void PrintPiece(const std::string& text) { std::cout << text << std::flush; }

int Complain(const absl::Status& status) {
  std::cerr << "tamis: " << std::string(status.message()) << std::endl;
  return 1;
}

void AddMessage(const std::string& role, const std::string& content, v1::ChatMessages* chat) {
  v1::ChatMessage* message = chat->add_messages();
  message->set_role(role);
  message->set_content(content);
}

// One turn: asks with the conversation so far and appends the answer to it.
bool Turn(const Connection& server, const ClientFlags& flags, v1::ChatMessages* chat) {
  v1::GenerateRequest request;
  *request.mutable_chat() = *chat;
  *request.mutable_sampling() = ToOptions(flags.sampling);
  *request.mutable_selection() = ToOptions(flags.selection);
  const Answer answer = Ask(server, request, flags.timeout_s, PrintPiece);
  std::cout << std::endl;
  if (!answer.status.ok()) {
    PrintError(answer.status);
    return false;
  }
  AddMessage("assistant", answer.text, chat);
  return true;
}

}  // namespace

int RunGenerate(const GenerateFlags& flags) {
  CatchSignals({SIGINT, SIGTERM});
  v1::GenerateRequest request;
  if (flags.prompt) {
    request.set_text(*flags.prompt);
  } else if (flags.prompt_file) {
    std::ifstream file(*flags.prompt_file, std::ios::binary);
    std::ostringstream text;
    file.peek();  // a directory opens, but does not read
    if (file && !file.eof()) text << file.rdbuf();
    if (!file.is_open() || file.bad()) {
      std::cerr << "tamis: " << *flags.prompt_file << ": cannot be read" << std::endl;
      return 1;
    }
    request.set_text(text.str());
  } else {
    request.mutable_token_ids()->mutable_ids()->Add(flags.token_ids.begin(), flags.token_ids.end());
  }
  *request.mutable_sampling() = ToOptions(flags.client.sampling);
  *request.mutable_selection() = ToOptions(flags.client.selection);

  const absl::StatusOr<Connection> server = Connect(flags.client.channel);
  if (!server.ok()) return Complain(server.status());
  const Answer answer = Ask(*server, request, flags.client.timeout_s, [&](const std::string& text) {
    if (!flags.json) PrintPiece(text);
  });
  if (!flags.json && !answer.text.empty()) std::cout << std::endl;
  if (!answer.status.ok()) {
    PrintError(answer.status);
    return 1;
  }
  if (flags.json) std::cout << ToJson(answer) << std::endl;
  return 0;
}

int RunChat(const ChatFlags& flags) {
  CatchSignals({SIGINT, SIGTERM});
  const absl::StatusOr<Connection> server = Connect(flags.client.channel);
  if (!server.ok()) return Complain(server.status());
  v1::ChatMessages chat;
  if (flags.system) AddMessage("system", *flags.system, &chat);
  if (flags.prompt) {
    AddMessage("user", *flags.prompt, &chat);
    return Turn(*server, flags.client, &chat) ? 0 : 1;
  }

  const bool terminal = isatty(STDIN_FILENO) == 1;
  if (terminal) std::cout << "/exit or end of input leaves" << std::endl;
  bool all_answered = true;
  std::string line;
  while (true) {
    if (terminal) std::cout << "> " << std::flush;
    {
      // Between turns a signal ends the program; within one it cancels the answer.
      const SignalThread leave([](int signal) { _exit(128 + signal); });
      if (!std::getline(std::cin, line) || line == "/exit") break;
    }
    if (line.empty()) continue;
    AddMessage("user", line, &chat);
    if (!Turn(*server, flags.client, &chat)) {
      // The question stays unanswered: a conversation goes on without it.
      chat.mutable_messages()->RemoveLast();
      all_answered = false;
      if (!terminal) break;
    }
  }
  return all_answered || terminal ? 0 : 1;
}

}  // namespace tamis
