#include "envelope/age_primitives.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace hvd {
namespace {

constexpr std::size_t kTag = crypto_aead_chacha20poly1305_IETF_ABYTES;
constexpr std::size_t kStreamChunk = 64u << 10;
constexpr std::size_t kStreamNonce = 16;
using Nonce = std::array<unsigned char, crypto_aead_chacha20poly1305_IETF_NPUBBYTES>;

// 11 bytes big-endian counter, then 1 for the last chunk.
Nonce stream_nonce(std::uint64_t counter, bool last) {
  Nonce nonce{};
  for (unsigned i = 0; i < 8; ++i) nonce[10 - i] = static_cast<unsigned char>(counter >> (8 * i));
  nonce[11] = last ? 1 : 0;
  return nonce;
}

bool open_chunk(const SecretBytes& key, const Nonce& nonce, ByteView sealed, unsigned char* out) {
  return sealed.size() >= kTag &&
         crypto_aead_chacha20poly1305_ietf_decrypt(out, nullptr, nullptr, u8(sealed), sealed.size(),
                                                   nullptr, 0, nonce.data(), key.data()) == 0;
}

}  // namespace

SecretBytes hkdf_sha256(ByteView secret, ByteView salt, std::string_view info) {
  crypto_auth_hmacsha256_state state;
  SecretBytes extracted(crypto_auth_hmacsha256_BYTES);
  const unsigned char one = 1;
  crypto_auth_hmacsha256_init(&state, salt.empty() ? &one : u8(salt),
                              salt.size());  // must not be null
  crypto_auth_hmacsha256_update(&state, u8(secret), secret.size());
  crypto_auth_hmacsha256_final(&state, extracted.data());

  // One block of output is all age ever asks for: T(1) = HMAC(PRK, info | 0x01).
  SecretBytes out(crypto_auth_hmacsha256_BYTES);
  crypto_auth_hmacsha256_init(&state, extracted.data(), extracted.size());
  crypto_auth_hmacsha256_update(&state, u8(as_bytes(info)), info.size());
  crypto_auth_hmacsha256_update(&state, &one, 1);
  crypto_auth_hmacsha256_final(&state, out.data());
  sodium_memzero(&state, sizeof state);
  return out;
}

std::string base64_unpadded(ByteView bytes) {
  constexpr int kVariant = sodium_base64_VARIANT_ORIGINAL_NO_PADDING;
  std::string out(sodium_base64_encoded_len(bytes.size(), kVariant), '\0');
  sodium_bin2base64(out.data(), out.size(), u8(bytes), bytes.size(), kVariant);
  out.pop_back();  // the terminating zero
  return out;
}

std::optional<Bytes> from_base64_unpadded(std::string_view text) {
  Bytes out(text.size() * 3 / 4 + 1);
  std::size_t size = 0;
  const char* end = nullptr;
  if (sodium_base642bin(u8(MutableBytes(out)), out.size(), text.data(), text.size(), nullptr, &size,
                        &end, sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0 ||
      end != text.data() + text.size()) {
    return std::nullopt;
  }
  out.resize(size);
  // libsodium 1.0.18 takes every byte above 0x7f for '/'.
  if (base64_unpadded(out) != text) return std::nullopt;
  return out;
}

Bytes wrap_key(const SecretBytes& key, ByteView plaintext) {
  const Nonce zero{};
  Bytes out(plaintext.size() + kTag);
  crypto_aead_chacha20poly1305_ietf_encrypt(u8(MutableBytes(out)), nullptr, u8(plaintext),
                                            plaintext.size(), nullptr, 0, nullptr, zero.data(),
                                            key.data());
  return out;
}

std::optional<SecretBytes> unwrap_key(const SecretBytes& key, ByteView sealed) {
  if (sealed.size() < kTag) return std::nullopt;
  SecretBytes out(sealed.size() - kTag);
  if (!open_chunk(key, Nonce{}, sealed, out.data())) return std::nullopt;
  return out;
}

Bytes stream_seal(const SecretBytes& file_key, ByteView plaintext) {
  Bytes out(kStreamNonce);
  randombytes_buf(u8(MutableBytes(out)), out.size());
  const SecretBytes key = hkdf_sha256(file_key.view(), out, "payload");
  for (std::uint64_t counter = 0;; ++counter) {
    const std::size_t size = std::min(plaintext.size(), kStreamChunk);
    const bool last = size == plaintext.size();
    const Nonce nonce = stream_nonce(counter, last);
    const std::size_t at = out.size();
    out.resize(at + size + kTag);
    crypto_aead_chacha20poly1305_ietf_encrypt(u8(MutableBytes(out)) + at, nullptr, u8(plaintext),
                                              size, nullptr, 0, nullptr, nonce.data(), key.data());
    plaintext = plaintext.subspan(size);
    if (last) return out;
  }
}

Result<SecretBytes> stream_open(const SecretBytes& file_key, ByteView payload) {
  const auto damaged = [](const char* why) {
    return Error{ErrorCode::kCorrupt, std::string("the age payload ") + why};
  };
  if (payload.size() < kStreamNonce + kTag) return damaged("is cut short");
  const SecretBytes key = hkdf_sha256(file_key.view(), payload.first(kStreamNonce), "payload");
  payload = payload.subspan(kStreamNonce);
  const std::size_t chunks = (payload.size() + kStreamChunk + kTag - 1) / (kStreamChunk + kTag);
  const std::size_t tail = payload.size() % (kStreamChunk + kTag);
  if (tail != 0 && tail < kTag)
    return damaged("is cut short");  // and `out` would be too small for those before
  SecretBytes out(payload.size() - chunks * kTag);
  std::size_t at = 0;
  for (std::uint64_t counter = 0; !payload.empty(); ++counter) {
    const ByteView sealed = payload.first(std::min(payload.size(), kStreamChunk + kTag));
    payload = payload.subspan(sealed.size());
    // An empty last chunk is allowed only for an empty payload (age.md, "Payload").
    if (sealed.size() == kTag && counter > 0) return damaged("ends in an empty chunk");
    if (!open_chunk(key, stream_nonce(counter, payload.empty()), sealed, out.data() + at)) {
      return damaged("does not authenticate");
    }
    at += sealed.size() - kTag;
  }
  return out;
}

}  // namespace hvd
