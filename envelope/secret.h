// SecretBytes: key material that is wiped when it goes out of scope.
#pragma once

#include <sodium.h>

#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace hvd {

class SecretBytes {
 public:
  SecretBytes() = default;
  explicit SecretBytes(std::size_t size) : bytes_(size) {}
  explicit SecretBytes(ByteView bytes) : bytes_(bytes.begin(), bytes.end()) {}
  SecretBytes(const SecretBytes&) = default;
  SecretBytes& operator=(const SecretBytes&) = default;
  SecretBytes(SecretBytes&&) = default;
  SecretBytes& operator=(SecretBytes&&) = default;
  ~SecretBytes() { sodium_memzero(bytes_.data(), bytes_.size()); }

  std::size_t size() const { return bytes_.size(); }
  unsigned char* data() { return u8(MutableBytes(bytes_)); }
  const unsigned char* data() const { return u8(ByteView(bytes_)); }
  ByteView view() const { return bytes_; }

 private:
  Bytes bytes_;
};

/// Initialises libsodium once; kIo when the system has no usable randomness.
Result<void> require_sodium();

}  // namespace hvd
