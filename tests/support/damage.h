// Damage, in verbs.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "base/bytes.h"

namespace hvd {

inline Bytes to_bytes(std::string_view text) {
  return Bytes(as_bytes(text).begin(), as_bytes(text).end());
}

inline Bytes filled(std::size_t size, int value) {
  return Bytes(size, static_cast<std::byte>(value));
}

inline Bytes truncated_at(ByteView bytes, std::size_t size) {
  EXPECT_LE(size, bytes.size());
  return Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
}

inline void flip_bit(Bytes& bytes, std::size_t at, unsigned bit = 0) {
  ASSERT_LT(at, bytes.size());
  bytes[at] ^= static_cast<std::byte>(1u << bit);
}

/// Overwrites what lies at `at`.
inline void overwrite(Bytes& bytes, std::size_t at, ByteView with) {
  ASSERT_LE(at + with.size(), bytes.size());
  std::memcpy(bytes.data() + at, with.data(), with.size());
}

/// Sets a field of the wire struct that begins at `at`.
template <WireStruct Struct, typename Field>
void set_field(Bytes& bytes, std::size_t at, Field Struct::* field,
               std::type_identity_t<Field> value) {
  ASSERT_LE(at + sizeof(Struct), bytes.size());
  Struct copy{};
  std::memcpy(&copy, bytes.data() + at, sizeof copy);
  copy.*field = value;
  std::memcpy(bytes.data() + at, &copy, sizeof copy);
}

/// The text with its one `from` replaced.
inline std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << "nothing to replace: " << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

}  // namespace hvd
