// Keys that seeds and entries agree on.
#pragma once

#include "envelope/partition_keys.h"
#include "formats/hvd/integrity.h"

namespace hvd::fuzz {

inline format::SigningKey signing_key() {
  static const format::SigningKey key =
      format::SigningKey::parse("hvdump-signing-key " + std::string(64, '1')).value();
  return key;
}

inline PartitionKeys partition_keys() {
  static const PartitionKeys keys =
      PartitionKeys::derive(SecretBytes(Bytes(kPartitionKeySize, std::byte{7})));
  return keys;
}

/// Opens everything with partition_keys(), whatever its slots say.
class FixedKeys final : public KeyProvider {
 public:
  Result<std::unique_ptr<Opener>> unlock(const DumpId&, std::uint32_t,
                                         const std::vector<KeySlot>&) const override {
    return std::unique_ptr<Opener>(std::make_unique<PartitionKeys>(partition_keys()));
  }
};

inline X25519Identity identity() {
  return X25519Identity{SecretBytes(Bytes(kX25519KeySize, std::byte{9}))};
}

}  // namespace hvd::fuzz
