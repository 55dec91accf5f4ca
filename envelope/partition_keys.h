// The keys of one partition: a random 256-bit partition key, and what is derived from it (SPEC.md,
// "Keys").
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "base/envelope.h"
#include "envelope/identity.h"
#include "envelope/secret.h"

namespace hvd {

inline constexpr std::size_t kPartitionKeySize = 32;

/// The map key and whichever class keys its holder was given. Seals and opens.
class PartitionKeys final : public Sealer, public Opener {
 public:
  /// A fresh random key; kIo without usable randomness.
  static Result<PartitionKeys> generate();
  static PartitionKeys derive(const SecretBytes& partition_key);

  /// The text that a key slot or grant seals (SPEC.md, "Key text"): with all classes it carries the
  /// partition key, with a selection only the map key and those class keys. Requires the partition
  /// key for std::nullopt.
  SecretBytes key_text(const DumpId& dump, std::uint32_t partition,
                       const std::optional<std::vector<PageClass>>& only = std::nullopt) const;

  /// Parses such a text; kCorrupt when it is malformed or made for another dump or partition.
  static Result<PartitionKeys> parse(ByteView text, const DumpId& dump, std::uint32_t partition);

  bool holds_partition_key() const { return partition_key_.has_value(); }
  bool has(KeyName key) const override;
  Result<KeyCommitment> commitment(KeyName key) const override;
  Result<void> seal(const SealedPiece& piece, ByteView plaintext, Bytes& out) const override;
  Result<Bytes> open(const SealedPiece& piece, ByteView sealed) const override;

 private:
  const SecretBytes* key_for(KeyName name) const;
  std::optional<SecretBytes> partition_key_;
  std::optional<SecretBytes> map_key_;
  std::array<std::optional<SecretBytes>, kPageClassCount> class_keys_;
};

}  // namespace hvd
