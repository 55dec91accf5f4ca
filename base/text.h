// Text for people: hexadecimal, sizes, and guest strings made harmless for a terminal.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace hvd {

/// "0xffff888000000000"
std::string hex(std::uint64_t value);

/// Lower-case, two digits a byte, no prefix.
std::string hex_bytes(ByteView bytes);

/// The inverse of hex_bytes; nothing when a character is not a hexadecimal digit or the length is
/// odd.
std::optional<Bytes> from_hex(std::string_view text);

/// "1.5 GiB", "12 KiB", "17 bytes".
std::string human_size(std::uint64_t bytes);

/// The string with control characters (escape sequences too) and invalid UTF-8 replaced by '?';
/// tabs and, when asked, newlines stay. Guest memory is hostile, and a terminal obeys what it
/// prints.
std::string printable(std::string_view text, bool keep_newlines = false);

}  // namespace hvd
