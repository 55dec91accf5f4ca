// AES-256-GCM (NIST SP 800-38D) for the bulk of a dump.
//
// OpenSSL's, since libsodium's is not half as fast and needs a CPU with AES instructions.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"
#include "envelope/secret.h"

namespace hvd {

using GcmNonce = std::array<std::uint8_t, 12>;
inline constexpr std::size_t kGcmTagSize = 16;

/// Appends ciphertext and tag to `out`. `key` has 32 bytes. Never call it twice with one key and
/// nonce. kIo when the library refuses; then nothing is appended.
Result<void> gcm_seal(const SecretBytes& key, const GcmNonce& nonce, ByteView associated_data,
                      ByteView plaintext, Bytes& out);

/// The plaintext; kCorrupt when `sealed` does not authenticate.
Result<Bytes> gcm_open(const SecretBytes& key, const GcmNonce& nonce, ByteView associated_data,
                       ByteView sealed);

}  // namespace hvd
