// SPDX-License-Identifier: Apache-2.0
// The configuration keys of OmniKV's released code, read as options of ours, so that its JSON files
// start the server. configs/README.md has the table.
#pragma once

#include <string>
#include <vector>

#include "launcher/serve_config.h"

namespace tamis {

// One entry of a configuration file.
struct FileValue {
  std::string key;     // as written, for messages
  std::string option;  // a ServeOption's name, if there is one of that name
  std::string value;
};

// Keys of ours pass as they are. A file with `model_cls` is one of OmniKV's: what it leaves out has
// OmniKV's defaults, not ours. In other files each of its keys stands for one option alone. Appends
// a problem for what would change results and is not implemented, and to `warnings` a sentence for
// each key that means nothing here.
std::vector<FileValue> TranslateOmniKvKeys(const NamedValues& file,
                                           std::vector<std::string>* problems,
                                           std::vector<std::string>* warnings);

}  // namespace tamis
