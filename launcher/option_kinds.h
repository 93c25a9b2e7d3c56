// SPDX-License-Identifier: Apache-2.0
// Kinds of options: how a value is read into its field of ServeConfig, refused, and shown.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "launcher/serve_config.h"

namespace tamis {

// The most that any number of tokens may be set to.
inline constexpr int64_t kTokensMax = 1 << 24;

template <typename T>
using Field = T& (*)(ServeConfig&);

template <typename T>
T Read(Field<T> field, const ServeConfig& config) {
  ServeConfig copy = config;
  return field(copy);
}

inline ServeOption Text(std::string name, std::string help, Field<std::string> field) {
  return {name, std::move(help),
          [=](const std::string& value, ServeConfig* config) {
            if (value.empty()) return absl::StrCat("--", name, ": empty");
            field(*config) = value;
            return std::string();
          },
          [=](const ServeConfig& config) { return Read(field, config); }};
}

inline ServeOption Choice(std::string name, std::string help, Field<std::string> field,
                          std::vector<std::string> allowed) {
  help += absl::StrCat(": ", absl::StrJoin(allowed, ", "));
  return {name, std::move(help),
          [=](const std::string& value, ServeConfig* config) {
            for (const std::string& choice : allowed) {
              if (value == choice) {
                field(*config) = value;
                return std::string();
              }
            }
            return absl::StrCat("--", name, ": \"", value, "\"; allowed are ",
                                absl::StrJoin(allowed, ", "));
          },
          [=](const ServeConfig& config) { return Read(field, config); }};
}

template <typename T>
ServeOption Number(std::string name, std::string help, Field<T> field, T low, T high) {
  return {name, std::move(help),
          [=](const std::string& value, ServeConfig* config) {
            T number = 0;
            bool parsed = false;
            if constexpr (std::is_floating_point_v<T>) {
              parsed = absl::SimpleAtod(value, &number);
            } else {
              parsed = absl::SimpleAtoi(value, &number);
            }
            if (!parsed || !(number >= low && number <= high)) {
              return absl::StrCat("--", name, ": \"", value, "\"; allowed is a number in [", low,
                                  ", ", high, "]");
            }
            field(*config) = number;
            return std::string();
          },
          [=](const ServeConfig& config) {
            const T number = Read(field, config);
            return absl::StrCat(number);
          }};
}

// A whole number with an optional suffix KiB, MiB or GiB.
inline ServeOption Bytes(std::string name, std::string help, Field<int64_t> field) {
  return {name, std::move(help),
          [=](const std::string& value, ServeConfig* config) {
            const size_t digits = value.find_first_not_of("0123456789");
            const std::string suffix = digits == std::string::npos ? "" : value.substr(digits);
            const int shift = suffix.empty()    ? 0
                              : suffix == "KiB" ? 10
                              : suffix == "MiB" ? 20
                              : suffix == "GiB" ? 30
                                                : -1;
            int64_t number = 0;
            if (shift < 0 || !absl::SimpleAtoi(value.substr(0, digits), &number) ||
                number > (std::numeric_limits<int64_t>::max() >> shift)) {
              return absl::StrCat("--", name, ": \"", value,
                                  "\"; allowed is a whole number, or one with KiB, MiB or GiB");
            }
            field(*config) = number << shift;
            return std::string();
          },
          [=](const ServeConfig& config) { return absl::StrCat(Read(field, config)); }};
}

// One of a few words, each standing for a value.
template <typename T>
ServeOption Named(std::string name, std::string help, Field<T> field,
                  std::vector<std::pair<std::string, T>> words) {
  std::vector<std::string> allowed;
  for (const auto& [word, value] : words) allowed.push_back(word);
  help += absl::StrCat(": ", absl::StrJoin(allowed, ", "));
  return {name, std::move(help),
          [=](const std::string& text, ServeConfig* config) {
            for (const auto& [word, value] : words) {
              if (text != word) continue;
              field(*config) = value;
              return std::string();
            }
            return absl::StrCat("--", name, ": \"", text, "\"; allowed are ",
                                absl::StrJoin(allowed, ", "));
          },
          [=](const ServeConfig& config) {
            const T now = Read(field, config);
            for (const auto& [word, value] : words) {
              if (value == now) return word;
            }
            return std::string();
          }};
}

}  // namespace tamis
