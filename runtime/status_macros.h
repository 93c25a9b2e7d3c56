// SPDX-License-Identifier: Apache-2.0
// Early return on a bad absl::Status. The distribution's absl is older than its own macros.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define TAMIS_STATUS_CONCAT_INNER(a, b) a##b
#define TAMIS_STATUS_CONCAT(a, b) TAMIS_STATUS_CONCAT_INNER(a, b)

// Returns the status of `expression` from the enclosing function unless it is OK.
#define TAMIS_RETURN_IF_ERROR(expression)       \
  do {                                          \
    ::absl::Status tamis_status = (expression); \
    if (!tamis_status.ok()) [[unlikely]]        \
      return tamis_status;                      \
  } while (false)

// Assigns the value of the StatusOr `expression` to `target`, which may be a declaration, or
// returns its status. Not usable as the single statement of an unbraced if.
#define TAMIS_ASSIGN_OR_RETURN(target, expression) \
  TAMIS_ASSIGN_OR_RETURN_INNER(TAMIS_STATUS_CONCAT(tamis_result_, __LINE__), target, expression)
#define TAMIS_ASSIGN_OR_RETURN_INNER(result, target, expression) \
  auto result = (expression);                                    \
  if (!result.ok()) [[unlikely]]                                 \
    return result.status();                                      \
  target = std::move(result).value()
