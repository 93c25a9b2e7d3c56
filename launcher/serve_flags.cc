// SPDX-License-Identifier: Apache-2.0
#include "launcher/serve_flags.h"

namespace tamis {

void AddServeFlags(CLI::App* app, ServeFlags* flags,
                   const std::function<bool(const std::string& name)>& wanted) {
  app->add_option(
      "--config", flags->config_path,
      "a YAML or JSON file whose keys are these flags, or one of OmniKV's; flags win over it");
  for (const ServeOption& option : ServeOptions()) {
    if (!wanted(option.name)) continue;
    const bool is_switch = option.is_switch;
    CLI::Option* flag = app->add_option_function<std::string>(
        "--" + option.name,
        [flags, is_switch, name = option.name](const std::string& value) {
          flags->values[name] = is_switch && value.empty() ? "true" : value;
        },
        option.help);
    if (is_switch) flag->expected(0, 1);
  }
}

ServeConfig ResolveServeFlags(const ServeFlags& flags, std::vector<std::string>* problems) {
  NamedValues yaml;
  if (!flags.config_path.empty()) {
    absl::StatusOr<NamedValues> values = ReadYaml(flags.config_path);
    // Without its file, what is missing cannot be told from what the file would have said.
    if (!values.ok()) {
      problems->emplace_back(values.status().message());
      return {};
    }
    yaml = *std::move(values);
  }
  return MakeServeConfig(yaml, NamedValues(flags.values.begin(), flags.values.end()), problems);
}

}  // namespace tamis
