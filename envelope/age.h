// age v1 files (C2SP age.md), small ones held in memory: X25519 and scrypt recipients.
//
// hvdump wraps keys with this and nothing else; memory itself never goes through it.
#pragma once

#include <span>

#include "base/bytes.h"
#include "base/result.h"
#include "envelope/identity.h"

namespace hvd {

/// Larger than any key slot or grant needs.
inline constexpr std::size_t kMaxAgeFile = 64u << 10;

/// One age file for one recipient.
Result<Bytes> age_encrypt(const Recipient& recipient, ByteView plaintext);

/// The plaintext, opened with the first identity that fits.
/// kAuthentication when none fits; kCorrupt when the file is malformed, or one fits and the rest
/// does not authenticate; kUnsupported for a scrypt work factor above 2^22 (it would stall the
/// machine).
Result<SecretBytes> age_decrypt(ByteView file, std::span<const Identity> identities);

}  // namespace hvd
