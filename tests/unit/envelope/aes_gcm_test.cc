// AES-256-GCM as NIST has it, and that nothing changed opens.
#include "envelope/aes_gcm.h"

#include "base/text.h"
#include "tests/support/damage.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

// Test case 16 of McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B.
struct Known {
  SecretBytes key{
      ByteView(*from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"))};
  GcmNonce nonce{0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88};
  Bytes bound = *from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
  Bytes plain = *from_hex(
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
      "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
  Bytes sealed = *from_hex(
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
      "76fc6ece0f4e1768cddf8853bb2d551b");
};

TEST(AesGcm, SealsAndOpensTheKnownAnswer) {
  const Known known;
  Bytes out = to_bytes("before");
  ASSERT_THAT(gcm_seal(known.key, known.nonce, known.bound, known.plain, out), Succeeds());
  EXPECT_EQ(to_string(out).substr(0, 6), "before") << "what is sealed is appended";
  EXPECT_EQ(Bytes(out.begin() + 6, out.end()), known.sealed);
  const auto opened = gcm_open(known.key, known.nonce, known.bound, known.sealed);
  ASSERT_THAT(opened, Succeeds());
  EXPECT_EQ(*opened, known.plain);
}

TEST(AesGcm, AnEmptyPieceIsATag) {
  const Known known;
  Bytes out;
  ASSERT_THAT(gcm_seal(known.key, known.nonce, {}, {}, out), Succeeds());
  EXPECT_EQ(out.size(), kGcmTagSize);
  EXPECT_THAT(gcm_open(known.key, known.nonce, {}, out), Succeeds());
}

TEST(AesGcm, NothingChangedOpens) {
  const Known known;
  for (std::size_t bit = 0; bit < known.sealed.size() * 8; bit += 7) {
    Bytes sealed = known.sealed;
    sealed[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    EXPECT_THAT(gcm_open(known.key, known.nonce, known.bound, sealed),
                FailsWith(ErrorCode::kCorrupt, "authenticate"))
        << bit;
  }
  for (std::size_t size = 0; size < known.sealed.size(); ++size) {
    EXPECT_THAT(gcm_open(known.key, known.nonce, known.bound, ByteView(known.sealed).first(size)),
                FailsWith(ErrorCode::kCorrupt, "authenticate"));
  }
  GcmNonce nonce = known.nonce;
  ++nonce[0];
  EXPECT_THAT(gcm_open(known.key, nonce, known.bound, known.sealed),
              FailsWith(ErrorCode::kCorrupt, "authenticate"));
  EXPECT_THAT(gcm_open(known.key, known.nonce, {}, known.sealed),
              FailsWith(ErrorCode::kCorrupt, "authenticate"));
}

}  // namespace
}  // namespace hvd
