// Text for people: hexadecimal, sizes, and guest strings made harmless for a terminal.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace hvd {

/// "0xffff888000000000"
std::string hex(std::uint64_t value);

/// Lower-case, two digits a byte, no prefix.
std::string hex_bytes(ByteView bytes);

/// The inverse of hex_bytes; nothing when a character is not a hexadecimal digit or the length is
/// odd.
std::optional<Bytes> from_hex(std::string_view text);

/// UTF-16 (little-endian) up to a NUL as UTF-8; what is no character, or lies beyond the basic
/// plane, becomes '?'.
std::string from_utf16(ByteView text);

/// "1.5 GiB", "12 KiB", "17 bytes".
std::string human_size(std::uint64_t bytes);

/// A name that is the same wherever the parts are: "PREFIX-" and 16 hexadecimal digits.
std::string stable_name(std::string_view prefix, const std::vector<std::string>& parts);

/// The string with control characters (escape sequences too) and invalid UTF-8 replaced by '?';
/// tabs and, when asked, newlines stay. Guest memory is hostile, and a terminal obeys what it
/// prints.
std::string printable(std::string_view text, bool keep_newlines = false);

}  // namespace hvd
