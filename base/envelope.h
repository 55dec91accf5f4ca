// The seam between a file format that stores sealed bytes and the envelope that seals and opens
// them.
//
// formats/hvd decides what is sealed and what a seal is bound to; envelope/ does it and owns the
// keys. Neither includes the other: they meet in these interfaces.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/partition.h"
#include "base/result.h"

namespace hvd {

/// Which of a partition's keys seals a piece: one per page class, and one for the page map and the
/// facts.
struct KeyName {
  static KeyName map() { return KeyName{true, PageClass::kKernel}; }
  static KeyName of(PageClass page_class) { return KeyName{false, page_class}; }
  bool is_map = false;
  PageClass page_class = PageClass::kKernel;
};

/// "map", or the name of the class.
inline std::string_view name_of(KeyName key) {
  return key.is_map ? std::string_view("map") : name_of(key.page_class);
}

/// The map key, then the keys of all classes.
inline std::vector<KeyName> all_keys() {
  std::vector<KeyName> out{KeyName::map()};
  for (std::size_t i = 0; i < kPageClassCount; ++i)
    out.push_back(KeyName::of(static_cast<PageClass>(i)));
  return out;
}

/// One piece of sealed data: its key, its unique nonce and what it is bound to. SPEC.md, "Sealing",
/// fills these.
struct SealedPiece {
  KeyName key;
  std::array<std::uint8_t, 12> nonce{};
  Bytes associated_data;
};

inline constexpr std::size_t kSealOverhead = 16;  // the tag of AES-GCM

/// What a partition says in public of one of its keys, so that nothing sealed with it can be opened
/// with another: the AEAD alone would allow for that. (envelope/SPEC.md, "Commitments")
using KeyCommitment = std::array<unsigned char, 32>;

/// Seals pieces of one partition. Safe to call from several threads.
class Sealer {
 public:
  virtual ~Sealer() = default;
  /// Appends ciphertext and tag to `out`. An error means that nothing of the partition may be
  /// written.
  virtual Result<void> seal(const SealedPiece& piece, ByteView plaintext, Bytes& out) const = 0;
  /// kSealed when there is no such key.
  virtual Result<KeyCommitment> commitment(KeyName key) const = 0;
};

/// Opens pieces of one partition. Safe to call from several threads.
class Opener {
 public:
  virtual ~Opener() = default;
  virtual bool has(KeyName key) const = 0;
  /// kSealed without the key.
  virtual Result<KeyCommitment> commitment(KeyName key) const = 0;
  /// kSealed without the key; kCorrupt when the key is there and the bytes do not authenticate.
  virtual Result<Bytes> open(const SealedPiece& piece, ByteView sealed) const = 0;
};

/// A key slot as it lies in the dump: an age v1 file, and the label its recipient goes by.
struct KeySlot {
  std::string recipient;
  Bytes blob;
};

/// Turns key slots into openers; knows the identities.
class KeyProvider {
 public:
  virtual ~KeyProvider() = default;
  /// kAuthentication when identities exist but none fits, kSealed when there are none, kCorrupt for
  /// damaged slots none of which opened.
  virtual Result<std::unique_ptr<Opener>> unlock(const DumpId& dump, std::uint32_t partition,
                                                 const std::vector<KeySlot>& slots) const = 0;
};

}  // namespace hvd
