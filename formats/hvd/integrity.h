// The hash tree over all records and the agent's signatures on it (SPEC.md, "Integrity").
#pragma once

#include <array>
#include <optional>

#include "base/bytes.h"
#include "base/partition.h"
#include "base/result.h"
#include "formats/hvd/layout.h"

namespace hvd::format {

using Hash = std::array<unsigned char, 32>;
using Signature = std::array<unsigned char, 64>;
using PublicKey = std::array<unsigned char, 32>;

/// The agent's Ed25519 key.
class SigningKey {
 public:
  /// A fresh key; kIo without usable randomness.
  static Result<SigningKey> generate();
  /// From the 32-byte seed in a key file ("hvdump-signing-key <64 hex digits>").
  static Result<SigningKey> parse(std::string_view text);
  std::string text() const;  // the key file's line
  const PublicKey& public_key() const { return public_; }
  Signature sign(std::string_view purpose, const DumpId& dump, const Hash& what) const;
  SigningKey(const SigningKey&) = default;
  SigningKey& operator=(const SigningKey&) = default;
  ~SigningKey();

 private:
  SigningKey() = default;
  static SigningKey from_seed(const unsigned char* seed);
  std::array<unsigned char, 64> secret_{};
  PublicKey public_{};
};

inline constexpr std::string_view kCheckpointPurpose = "hvdump checkpoint v1";
inline constexpr std::string_view kFooterPurpose = "hvdump footer v1";

bool signature_ok(const PublicKey& key, std::string_view purpose, const DumpId& dump,
                  const Hash& what, const Signature& signature);

/// BLAKE3, unkeyed.
Hash hash_of(ByteView bytes);
/// BLAKE3 keyed with the dump's id, so that no record of another dump, or one that a guest
/// keeps in its memory, can pass for one of this dump.
Hash keyed_hash(const DumpId& dump, ByteView bytes);

/// A record's leaf: over the header without `check`, and the hash of the payload.
Hash leaf_of(const DumpId& dump, const RecordHeader& header, const Hash& payload_hash);
/// Sets `check` from the leaf.
void set_check(RecordHeader& header, const Hash& leaf);
bool check_matches(const RecordHeader& header, const Hash& leaf);

/// What a checkpoint is signed over: its payload without the signature.
Hash checkpoint_node(const DumpId& dump, ByteView unsigned_payload);

/// The first 16 bytes of BLAKE3 over the header without `check`.
std::array<unsigned char, 16> file_header_check(const FileHeader& header);
Hash file_header_hash(const FileHeader& header);

DumpId dump_id_of(const FileHeader& header);

/// Whether the signer that the file header names signed this footer; kCorrupt otherwise.
Result<void> check_footer_signature(const FileHeader& header, const Footer& footer);

}  // namespace hvd::format
