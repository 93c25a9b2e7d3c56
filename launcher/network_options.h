// SPDX-License-Identifier: Apache-2.0
// The options of what faces the network and the supervisor: addresses, certificates, keys, metrics
// and the heartbeat file.
#pragma once

#include <string>
#include <vector>

#include "launcher/serve_config.h"

namespace tamis {

void AddNetworkOptions(std::vector<ServeOption>* options);

// What no single option can check; appends one sentence per problem.
void CheckNetworkOptions(const ServeConfig& config, std::vector<std::string>* problems);

// True for addresses that only this host reaches.
bool IsLoopback(const std::string& host);

}  // namespace tamis
