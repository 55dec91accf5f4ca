#include "envelope/aes_gcm.h"

#include <openssl/evp.h>

#include <algorithm>
#include <memory>

namespace hvd {
namespace {

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};

// A thread keeps its context: making one costs more than sealing a small piece.
EVP_CIPHER_CTX* context() {
  thread_local const std::unique_ptr<EVP_CIPHER_CTX, FreeContext> own(EVP_CIPHER_CTX_new());
  return own.get();
}

// Finding the cipher by its name takes longer than using it.
const EVP_CIPHER* cipher() {
  static const EVP_CIPHER* const found = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  return found;
}

bool update(EVP_CIPHER_CTX* with, unsigned char* out, ByteView in) {
  int done = 0;
  return EVP_CipherUpdate(with, out, &done, u8(in), static_cast<int>(in.size())) == 1;
}

// Everything up to the tag. `out` has room for as many bytes as `in` has.
bool run(EVP_CIPHER_CTX* with, bool seal, const SecretBytes& key, const GcmNonce& nonce,
         ByteView associated_data, ByteView in, unsigned char* out) {
  return with && cipher() &&
         EVP_CipherInit_ex2(with, cipher(), key.data(), nonce.data(), seal ? 1 : 0, nullptr) == 1 &&
         update(with, nullptr, associated_data) && update(with, out, in);
}

}  // namespace

Result<void> gcm_seal(const SecretBytes& key, const GcmNonce& nonce, ByteView associated_data,
                      ByteView plaintext, Bytes& out) {
  const std::size_t at = out.size();
  out.resize(at + plaintext.size() + kGcmTagSize);
  unsigned char* const to = u8(MutableBytes(out)) + at;
  EVP_CIPHER_CTX* const with = context();
  int rest = 0;
  if (run(with, true, key, nonce, associated_data, plaintext, to) &&
      EVP_CipherFinal_ex(with, to + plaintext.size(), &rest) == 1 &&
      EVP_CIPHER_CTX_ctrl(with, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(kGcmTagSize),
                          to + plaintext.size()) == 1) {
    return {};
  }
  out.resize(at);
  return Error{ErrorCode::kIo, "OpenSSL cannot seal with AES-256-GCM"};
}

Result<Bytes> gcm_open(const SecretBytes& key, const GcmNonce& nonce, ByteView associated_data,
                       ByteView sealed) {
  const Error damaged{ErrorCode::kCorrupt, "does not authenticate"};
  if (sealed.size() < kGcmTagSize) return damaged;
  const ByteView text = sealed.first(sealed.size() - kGcmTagSize);
  std::array<unsigned char, kGcmTagSize> tag{};
  std::copy_n(u8(sealed) + text.size(), tag.size(), tag.begin());
  Bytes out(text.size());
  EVP_CIPHER_CTX* const with = context();
  int rest = 0;
  std::array<unsigned char, EVP_MAX_BLOCK_LENGTH> nothing{};
  if (run(with, false, key, nonce, associated_data, text, u8(MutableBytes(out))) &&
      EVP_CIPHER_CTX_ctrl(with, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(tag.size()), tag.data()) ==
          1 &&
      EVP_CipherFinal_ex(with, nothing.data(), &rest) == 1) {
    return out;
  }
  sodium_memzero(out.data(), out.size());
  return damaged;
}

}  // namespace hvd
