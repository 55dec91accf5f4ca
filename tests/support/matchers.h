// Matchers for Result: which error, and which thing it names.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/result.h"

namespace hvd {

MATCHER(Succeeds, "succeeds") {
  if (arg.has_value()) return true;
  *result_listener << error_code_name(arg.error().code) << ": " << arg.error().message;
  return false;
}

/// Fails with `code`, and the message names `what` (the offending field or thing; "" for any).
MATCHER_P2(FailsWith, code, what,
           std::string("fails as ") + error_code_name(code) + " naming \"" + what + "\"") {
  if (arg.has_value()) {
    *result_listener << "it succeeded";
    return false;
  }
  *result_listener << error_code_name(arg.error().code) << ": " << arg.error().message;
  return arg.error().code == code && arg.error().message.find(what) != std::string::npos;
}

}  // namespace hvd
