#include "envelope/keyring.h"

#include <optional>

#include "base/byte_source.h"
#include "envelope/age.h"

namespace hvd {
namespace {

// A grant is a key text sealed as one age file, behind a line that tells it from an identity file
// (SPEC.md, "Grants").
constexpr std::string_view kGrantMagic = "hvdump-grant/1\n";

}  // namespace

Result<Keyring> Keyring::load(const std::vector<std::string>& identity_files,
                              const std::vector<std::string>& passphrase_files) {
  Keyring keyring;
  for (const std::string& path : identity_files) {
    std::string text = HVD_TRY(read_text_file(path, kMaxAgeFile));
    if (text.starts_with(kGrantMagic)) {
      const ByteView blob = as_bytes(text).subspan(kGrantMagic.size());
      keyring.grants_.push_back({path, Bytes(blob.begin(), blob.end())});
      continue;
    }
    auto identities = parse_identity_file(text);
    sodium_memzero(text.data(), text.size());
    if (!identities) return std::move(identities).error().in(path);
    for (X25519Identity& identity : *identities) keyring.add(std::move(identity));
  }
  for (const std::string& path : passphrase_files) {
    std::string text = HVD_TRY(read_text_file(path, 4096));
    auto passphrase = parse_passphrase_file(text);
    sodium_memzero(text.data(), text.size());
    if (!passphrase) return std::move(passphrase).error().in(path);
    keyring.add(std::move(*passphrase));
  }
  return keyring;
}

bool Keyring::matches(const KeySlot& slot) const {
  for (const Identity& identity : identities_) {
    const auto* key = std::get_if<X25519Identity>(&identity);
    if (slot.recipient == (key ? key->recipient().text() : "passphrase")) return true;
  }
  return false;
}

Result<PartitionKeys> Keyring::keys_for(const DumpId& dump, std::uint32_t partition,
                                        const std::vector<KeySlot>& slots) const {
  std::optional<Error> damage;
  const auto try_all = [&](const std::vector<KeySlot>& from,
                           const std::string& kind) -> std::optional<PartitionKeys> {
    for (std::size_t i = 0; i < from.size(); ++i) {
      const auto text = age_decrypt(from[i].blob, identities_);
      const std::string where =
          "damaged " + kind + " " + std::to_string(i) + " (" + from[i].recipient + ")";
      if (text) {
        auto keys = PartitionKeys::parse(text->view(), dump, partition);
        if (keys) return std::move(*keys);
        // A grant for another partition is simply not for this one.
        if (&from == &slots) damage = std::move(keys).error().in(where);
      } else if (text.error().code != ErrorCode::kAuthentication) {
        damage = Error{text.error()}.in(where);
      } else if (const auto* label = &from[i].recipient;
                 *label != "passphrase" && matches(from[i])) {
        // Labelled with our own key and yet it does not open: its wrapped key was damaged.
        damage = Error{ErrorCode::kCorrupt,
                       where + ": it is addressed to this identity but does not authenticate"};
      }
    }
    return std::nullopt;
  };
  if (auto keys = try_all(slots, "key slot")) return std::move(*keys);
  if (auto keys = try_all(grants_, "grant")) return std::move(*keys);
  if (identities_.empty())
    return Error{ErrorCode::kSealed, "sealed, and no key was given: use --identity FILE"};
  if (damage) return *damage;
  std::string recipients;
  for (const KeySlot& slot : slots) recipients += (recipients.empty() ? "" : ", ") + slot.recipient;
  return Error{ErrorCode::kAuthentication,
               "wrong key: none of the identities given fits; it is sealed to " +
                   (recipients.empty() ? "nobody" : recipients)};
}

Result<std::unique_ptr<Opener>> Keyring::unlock(const DumpId& dump, std::uint32_t partition,
                                                const std::vector<KeySlot>& slots) const {
  PartitionKeys keys = HVD_TRY(keys_for(dump, partition, slots));
  return std::unique_ptr<Opener>(std::make_unique<PartitionKeys>(std::move(keys)));
}

Result<Bytes> make_grant(const PartitionKeys& keys, const DumpId& dump, std::uint32_t partition,
                         const X25519Recipient& recipient,
                         const std::optional<std::vector<PageClass>>& only) {
  if (!only && !keys.holds_partition_key()) {
    return Error{ErrorCode::kInvalidArgument,
                 "you hold some classes of this partition only; name them with --class"};
  }
  const SecretBytes text = keys.key_text(dump, partition, only);
  const Bytes blob = HVD_TRY(age_encrypt(Recipient(recipient), text.view()));
  Bytes grant(as_bytes(kGrantMagic).begin(), as_bytes(kGrantMagic).end());
  append(grant, blob);
  return grant;
}

Result<std::vector<KeySlot>> make_key_slots(const PartitionKeys& keys, const DumpId& dump,
                                            std::uint32_t partition,
                                            const std::vector<Recipient>& recipients) {
  std::vector<KeySlot> slots;
  const SecretBytes text = keys.key_text(dump, partition);
  for (const Recipient& recipient : recipients) {
    Bytes blob = HVD_TRY(age_encrypt(recipient, text.view()));
    slots.push_back({label_of(recipient), std::move(blob)});
  }
  return slots;
}

}  // namespace hvd
