// Budget: how much a capture may write and how long it may take, so that a host comes back.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace hvd {

struct Budget {
  std::optional<std::uint64_t> max_bytes;  // of the dump
  std::optional<std::chrono::steady_clock::time_point> deadline;

  bool spent(std::uint64_t written) const {
    return (max_bytes && written >= *max_bytes) ||
           (deadline && std::chrono::steady_clock::now() >= *deadline);
  }
};

/// Bytes: a number with nothing, K, M, G or T (powers of 1024) behind it; kInvalidArgument.
Result<std::uint64_t> parse_size(const std::string& text);

}  // namespace hvd
