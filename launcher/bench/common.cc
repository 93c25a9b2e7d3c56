// SPDX-License-Identifier: Apache-2.0
#include "launcher/bench/common.h"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launcher/version.h"

namespace tamis {

void AddJsonFlag(CLI::App* app, std::string* path) {
  app->add_option("--json", *path, "write the results to this file, too; - is standard output");
}

void AddModelFlags(CLI::App* app, ServeFlags* flags) {
  AddServeFlags(app, flags, [](const std::string& name) {
    for (const char* of_a_server : {"served-model-name", "max-waiting", "host", "port",
                                    "shutdown-timeout", "heartbeat-timeout"}) {
      if (name == of_a_server) return false;
    }
    return true;
  });
}

absl::Status WriteBenchJson(const std::string& path, const std::string& benchmark,
                            nlohmann::json body) {
  if (path.empty()) return absl::OkStatus();
  body["benchmark"] = benchmark;
  body["version"] = kVersion;
  const std::string text = body.dump(2) + "\n";
  if (path == "-") {
    std::cout << text << std::flush;
    return absl::OkStatus();
  }
  std::ofstream file(path);
  file << text << std::flush;
  if (!file.good()) return absl::UnavailableError(absl::StrCat("--json: cannot write ", path));
  return absl::OkStatus();
}

int ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return 0;
  std::cerr << "tamis: " << status.message() << std::endl;
  return absl::IsInvalidArgument(status) ? 2 : 1;
}

}  // namespace tamis
