// JSON from untrusted bytes, and JSON that holds untrusted strings.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

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

/// On one line. Names and sentences out of a dump are bytes, not always UTF-8: what is not becomes
/// U+FFFD.
inline std::string to_text(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// The same on several lines, for people.
inline std::string to_indented_text(const nlohmann::json& value) {
  return value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace hvd
