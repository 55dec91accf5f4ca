#include "envelope/partition_keys.h"

#include <cstring>

#include "base/text.h"
#include "envelope/aes_gcm.h"

namespace hvd {
namespace {

// SPEC.md, "Keys": the contexts of crypto_kdf, eight bytes each.
constexpr char kMapContext[] = "hvd-map1";
constexpr char kClassContext[] = "hvd-cls1";
// SPEC.md, "Commitments".
constexpr std::string_view kCommitmentPurpose = "hvdump key commitment v1 ";
constexpr std::string_view kTextMagic = "hvdump-keys/1\n";
static_assert(kGcmTagSize == kSealOverhead);
static_assert(crypto_kdf_KEYBYTES == kPartitionKeySize);

SecretBytes subkey(const SecretBytes& key, std::uint64_t id, const char* context) {
  SecretBytes out(kPartitionKeySize);
  crypto_kdf_derive_from_key(out.data(), out.size(), id, context, key.data());
  return out;
}

std::string id_text(const DumpId& dump) { return hex_bytes(std::as_bytes(std::span(dump))); }

std::string describe(KeyName name) {
  return name.is_map ? "the page map" : "class " + std::string(name_of(name.page_class));
}

Error no_key(KeyName name) {
  return Error{ErrorCode::kSealed, describe(name) + " is sealed and no key for it was given"};
}

}  // namespace

Result<PartitionKeys> PartitionKeys::generate() {
  HVD_TRY(require_sodium());
  SecretBytes key(kPartitionKeySize);
  randombytes_buf(key.data(), key.size());
  return derive(key);
}

PartitionKeys PartitionKeys::derive(const SecretBytes& partition_key) {
  PartitionKeys keys;
  keys.map_key_ = subkey(partition_key, 0, kMapContext);
  for (std::size_t i = 0; i < kPageClassCount; ++i)
    keys.class_keys_[i] = subkey(partition_key, i, kClassContext);
  keys.partition_key_ = partition_key;
  return keys;
}

SecretBytes PartitionKeys::key_text(const DumpId& dump, std::uint32_t partition,
                                    const std::optional<std::vector<PageClass>>& only) const {
  std::string text(kTextMagic);
  text += "dump " + id_text(dump) + "\npartition " + std::to_string(partition) + "\n";
  const auto line = [&](const std::string& what, const SecretBytes& key) {
    text += what + " " + hex_bytes(key.view()) + "\n";
  };
  if (!only) {
    line("partition-key", *partition_key_);
  } else {
    line("map-key", *map_key_);
    for (PageClass page_class : *only) {
      if (const SecretBytes* key = key_for(KeyName::of(page_class))) {
        line("class-key " + std::string(name_of(page_class)), *key);
      }
    }
  }
  SecretBytes out(as_bytes(text));
  sodium_memzero(text.data(), text.size());
  return out;
}

Result<PartitionKeys> PartitionKeys::parse(ByteView bytes, const DumpId& dump,
                                           std::uint32_t partition) {
  const auto bad = [](const std::string& why) {
    return Error{ErrorCode::kCorrupt, "the unwrapped key " + why};
  };
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kTextMagic)) return bad("is not an hvdump key");
  text.remove_prefix(kTextMagic.size());
  PartitionKeys keys;
  bool for_dump = false, for_partition = false;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return bad("has an unfinished line");
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    const std::size_t space = line.rfind(' ');
    if (space == std::string_view::npos) return bad("has a line without a value");
    const std::string_view what = line.substr(0, space), value = line.substr(space + 1);
    if (what == "dump") {
      if (value != id_text(dump)) return bad("was made for another dump");
      for_dump = true;
    } else if (what == "partition") {
      if (value != std::to_string(partition)) return bad("was made for another partition");
      for_partition = true;
    } else {
      const auto raw = from_hex(value);
      if (!raw || raw->size() != kPartitionKeySize) return bad("has a key that is not 32 bytes");
      const SecretBytes key{ByteView(*raw)};
      if (what == "partition-key") {
        keys = derive(key);
      } else if (what == "map-key") {
        keys.map_key_ = key;
      } else if (what.starts_with("class-key ")) {
        const auto page_class = page_class_from(what.substr(10));
        if (!page_class) return bad("names an unknown page class");
        keys.class_keys_[static_cast<std::size_t>(*page_class)] = key;
      } else {
        return bad("has an unknown line");
      }
    }
  }
  if (!for_dump || !for_partition) return bad("does not say what it is for");
  if (!keys.map_key_) return bad("holds no key of the page map");
  return keys;
}

const SecretBytes* PartitionKeys::key_for(KeyName name) const {
  const auto& key = name.is_map ? map_key_ : class_keys_[static_cast<std::size_t>(name.page_class)];
  return key ? &*key : nullptr;
}

bool PartitionKeys::has(KeyName name) const { return key_for(name) != nullptr; }

Result<KeyCommitment> PartitionKeys::commitment(KeyName name) const {
  const SecretBytes* key = key_for(name);
  if (!key) return no_key(name);
  Bytes message;
  append(message, as_bytes(kCommitmentPurpose));
  append(message, as_bytes(name_of(name)));
  message.push_back(std::byte{0});
  append(message, key->view());
  KeyCommitment out{};
  crypto_generichash_blake2b(out.data(), out.size(), u8(ByteView(message)), message.size(), nullptr,
                             0);
  sodium_memzero(message.data(), message.size());
  return out;
}

Result<void> PartitionKeys::seal(const SealedPiece& piece, ByteView plaintext, Bytes& out) const {
  const SecretBytes* key = key_for(piece.key);
  if (!key)
    return Error{ErrorCode::kSealed, "there is no key to seal " + describe(piece.key) + " with"};
  return gcm_seal(*key, piece.nonce, piece.associated_data, plaintext, out);
}

Result<Bytes> PartitionKeys::open(const SealedPiece& piece, ByteView sealed) const {
  const SecretBytes* key = key_for(piece.key);
  if (!key) return no_key(piece.key);
  auto out = gcm_open(*key, piece.nonce, piece.associated_data, sealed);
  if (out) return out;
  return Error{ErrorCode::kCorrupt, "damaged data: a sealed piece of " + describe(piece.key) +
                                        " does not authenticate although the key fits"};
}

}  // namespace hvd
