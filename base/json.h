// JSON from untrusted bytes.
#pragma once

#include <nlohmann/json.hpp>

#include "base/bytes.h"

namespace hvd {

inline constexpr int kMaxJsonDepth = 32;

/// The object in `bytes`; a discarded value when they are anything else, or nested deeper than
/// kMaxJsonDepth: the library parses any depth, but copies, prints and frees what it parsed by
/// recursion.
inline nlohmann::json parse_json_object(ByteView bytes) {
  bool too_deep = false;
  const auto limit = [&too_deep](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    too_deep = too_deep || depth > kMaxJsonDepth;
    return !too_deep;
  };
  nlohmann::json value = nlohmann::json::parse(u8(bytes), u8(bytes) + bytes.size(), limit, false);
  if (too_deep || !value.is_object()) return nlohmann::json(nlohmann::json::value_t::discarded);
  return value;
}

}  // namespace hvd
