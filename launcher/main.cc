// SPDX-License-Identifier: Apache-2.0
// The `tamis` program: parses the command line and hands over. Exit codes: 0 done, 1 start-up or
// request error, 2 wrong usage.
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "google/protobuf/stubs/logging.h"
#include "grpc/support/log.h"
#include "launcher/bench/bench.h"
#include "launcher/client.h"
#include "launcher/serve.h"
#include "launcher/serve_flags.h"
#include "launcher/tokenize.h"
#include "launcher/version.h"

namespace tamis {
namespace {

constexpr int kWrongUsage = 2;

// Every rank parses the same command line; one complaint is enough. The rank is not known before
// MPI starts, so this looks at what the common launchers tell their processes.
bool SpeaksForAllRanks() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    const char* rank = std::getenv(name);
    if (rank != nullptr) return std::string(rank) == "0";
  }
  return true;
}

void AddChannel(CLI::App* app, ChannelFlags* flags) {
  app->add_option("--target", flags->target, "HOST:PORT of the server (default 127.0.0.1:50051)");
  app->add_flag("--ssl", flags->ssl, "TLS, checked against the system's CAs");
  app->add_option("--ssl-ca-certs", flags->ssl_ca_certs,
                  "PEM file of the CA to check the server against; implies --ssl");
  app->add_option("--ssl-certfile", flags->ssl_certfile, "PEM file of the client's certificate");
  app->add_option("--ssl-keyfile", flags->ssl_keyfile, "PEM file of its private key");
  app->add_option("--api-key-file", flags->api_key_file,
                  "file with the API key (default: TAMIS_API_KEY in the environment)");
}

void AddClient(CLI::App* app, ClientFlags* flags) {
  AddChannel(app, &flags->channel);
  app->add_option("--timeout", flags->timeout_s, "seconds for the whole answer (default: none)");
  SamplingFlags* sampling = &flags->sampling;
  app->add_option("--max-tokens", sampling->max_tokens, "most tokens to generate");
  app->add_option("--temperature", sampling->temperature, "0 = greedy (default 1)");
  app->add_option("--top-k", sampling->top_k, "0 = off (default)");
  app->add_option("--top-p", sampling->top_p, "(0, 1] (default 1)");
  app->add_option("--min-p", sampling->min_p, "[0, 1] (default 0)");
  app->add_option("--seed", sampling->seed, "at least 0 (default: random)")
      ->check([](const std::string& value) {  // -1 would wrap around
        return value.find('-') == 0 ? value + " is below 0" : std::string();
      });
  app->add_option("--stop", sampling->stop, "end before this text; may be given several times")
      ->allow_extra_args(false);
  app->add_option("--stop-token-ids", sampling->stop_token_ids, "ids, separated by commas")
      ->delimiter(',');
  app->add_flag("--ignore-eos", sampling->ignore_eos, "go on after the end-of-sequence token");
  SelectionFlags* selection = &flags->selection;
  app->add_option("--selection", selection->mode, "sparse decoding: auto, on, off (default auto)")
      ->check(CLI::IsMember({"auto", "on", "off"}));
  CLI::Option* count = app->add_option("--num-selected-tokens", selection->num_selected_tokens,
                                       "tokens that sparse layers attend to (default: server's)");
  app->add_option("--selected-fraction", selection->selected_fraction,
                  "the same as a fraction of what competes, (0, 1]")
      ->excludes(count);
}

void AddGenerate(CLI::App* app, GenerateFlags* flags) {
  CLI::Option_group* input = app->add_option_group("input");
  input->add_option("--prompt", flags->prompt, "text, sent as it is");
  input->add_option("--prompt-file", flags->prompt_file, "a file with the text");
  input->add_option("--token-ids", flags->token_ids, "ids, separated by commas")->delimiter(',');
  input->require_option(1);
  AddClient(app, &flags->client);
  app->add_option("--logprobs", flags->client.sampling.logprobs,
                  "most likely tokens to report per position, 0 to 20; needs --json");
  app->add_flag("--json", flags->json, "print one JSON object when done");
}

void AddChat(CLI::App* app, ChatFlags* flags) {
  app->add_option("--prompt,--once", flags->prompt, "ask this and leave");
  app->add_option("--system", flags->system, "the system message");
  AddClient(app, &flags->client);
}

void AddHealth(CLI::App* app, HealthFlags* flags) {
  AddChannel(app, &flags->channel);
  app->add_option("--service", flags->service,
                  "startup, readiness, liveness or a service's name (default: the whole server)");
  app->add_option("--timeout", flags->timeout_s, "seconds (default 5)")
      ->check(CLI::Range(0.001, 3600.0));
}

void AddTokenize(CLI::App* app, TokenizeFlags* flags) {
  app->add_option("--model", flags->model, "a .gguf file, a tokenizer.json or its directory")
      ->required();
  CLI::Option_group* input = app->add_option_group("input");
  input->add_option("--text", flags->text, "text");
  input->add_option("--file", flags->file, "a file with the text");
  input->add_option("--chat", flags->chat, "one user message, through the chat template");
  input->require_option(1);
}

int Serve(const ServeFlags& flags, int* argc, char*** argv) {
  std::vector<std::string> problems;
  const ServeConfig config = ResolveServeFlags(flags, &problems);
  if (problems.empty()) return RunServe(config, argc, argv);
  if (SpeaksForAllRanks()) {
    for (const std::string& problem : problems) std::cerr << "tamis: " << problem << std::endl;
  }
  return kWrongUsage;
}

int Main(int argc, char** argv) {
  // gRPC and protobuf tell callers what went wrong by status; their own lines are for those who
  // ask for them, or any client could fill the log.
  if (std::getenv("GRPC_VERBOSITY") == nullptr) {
    gpr_set_log_function([](gpr_log_func_args*) {});
    google::protobuf::SetLogHandler(nullptr);
  }
  CLI::App app("Tamis: a tensor-parallel server for Llama-family models");
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
  ServeFlags serve;
  GenerateFlags generate;
  ChatFlags chat;
  HealthFlags health;
  TokenizeFlags tokenize;
  CLI::App* serve_app = app.add_subcommand("serve", "serve a model, one MPI rank per GPU");
  CLI::App* generate_app = app.add_subcommand("generate", "continue a text");
  CLI::App* chat_app = app.add_subcommand("chat", "talk in the terminal");
  CLI::App* health_app = app.add_subcommand("health", "ask whether a server serves");
  CLI::App* tokenize_app = app.add_subcommand("tokenize", "print token ids");
  AddServeFlags(serve_app, &serve);
  AddGenerate(generate_app, &generate);
  AddChat(chat_app, &chat);
  AddHealth(health_app, &health);
  AddTokenize(tokenize_app, &tokenize);
  const BenchCommands bench(&app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    if (SpeaksForAllRanks()) {
      std::cerr << "tamis: " << error.what() << " (see tamis --help)" << std::endl;
    }
    return kWrongUsage;
  }
  if (serve_app->parsed()) return Serve(serve, &argc, &argv);
  if (generate_app->parsed()) return RunGenerate(generate);
  if (chat_app->parsed()) return RunChat(chat);
  if (health_app->parsed()) return RunHealth(health);
  if (bench.parsed()) return bench.Run(&argc, &argv);
  return RunTokenize(tokenize);
}

}  // namespace
}  // namespace tamis

int main(int argc, char** argv) {
  try {
    return tamis::Main(argc, argv);
  } catch (const std::exception& error) {  // of a third party: ours throws none
    std::cerr << "tamis: " << error.what() << std::endl;
    return 1;
  }
}
