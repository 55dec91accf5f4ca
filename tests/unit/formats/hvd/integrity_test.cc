// Signatures over the whole dump and over one record, and what a stranger's key says.
#include "formats/hvd/integrity.h"

#include "base/text.h"
#include "tests/support/crafted_dump.h"
#include "tests/support/damage.h"
#include "tests/support/matchers.h"

namespace hvd::format {
namespace {

TEST(SigningKey, TextComesBack) {
  const SigningKey key = SigningKey::generate().value();
  const auto again = SigningKey::parse(key.text());
  ASSERT_THAT(again, Succeeds());
  EXPECT_EQ(again->public_key(), key.public_key());
  for (const std::string& bad :
       {std::string(), std::string("hvdump-signing-key "), key.text().substr(1), key.text() + "0",
        replaced(key.text(), "key ", "key  ")}) {
    EXPECT_THAT(SigningKey::parse(bad), FailsWith(ErrorCode::kInvalidArgument, "signing key"))
        << bad;
  }
}

// From the test vectors of the BLAKE3 team.
TEST(Hash, IsBlake3) {
  const auto text = [](const Hash& hash) { return hex_bytes(std::as_bytes(std::span(hash))); };
  EXPECT_EQ(text(hash_of({})), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
  EXPECT_EQ(text(hash_of(Bytes(1))),
            "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213");
  EXPECT_NE(keyed_hash(DumpId{1}, {}), keyed_hash(DumpId{2}, {}));
}

TEST(SigningKey, SignsPurposeDumpAndHash) {
  const SigningKey key = SigningKey::generate().value();
  const DumpId dump{1};
  const Hash what = hash_of(as_bytes("x"));
  const Signature signature = key.sign(kCheckpointPurpose, dump, what);
  EXPECT_TRUE(signature_ok(key.public_key(), kCheckpointPurpose, dump, what, signature));
  EXPECT_FALSE(signature_ok(key.public_key(), kFooterPurpose, dump, what, signature));
  EXPECT_FALSE(signature_ok(key.public_key(), kCheckpointPurpose, DumpId{2}, what, signature));
  EXPECT_FALSE(
      signature_ok(key.public_key(), kCheckpointPurpose, dump, hash_of(as_bytes("y")), signature));
  EXPECT_FALSE(signature_ok(SigningKey::generate()->public_key(), kCheckpointPurpose, dump, what,
                            signature));
}

TEST(VerifyRecord, ProvesEachRecordAloneAndNoOther) {
  const BuiltDump built = build_dump({.pages = 40});
  const auto dump = Dump::open(built.source(), true);
  ASSERT_THAT(dump, Succeeds());
  std::size_t proved = 0;
  std::vector<RecordPlace> places = dump->catalog().records;
  places.insert(places.end(), dump->catalog().memory_records.begin(),
                dump->catalog().memory_records.end());
  for (const RecordPlace& place : places) {
    if (place.type == RecordType::kCheckpoint || place.type == RecordType::kFooter) continue;
    Record record = dump->reader().read(place.file_offset).value();
    EXPECT_THAT(verify_record(*dump, record), Succeeds()) << place.file_offset;
    flip_bit(record.payload, record.payload.size() / 2);
    EXPECT_THAT(verify_record(*dump, record),
                FailsWith(ErrorCode::kAuthentication, "not the one that was signed"));
    ++proved;
  }
  EXPECT_GT(proved, 8u);
}

TEST(VerifyRecord, AnUnsignedTailIsNotProved) {
  const BuiltDump built = build_dump({.pages = 40});
  const auto whole = Dump::open(built.source(), true);
  std::uint64_t checkpoint_at = 0;
  for (const RecordPlace& place : whole->catalog().records) {
    if (place.type == RecordType::kCheckpoint && checkpoint_at == 0)
      checkpoint_at = place.file_offset;
  }
  const auto torn =
      Dump::open(std::make_shared<BufferSource>(truncated_at(built.bytes, checkpoint_at)));
  ASSERT_THAT(torn, Succeeds());
  const Record record = torn->reader().read(sizeof(FileHeader)).value();
  EXPECT_THAT(verify_record(*torn, record), FailsWith(ErrorCode::kNotFound, "no checkpoint"));
  const Verification verification = verify(*torn, std::nullopt, nullptr);
  EXPECT_FALSE(verification.good());
  EXPECT_FALSE(verification.complete);
  EXPECT_EQ(verification.signed_records, 0u);
  EXPECT_GT(verification.unsigned_records, 3u);
}

TEST(Verify, SaysWhoseSignatureItIs) {
  const BuiltDump built = build_dump({.pages = 4});
  const auto dump = Dump::open(built.source());
  EXPECT_TRUE(verify(*dump, dump->signer(), nullptr).good());
  const Verification other = verify(*dump, SigningKey::generate()->public_key(), nullptr);
  EXPECT_FALSE(other.good());
  EXPECT_THAT(other.problems, testing::Contains(testing::HasSubstr("another key")));
}

TEST(Verify, AnOptionalRecordOfALaterVersionIsSignedLikeAnyOther) {
  // SPEC.md, "Records": a type that is unknown and not critical is skipped; its leaf is signed all
  // the same.
  auto bytes = std::make_shared<Bytes>();
  auto writer = RecordWriter::start(std::make_unique<SharedSink>(bytes), DumpId{1}, 0,
                                    SigningKey::generate().value())
                    .value();
  ASSERT_TRUE(writer->append(RecordType::kDump, kFlagCritical, kNoPartition, 0, as_bytes("{}")));
  ASSERT_TRUE(
      writer->append(static_cast<RecordType>(99), 0, kNoPartition, 0, as_bytes("from the future")));
  ASSERT_TRUE(writer->finish());
  const auto dump = Dump::open(std::make_shared<BufferSource>(*bytes));
  ASSERT_THAT(dump, Succeeds());
  EXPECT_THAT(dump->problems(), testing::IsEmpty());
  const Verification verification = verify(*dump, std::nullopt, nullptr);
  EXPECT_TRUE(verification.good())
      << (verification.problems.empty() ? "" : verification.problems[0]);
}

}  // namespace
}  // namespace hvd::format
