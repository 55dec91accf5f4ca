// Keyring: the identities a user brought, and what they open.
#pragma once

#include <string>
#include <vector>

#include "base/envelope.h"
#include "envelope/identity.h"
#include "envelope/partition_keys.h"

namespace hvd {

class Keyring final : public KeyProvider {
 public:
  /// `identity_files`: age identity files or .hvgrant files; `passphrase_files`: a passphrase in
  /// the first line. kIo or kInvalidArgument naming the file.
  static Result<Keyring> load(const std::vector<std::string>& identity_files,
                              const std::vector<std::string>& passphrase_files = {});

  void add(Identity identity) { identities_.push_back(std::move(identity)); }
  bool empty() const { return identities_.empty(); }

  Result<std::unique_ptr<Opener>> unlock(const DumpId& dump, std::uint32_t partition,
                                         const std::vector<KeySlot>& slots) const override;

  /// As unlock(), but gives the keys themselves (to grant them on).
  Result<PartitionKeys> keys_for(const DumpId& dump, std::uint32_t partition,
                                 const std::vector<KeySlot>& slots) const;

  /// True when one of the identities is the recipient a slot is labelled with.
  bool matches(const KeySlot& slot) const;

 private:
  std::vector<Identity> identities_;
  std::vector<KeySlot> grants_;  // brought from outside; tried like slots
};

/// Seals `keys` to each recipient, one age file a slot. kInvalidArgument for an unusable recipient.
Result<std::vector<KeySlot>> make_key_slots(const PartitionKeys& keys, const DumpId& dump,
                                            std::uint32_t partition,
                                            const std::vector<Recipient>& recipients);

/// A grant file for `recipient`: all of the partition, or only some classes of it (and the page
/// map).
Result<Bytes> make_grant(const PartitionKeys& keys, const DumpId& dump, std::uint32_t partition,
                         const X25519Recipient& recipient,
                         const std::optional<std::vector<PageClass>>& only);

}  // namespace hvd
