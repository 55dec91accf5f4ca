// age v1 files: the round trip, and how strict the header is.
#include "envelope/age.h"

#include <functional>

#include "base/text.h"
#include "envelope/age_primitives.h"
#include "tests/support/damage.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

const std::string kSecret = "the key of partition 3";

struct Sealed {
  X25519Identity identity = generate_identity().value();
  std::string text = to_string(age_encrypt(identity.recipient(), as_bytes(kSecret)).value());

  Result<SecretBytes> open(std::string_view file) const {
    const std::vector<Identity> identities{identity};
    return age_decrypt(as_bytes(file), identities);
  }
  std::size_t payload_at() const { return text.find('\n', text.find("\n---") + 1) + 1; }
};

std::string text_of(const Result<SecretBytes>& secret) {
  return secret ? to_string(secret->view()) : "failed";
}

TEST(Hkdf, MatchesRfc5869) {
  // Test case 1's PRK and info differ from age's use only in length; test case 3 has empty salt and
  // info.
  const Bytes key = filled(22, 0x0b);
  EXPECT_EQ(hex_bytes(hkdf_sha256(key, {}, "").view()),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
  const Bytes salt = *from_hex("000102030405060708090a0b0c");
  const std::string info = to_string(*from_hex("f0f1f2f3f4f5f6f7f8f9"));
  EXPECT_EQ(hex_bytes(hkdf_sha256(key, salt, info).view()),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
}

TEST(Base64, IsUnpaddedAndHasOneEncoding) {
  EXPECT_EQ(base64_unpadded(to_bytes("f")), "Zg");
  EXPECT_EQ(base64_unpadded({}), "");
  EXPECT_EQ(from_base64_unpadded("Zm9vYg"), to_bytes("foob"));
  EXPECT_EQ(from_base64_unpadded(""), Bytes());
  for (const char* bad :
       {"Zg==", "Zh", "Z", "Zm9v\n", " Zm9v", "Zm-v", "Zm9vYh", "Zm9\xaf", "\xff\xff\xff\xff"}) {
    EXPECT_EQ(from_base64_unpadded(bad), std::nullopt) << bad;
  }
}

TEST(Age, X25519ComesBack) {
  const Sealed sealed;
  EXPECT_EQ(text_of(sealed.open(sealed.text)), kSecret);
  for (const std::size_t size : {0u, 1u, 60000u}) {
    const Bytes plain = filled(size, 0x5a);
    const std::vector<Identity> identities{sealed.identity};
    const auto opened =
        age_decrypt(age_encrypt(sealed.identity.recipient(), plain).value(), identities);
    ASSERT_THAT(opened, Succeeds()) << size;
    EXPECT_EQ(Bytes(opened->view().begin(), opened->view().end()), plain);
  }
}

TEST(Age, TriesEveryIdentity) {
  const Sealed sealed;
  const std::vector<Identity> three{generate_identity().value(), sealed.identity,
                                    generate_identity().value()};
  EXPECT_THAT(age_decrypt(as_bytes(sealed.text), three), Succeeds());
  const std::vector<Identity> strangers{generate_identity().value(), generate_identity().value()};
  EXPECT_THAT(age_decrypt(as_bytes(sealed.text), strangers),
              FailsWith(ErrorCode::kAuthentication, ""));
  EXPECT_THAT(age_decrypt(as_bytes(sealed.text), {}), FailsWith(ErrorCode::kAuthentication, ""));
}

TEST(Age, NeverMakesTheSameFileTwice) {
  const Sealed sealed;
  EXPECT_NE(age_encrypt(sealed.identity.recipient(), as_bytes(kSecret)).value(),
            age_encrypt(sealed.identity.recipient(), as_bytes(kSecret)).value());
}

TEST(Age, RefusesALowOrderRecipientAndShare) {
  X25519Recipient one{};
  one.key[0] = 1;
  EXPECT_THAT(age_encrypt(one, as_bytes(kSecret)),
              FailsWith(ErrorCode::kInvalidArgument, "low-order"));
  const Sealed sealed;
  const std::size_t share = sealed.text.find("X25519 ") + 7;
  std::string text = sealed.text;
  text.replace(share, 43, base64_unpadded(Bytes(32)));
  EXPECT_THAT(sealed.open(text), FailsWith(ErrorCode::kCorrupt, "low-order"));
}

// Each case is one deviation from C2SP age.md, "Header"; none may be let through, and each must be
// found by the parser
// (`malformed`) or by the MAC, not by accident.
TEST(Age, HeaderIsStrict) {
  const Sealed sealed;
  const std::string& good = sealed.text;
  const std::size_t share = good.find("X25519 ") + 7, body = share + 44,
                    mac = good.find("--- ") + 4;
  // The last of 43 characters carries two unused bits: setting one gives a second encoding of the
  // same 32 bytes.
  const auto other_encoding = [&](std::size_t at) {
    static constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text = good;
    text[at] = kDigits[kDigits.find(text[at]) + 1];
    return text;
  };
  struct Case {
    const char* what;
    std::string text;
    const char* why;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"another version", replaced(good, "v1", "v2"), "does not begin"},
           {"leading space", " " + good, "does not begin"},
           {"armour", "-----BEGIN AGE ENCRYPTED FILE-----\n" + good, "does not begin"},
           {"CRLF", replaced(good, "v1\n", "v1\r\n"), "does not begin"},
           {"CRLF in a recipient", replaced(good, "\n---", "\r\n---"), "base64"},
           {"blank line", replaced(good, "v1\n", "v1\n\n"), "malformed"},
           {"no recipients", "age-encryption.org/v1\n" + good.substr(good.find("---")),
            "no recipients"},
           {"two spaces", replaced(good, "X25519 ", "X25519  "), "argument"},
           {"trailing space", good.substr(0, body - 1) + " " + good.substr(body - 1), "argument"},
           {"control character", replaced(good, "X25519 ", "X25519 \x01 "), "argument"},
           {"arrow without space", replaced(good, "-> X", "->X"), "begins neither"},
           {"extra argument", good.substr(0, body - 1) + " x" + good.substr(body - 1),
            "one argument"},
           {"no argument", good.substr(0, share - 1) + good.substr(body - 1), "one argument"},
           {"share one byte short", good.substr(0, body - 2) + good.substr(body - 1), "share"},
           {"share padded", good.substr(0, body - 1) + "=" + good.substr(body - 1), "share"},
           {"second encoding of the share", other_encoding(body - 2), "share"},
           {"second encoding of the body", other_encoding(body + 42), "base64"},
           {"second encoding of the MAC", other_encoding(mac + 42), "MAC"},
           {"body padded", good.substr(0, body + 43) + "=" + good.substr(body + 43), "base64"},
           {"short body",
            good.substr(0, body) + base64_unpadded(Bytes(31)) + good.substr(body + 43), "body"},
           {"long body", good.substr(0, body) + base64_unpadded(Bytes(33)) + good.substr(body + 43),
            "body"},
           {"body line too long",
            good.substr(0, body) + std::string(68, 'A') + "\n" + good.substr(body + 43), "base64"},
           {"no last short body line",
            good.substr(0, body) + std::string(64, 'A') + good.substr(body + 43), "base64"},
           {"MAC one byte short",
            good.substr(0, mac) + base64_unpadded(Bytes(31)) + good.substr(mac + 43), "MAC"},
           {"MAC missing", replaced(good, "--- ", "---"), "begins neither"},
           {"cut in the header", good.substr(0, mac + 10), "cut short"},
           {"unknown recipient put in later",
            replaced(good, "-> X25519", "-> grease x\nYWJj\n-> X25519"), "MAC is wrong"},
           {"recipient added behind", replaced(good, "\n---", "\n-> grease x\n\n---"),
            "MAC is wrong"},
           {"another MAC", good.substr(0, mac) + base64_unpadded(Bytes(32)) + good.substr(mac + 43),
            "MAC is wrong"},
           {"no payload", good.substr(0, sealed.payload_at()), "cut short"},
           {"payload cut", good.substr(0, good.size() - 1), "does not authenticate"},
           {"payload extended", good + "x", "does not authenticate"},
           {"empty", "", "does not begin"}}) {
    EXPECT_THAT(sealed.open(c.text), FailsWith(ErrorCode::kCorrupt, c.why)) << c.what;
  }
}

TEST(Age, IgnoresRecipientTypesItDoesNotKnow) {
  // Built by hand: a foreign recipient that is covered by the MAC.
  const X25519Identity identity = generate_identity().value();
  const std::string foreign =
      "age-encryption.org/v1\n-> piv-p256 abc\nYWJj\n--- " + base64_unpadded(Bytes(32)) + "\n";
  const std::vector<Identity> identities{identity};
  EXPECT_THAT(age_decrypt(as_bytes(foreign), identities),
              FailsWith(ErrorCode::kAuthentication, "no identity fits"));
}

TEST(Age, EveryFlippedBitIsNoticed) {
  const Sealed sealed;
  for (std::size_t at = 0; at < sealed.text.size(); ++at) {
    Bytes damaged = to_bytes(sealed.text);
    flip_bit(damaged, at, at % 8);
    const auto opened = sealed.open(to_string(damaged));
    // A changed recipient line may simply not be ours any more.
    ASSERT_FALSE(opened) << "byte " << at;
    EXPECT_TRUE(opened.error().code == ErrorCode::kCorrupt ||
                opened.error().code == ErrorCode::kAuthentication)
        << at;
  }
}

TEST(Age, IsNoLargerThanAKeyNeeds) {
  const Sealed sealed;
  EXPECT_THAT(sealed.open(sealed.text + std::string(kMaxAgeFile, 'x')),
              FailsWith(ErrorCode::kCorrupt, "larger"));
}

TEST(Age, PassphraseComesBackAndItsHeaderIsStrict) {
  const Passphrase words{SecretBytes(as_bytes("correct horse"))},
      wrong{SecretBytes(as_bytes("battery"))};
  const std::string good = to_string(age_encrypt(words, as_bytes(kSecret)).value());
  const auto open = [](std::string_view text, const Passphrase& with) {
    const std::vector<Identity> identities{with};
    return age_decrypt(as_bytes(text), identities);
  };
  EXPECT_EQ(text_of(open(good, words)), kSecret);
  const std::size_t factor = good.find(" 18\n");
  ASSERT_NE(factor, std::string::npos) << "the work factor that the age program uses";
  const std::size_t salt = good.find("scrypt ") + 7;
  struct Case {
    const char* what;
    std::string text;
    ErrorCode code;
    const char* why;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"too much work", replaced(good, " 18\n", " 23\n"), ErrorCode::kUnsupported, "23"},
           {"far too much work", replaced(good, " 18\n", " 99\n"), ErrorCode::kUnsupported, "99"},
           {"three digits", replaced(good, " 18\n", " 118\n"), ErrorCode::kCorrupt, "work factor"},
           {"leading zero", replaced(good, " 18\n", " 08\n"), ErrorCode::kCorrupt, "work factor"},
           {"no work", replaced(good, " 18\n", " 0\n"), ErrorCode::kCorrupt, "work factor"},
           {"signed", replaced(good, " 18\n", " +8\n"), ErrorCode::kCorrupt, "work factor"},
           {"hexadecimal", replaced(good, " 18\n", " 1a\n"), ErrorCode::kCorrupt, "work factor"},
           {"no factor", replaced(good, " 18\n", "\n"), ErrorCode::kCorrupt, "two arguments"},
           {"short salt", good.substr(0, salt) + base64_unpadded(Bytes(15)) + good.substr(factor),
            ErrorCode::kCorrupt, "salt"},
           {"beside another recipient", replaced(good, "-> scrypt", "-> grease x\n\n-> scrypt"),
            ErrorCode::kCorrupt, "alone"},
           {"less work than it was made with", replaced(good, " 18\n", " 1\n"),
            ErrorCode::kAuthentication, ""}}) {
    EXPECT_THAT(open(c.text, words), FailsWith(c.code, c.why)) << c.what;
  }
  EXPECT_THAT(open(replaced(good, " 18\n", " 1\n"), wrong),
              FailsWith(ErrorCode::kAuthentication, ""));
  const std::vector<Identity> key{generate_identity().value()};
  EXPECT_THAT(age_decrypt(as_bytes(good), key), FailsWith(ErrorCode::kAuthentication, ""))
      << "a key is no passphrase";
}

TEST(Stream, KeepsChunksInPlace) {
  // Three chunks of 64 KiB, 64 KiB and some: none may be swapped, dropped, or the end moved.
  constexpr std::size_t kChunk = 65536 + 16, kNonce = 16;
  const SecretBytes key(filled(16, 9));
  Bytes plain(150000);
  for (std::size_t i = 0; i < plain.size(); ++i) plain[i] = static_cast<std::byte>(i / 300);
  const Bytes sealed = stream_seal(key, plain);
  const auto opened = stream_open(key, sealed);
  ASSERT_THAT(opened, Succeeds());
  EXPECT_EQ(Bytes(opened->view().begin(), opened->view().end()), plain);

  Bytes swapped = sealed;
  std::swap_ranges(swapped.begin() + kNonce, swapped.begin() + kNonce + kChunk,
                   swapped.begin() + kNonce + kChunk);
  EXPECT_THAT(stream_open(key, swapped), FailsWith(ErrorCode::kCorrupt, "authenticate"));
  EXPECT_THAT(stream_open(key, truncated_at(sealed, kNonce + 2 * kChunk)),
              FailsWith(ErrorCode::kCorrupt, "authenticate"))
      << "ends where a chunk does";
  EXPECT_THAT(stream_open(key, truncated_at(sealed, kNonce + 2 * kChunk + 3)),
              FailsWith(ErrorCode::kCorrupt, ""));
  EXPECT_THAT(stream_open(key, truncated_at(sealed, kNonce + 3)),
              FailsWith(ErrorCode::kCorrupt, "cut short"));
  EXPECT_THAT(stream_open(key, truncated_at(sealed, 3)),
              FailsWith(ErrorCode::kCorrupt, "cut short"));
  const Bytes whole = stream_seal(key, ByteView(plain).first(2 * 65536));
  EXPECT_EQ(whole.size(), kNonce + 2 * kChunk) << "no empty chunk behind full ones";
}

}  // namespace
}  // namespace hvd
