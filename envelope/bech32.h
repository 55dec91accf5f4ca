// Bech32 (BIP 173), as age uses it for keys: no length limit beyond what a key needs.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace hvd {

/// Lower-case Bech32 of `data` with the human-readable part `hrp`.
std::string bech32_encode(std::string_view hrp, ByteView data);

/// The data part; kInvalidArgument for a bad character, mixed case, checksum, padding or another
/// `hrp` (compared without regard to case).
Result<Bytes> bech32_decode(std::string_view hrp, std::string_view text);

}  // namespace hvd
