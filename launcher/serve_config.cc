// SPDX-License-Identifier: Apache-2.0
// YAML and flags meet in the same setters, so both get the same checks and the same words.
#include "launcher/serve_config.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "launcher/network_options.h"
#include "launcher/omnikv_keys.h"
#include "yaml-cpp/yaml.h"

namespace tamis {
namespace {

// The option that a key means: YAML may write na_me.
std::string WithDashes(const std::string& key) { return absl::StrReplaceAll(key, {{"_", "-"}}); }

// A list is the text that a flag would have: its elements with commas between them.
bool ReadValue(const YAML::Node& node, std::string* value) {
  if (node.IsScalar()) *value = node.Scalar();
  if (!node.IsSequence()) return node.IsScalar();
  std::vector<std::string> parts;
  for (const YAML::Node& part : node) {
    if (!part.IsScalar()) return false;
    parts.push_back(part.Scalar());
  }
  *value = absl::StrJoin(parts, ",");
  return true;
}

// What no single option can check.
void CheckTogether(const ServeConfig& config, std::vector<std::string>* problems) {
  if (config.model.path.empty()) problems->push_back("--model: not given, and it is required");
  if (config.schedule.max_num_batched_tokens > 0 &&
      config.schedule.max_num_batched_tokens < config.schedule.max_num_seqs) {
    problems->push_back(
        absl::StrCat("--max-num-batched-tokens: ", config.schedule.max_num_batched_tokens,
                     "; allowed is at least --max-num-seqs (", config.schedule.max_num_seqs, ")"));
  }
  if (config.cache.num_blocks > 0 && config.cache.bytes > 0) {
    problems->push_back("--num-kv-blocks and --kv-cache-memory-bytes: give one of them");
  }
  CheckNetworkOptions(config, problems);
  if (config.ranks.device == "cpu" && config.cache.gpu_memory_utilization > 0) {
    problems->push_back(
        "--gpu-memory-utilization: needs a GPU; on CPUs use --kv-cache-memory-bytes");
  }
}

}  // namespace

absl::StatusOr<NamedValues> ReadYaml(const std::string& path) {
  NamedValues values;
  try {
    const YAML::Node root = YAML::LoadFile(path);
    if (root.IsNull()) return values;
    if (!root.IsMap()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": not a map of keys to values"));
    }
    for (const auto& entry : root) {
      const std::string where = absl::StrCat(path, ":", entry.first.Mark().line + 1, ": ");
      std::string text;
      if (!entry.first.IsScalar() || !ReadValue(entry.second, &text)) {
        return absl::InvalidArgumentError(
            absl::StrCat(where, "not a key with a plain value or a list of them"));
      }
      // The last would silently win, over a spelling with the other separator too.
      const bool again = std::any_of(values.begin(), values.end(), [&](const auto& value) {
        return WithDashes(value.first) == WithDashes(entry.first.Scalar());
      });
      if (again) {
        return absl::InvalidArgumentError(
            absl::StrCat(where, entry.first.Scalar(), " is given twice"));
      }
      values.emplace_back(entry.first.Scalar(), text);
    }
  } catch (const YAML::BadFile&) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.what()));
  }
  return values;
}

ServeConfig MakeServeConfig(const NamedValues& yaml, const NamedValues& flags,
                            std::vector<std::string>* problems) {
  ServeConfig config;
  const std::vector<ServeOption> options = ServeOptions();
  const auto apply = [&](const FileValue& value, const std::string& source) {
    const auto option = std::find_if(options.begin(), options.end(),
                                     [&](const ServeOption& o) { return o.name == value.option; });
    if (option == options.end()) {
      problems->push_back(absl::StrCat(source, value.key, ": no such option"));
      return;
    }
    const bool alias = WithDashes(value.key) != value.option;
    const std::string problem = option->set(value.value, &config);
    if (problem.empty()) return;
    problems->push_back(absl::StrCat(source, alias ? value.key + ": " : "", problem));
  };
  std::vector<std::string> file_problems;
  for (const FileValue& value : TranslateOmniKvKeys(yaml, &file_problems, &config.warnings)) {
    apply(value, "config file: ");
  }
  for (const std::string& problem : file_problems) {
    problems->push_back(absl::StrCat("config file: ", problem));
  }
  for (std::string& warning : config.warnings) warning.insert(0, "config file: ");
  for (const auto& [key, value] : flags) apply({key, WithDashes(key), value}, "");
  CheckTogether(config, problems);
  return config;
}

std::vector<std::string> Describe(const ServeConfig& config) {
  std::vector<std::string> lines;
  for (const ServeOption& option : ServeOptions()) {
    lines.push_back(absl::StrCat(option.name, ": ", option.show(config)));
  }
  return lines;
}

}  // namespace tamis
