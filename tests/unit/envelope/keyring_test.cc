// Which key opens what, and the four ways in which none does.
#include "envelope/keyring.h"

#include <set>

#include "base/text.h"
#include "envelope/age.h"
#include "tests/support/damage.h"
#include "tests/support/matchers.h"
#include "tests/support/temporary_folder.h"

namespace hvd {
namespace {

const DumpId kDump{0xd0, 0x0d};
constexpr std::uint32_t kPartition = 3;

SealedPiece piece(KeyName key) {
  SealedPiece out;
  out.key = key;
  out.nonce[0] = 1;
  out.associated_data = to_bytes("where it stands");
  return out;
}

struct SealedPartition {
  PartitionKeys keys = PartitionKeys::generate().value();
  X25519Identity owner = generate_identity().value();
  std::vector<KeySlot> slots =
      make_key_slots(keys, kDump, kPartition, {Recipient(owner.recipient())}).value();

  Result<std::unique_ptr<Opener>> unlock(const std::vector<X25519Identity>& identities) const {
    Keyring keyring;
    for (const X25519Identity& identity : identities) keyring.add(identity);
    return keyring.unlock(kDump, kPartition, slots);
  }
};

TEST(Keyring, FourWaysToFailStayApart) {
  const SealedPartition sealed;
  EXPECT_THAT(sealed.unlock({}), FailsWith(ErrorCode::kSealed, "no key was given"));
  EXPECT_THAT(sealed.unlock({generate_identity().value()}),
              FailsWith(ErrorCode::kAuthentication, sealed.owner.recipient().text()));

  SealedPartition damaged = sealed;
  const std::string blob = to_string(damaged.slots[0].blob);
  flip_bit(damaged.slots[0].blob, blob.find('\n', blob.find("-> X25519")) + 5, 0);
  EXPECT_THAT(damaged.unlock({damaged.owner}), FailsWith(ErrorCode::kCorrupt, "damaged key slot"));

  const auto opener = sealed.unlock({sealed.owner});
  ASSERT_THAT(opener, Succeeds());
  Bytes stored;
  ASSERT_THAT(sealed.keys.seal(piece(KeyName::map()), as_bytes("page map"), stored), Succeeds());
  EXPECT_EQ(to_string((*opener)->open(piece(KeyName::map()), stored).value()), "page map");
  flip_bit(stored, 2);
  EXPECT_THAT((*opener)->open(piece(KeyName::map()), stored),
              FailsWith(ErrorCode::kCorrupt, "damaged data"));
}

TEST(Keyring, EveryFlippedByteOfASlotIsDamageToItsOwner) {
  const SealedPartition sealed;
  for (std::size_t at = 0; at < sealed.slots[0].blob.size(); ++at) {
    SealedPartition damaged = sealed;
    flip_bit(damaged.slots[0].blob, at, at % 8);
    EXPECT_THAT(damaged.unlock({damaged.owner}),
                FailsWith(ErrorCode::kCorrupt, "damaged key slot 0"))
        << "byte " << at;
  }
}

TEST(Keyring, ADamagedSlotDoesNotHideAGoodOne) {
  SealedPartition sealed;
  const X25519Identity second = generate_identity().value();
  const auto more =
      make_key_slots(sealed.keys, kDump, kPartition, {Recipient(second.recipient())}).value();
  sealed.slots.push_back(more[0]);
  flip_bit(sealed.slots[0].blob, 3);
  EXPECT_THAT(sealed.unlock({second}), Succeeds());
  EXPECT_THAT(sealed.unlock({generate_identity().value(), second}), Succeeds());
}

TEST(Keyring, ASlotMovedFromElsewhereIsRefused) {
  const SealedPartition sealed;
  Keyring keyring;
  keyring.add(sealed.owner);
  EXPECT_THAT(keyring.unlock(kDump, kPartition + 1, sealed.slots),
              FailsWith(ErrorCode::kCorrupt, "another partition"));
  DumpId other = kDump;
  other[15] = 1;
  EXPECT_THAT(keyring.unlock(other, kPartition, sealed.slots),
              FailsWith(ErrorCode::kCorrupt, "another dump"));
}

TEST(Keyring, LoadsIdentitiesAndPassphrasesAndNamesTheFile) {
  const TemporaryFolder folder;
  const SealedPartition sealed;
  const std::string good = folder.write("key", "# mine\n" + sealed.owner.text() + "\n");
  const auto keyring = Keyring::load({good}, {folder.write("words", "secret words\n")});
  ASSERT_THAT(keyring, Succeeds());
  EXPECT_THAT(keyring->unlock(kDump, kPartition, sealed.slots), Succeeds());
  EXPECT_TRUE(keyring->matches(sealed.slots[0]));
  EXPECT_TRUE(keyring->matches({"passphrase", {}}));
  EXPECT_FALSE(keyring->matches({generate_identity().value().recipient().text(), {}}));
  EXPECT_THAT(Keyring::load({folder.path("absent")}), FailsWith(ErrorCode::kIo, "absent"));
  EXPECT_THAT(Keyring::load({folder.write("bad", "garbage")}),
              FailsWith(ErrorCode::kInvalidArgument, "bad"));
  EXPECT_THAT(Keyring::load({}, {folder.write("empty", "")}),
              FailsWith(ErrorCode::kInvalidArgument, "empty"));
  EXPECT_THAT(Keyring::load({folder.write("large", std::string(kMaxAgeFile + 1, '#'))}),
              FailsWith(ErrorCode::kInvalidArgument, "large"));
}

TEST(Keyring, AGrantOpensItsClassesOnly) {
  const TemporaryFolder folder;
  const SealedPartition sealed;
  const X25519Identity vendor = generate_identity().value();
  const SecretBytes text = sealed.keys.key_text(kDump, kPartition, std::vector{PageClass::kKernel});
  const Bytes blob = age_encrypt(vendor.recipient(), text.view()).value();
  const std::string grant = folder.write("a.hvgrant", "hvdump-grant/1\n" + to_string(blob));
  const auto keyring = Keyring::load({grant, folder.write("key", vendor.text())});
  ASSERT_THAT(keyring, Succeeds());
  const auto opener = keyring->unlock(kDump, kPartition, sealed.slots);
  ASSERT_THAT(opener, Succeeds());
  EXPECT_TRUE((*opener)->has(KeyName::map()));
  EXPECT_TRUE((*opener)->has(KeyName::of(PageClass::kKernel)));
  EXPECT_FALSE((*opener)->has(KeyName::of(PageClass::kUser)));
  Bytes stored;
  ASSERT_THAT(sealed.keys.seal(piece(KeyName::of(PageClass::kUser)), as_bytes("x"), stored),
              Succeeds());
  EXPECT_THAT((*opener)->open(piece(KeyName::of(PageClass::kUser)), stored),
              FailsWith(ErrorCode::kSealed, "user"));
  // Without the identity it was made for, a grant is nothing; for another partition it is not ours.
  EXPECT_THAT(Keyring::load({grant})->unlock(kDump, kPartition, sealed.slots),
              FailsWith(ErrorCode::kSealed, ""));
  EXPECT_THAT(keyring->unlock(kDump, kPartition + 1, sealed.slots),
              FailsWith(ErrorCode::kAuthentication, ""));
}

TEST(PartitionKeys, TextComesBackAndDeviationsDoNot) {
  const PartitionKeys keys = PartitionKeys::generate().value();
  const std::string good = to_string(keys.key_text(kDump, kPartition).view());
  const std::string some = to_string(
      keys.key_text(kDump, kPartition, std::vector{PageClass::kUser, PageClass::kVmm}).view());
  const auto parse = [](std::string_view text) {
    return PartitionKeys::parse(as_bytes(text), kDump, kPartition);
  };
  ASSERT_THAT(parse(good), Succeeds());
  ASSERT_THAT(parse(some), Succeeds());
  EXPECT_TRUE(parse(some)->has(KeyName::of(PageClass::kVmm)));
  EXPECT_FALSE(parse(some)->has(KeyName::of(PageClass::kKernel)));
  EXPECT_THAT(parse(some), Succeeds());
  Bytes stored;
  ASSERT_THAT(keys.seal(piece(KeyName::of(PageClass::kUser)), as_bytes("x"), stored), Succeeds());
  EXPECT_EQ(to_string(parse(good)->open(piece(KeyName::of(PageClass::kUser)), stored).value()),
            "x");
  EXPECT_EQ(to_string(parse(some)->open(piece(KeyName::of(PageClass::kUser)), stored).value()),
            "x");

  struct Case {
    const char* what;
    std::string text;
    const char* why;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"empty", "", "not an hvdump key"},
           {"another version", replaced(good, "keys/1", "keys/2"), "not an hvdump key"},
           {"no last line feed", good.substr(0, good.size() - 1), "unfinished"},
           {"unknown line", good + "colour blue\n", "not 32 bytes"},
           {"unknown key", good + "spare-key " + std::string(64, 'a') + "\n", "unknown line"},
           {"line without value", good + "dump\n", "without a value"},
           {"blank line", good + "\n", "without a value"},
           {"short key", good.substr(0, good.size() - 3) + "\n", "not 32 bytes"},
           {"no digit", replaced(good, "partition-key ", "partition-key g"), "not 32 bytes"},
           {"unknown class", some + "class-key attic " + std::string(64, 'a') + "\n",
            "unknown page class"},
           {"no dump",
            replaced(good, "dump " + hex_bytes(std::as_bytes(std::span(kDump))) + "\n", ""),
            "what it is for"},
           {"no partition", replaced(good, "partition 3\n", ""), "what it is for"},
           {"partition with a zero in front", replaced(good, "partition 3\n", "partition 03\n"),
            "another partition"},
           {"no map key",
            some.substr(0, some.find("map-key")) + some.substr(some.find("class-key")),
            "page map"}}) {
    EXPECT_THAT(parse(c.text), FailsWith(ErrorCode::kCorrupt, c.why)) << c.what;
  }
}

TEST(PartitionKeys, EveryKeySealsApart) {
  const PartitionKeys keys = PartitionKeys::generate().value();
  std::vector<KeyName> names{KeyName::map()};
  for (std::size_t i = 0; i < kPageClassCount; ++i)
    names.push_back(KeyName::of(static_cast<PageClass>(i)));
  for (const KeyName& sealed_with : names) {
    Bytes stored;
    ASSERT_THAT(keys.seal(piece(sealed_with), as_bytes("x"), stored), Succeeds());
    EXPECT_EQ(stored.size(), 1 + kSealOverhead);
    for (const KeyName& opened_with : names) {
      const bool same = sealed_with.is_map == opened_with.is_map &&
                        sealed_with.page_class == opened_with.page_class;
      EXPECT_EQ(keys.open(piece(opened_with), stored).has_value(), same);
    }
  }
}

TEST(PartitionKeys, APieceIsBoundToItsPlaceAndNonce) {
  const PartitionKeys keys = PartitionKeys::generate().value();
  Bytes stored;
  ASSERT_THAT(keys.seal(piece(KeyName::map()), as_bytes("x"), stored), Succeeds());
  SealedPiece moved = piece(KeyName::map());
  flip_bit(moved.associated_data, 0);
  EXPECT_THAT(keys.open(moved, stored), FailsWith(ErrorCode::kCorrupt, ""));
  SealedPiece renumbered = piece(KeyName::map());
  renumbered.nonce[11] ^= 1;
  EXPECT_THAT(keys.open(renumbered, stored), FailsWith(ErrorCode::kCorrupt, ""));
  EXPECT_THAT(keys.open(piece(KeyName::map()), ByteView(stored).first(kSealOverhead - 1)),
              FailsWith(ErrorCode::kCorrupt, ""));
  EXPECT_THAT(PartitionKeys::generate()->open(piece(KeyName::map()), stored),
              FailsWith(ErrorCode::kCorrupt, ""));
}

TEST(Commitment, IsOfOneKeyAndItsName) {
  const PartitionKeys keys = PartitionKeys::generate().value();
  const PartitionKeys others = PartitionKeys::generate().value();
  std::set<KeyCommitment> seen;
  for (const KeyName key : all_keys()) {
    EXPECT_TRUE(seen.insert(keys.commitment(key).value()).second) << name_of(key);
    EXPECT_TRUE(seen.insert(others.commitment(key).value()).second) << name_of(key);
    EXPECT_EQ(keys.commitment(key).value(), keys.commitment(key).value());
  }
  // Whoever was granted a class can check what he was given, and nothing more.
  const std::vector<PageClass> user{PageClass::kUser};
  const SecretBytes text = keys.key_text(kDump, kPartition, user);
  const PartitionKeys granted = PartitionKeys::parse(text.view(), kDump, kPartition).value();
  EXPECT_EQ(granted.commitment(KeyName::map()).value(), keys.commitment(KeyName::map()).value());
  EXPECT_EQ(granted.commitment(KeyName::of(PageClass::kUser)).value(),
            keys.commitment(KeyName::of(PageClass::kUser)).value());
  EXPECT_THAT(granted.commitment(KeyName::of(PageClass::kKernel)),
              FailsWith(ErrorCode::kSealed, "class kernel"));
}

}  // namespace
}  // namespace hvd
