// The pieces age v1 is made of that libsodium 1.0.18 does not offer as such: HKDF-SHA-256 (RFC
// 5869), unpadded base64, and the STREAM construction of the payload.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "envelope/secret.h"

namespace hvd {

/// 32 bytes of HKDF-SHA-256 output.
SecretBytes hkdf_sha256(ByteView secret, ByteView salt, std::string_view info);

std::string base64_unpadded(ByteView bytes);
/// Strict: one value has one encoding. Nothing for any other text.
std::optional<Bytes> from_base64_unpadded(std::string_view text);

/// ChaCha20-Poly1305 with an all-zero nonce, as age wraps file keys (each wrap key is used once).
Bytes wrap_key(const SecretBytes& key, ByteView plaintext);
std::optional<SecretBytes> unwrap_key(const SecretBytes& key, ByteView sealed);

/// age.md, "Payload": a 16-byte nonce, then 64 KiB chunks, the last one marked.
Bytes stream_seal(const SecretBytes& file_key, ByteView plaintext);
/// kCorrupt when a chunk does not authenticate or the last one is missing.
Result<SecretBytes> stream_open(const SecretBytes& file_key, ByteView payload);

}  // namespace hvd
