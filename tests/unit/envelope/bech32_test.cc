// Bech32 against BIP 173's own examples, and the key strings of age.
#include "envelope/bech32.h"

#include "base/text.h"
#include "envelope/identity.h"
#include "tests/support/damage.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

TEST(Bech32, TakesWhatBip173CallsValid) {
  struct Case {
    const char* hrp;
    const char* text;
    const char* data;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"a", "A12UEL5L", ""},
           {"a", "a12uel5l", ""},
           {"an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio",
            "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt"
            "5tgs",
            ""},
           {"abcdef", "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
            "00443214c74254b635cf84653a56d7c675be77df"},
           {"split", "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
            "c5f38b70305f519bf66d85fb6cf03058f3dde463ecd7918f2dc743918f2d"},
           {"?", "?1ezyfcl", ""}}) {
    const auto data = bech32_decode(c.hrp, c.text);
    ASSERT_THAT(data, Succeeds()) << c.text;
    EXPECT_EQ(hex_bytes(*data), c.data) << c.text;
    std::string lower(c.text);
    for (char& letter : lower)
      letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    EXPECT_EQ(bech32_encode(c.hrp, *data), lower) << "one value has one encoding";
  }
}

TEST(Bech32, RefusesWhatBip173CallsInvalid) {
  struct Case {
    const char* hrp;
    std::string text;
    const char* why;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"a", "pzry9x0s0muk", "no checksum"},  // no separator
           {"", "x1b4n0q5v", "does not begin"},   // another prefix
           {"x", "x1b4n0q5v", "character"},       // b is no digit
           {"li", "li1dgmt3", "checksum"},        // checksum too short
           {"de", "de1lg7wt\xff", "character"},
           {"a", "A1G7SGD8", "checksum"},  // checksum over the upper-case prefix
           {"a", "a12UEL5L", "mixes"},
           {"a", "A12uEL5L", "mixes"},
           {"b", "a12uel5l", "does not begin"},
           {"abcdef", "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxx", "checksum"},
           {"abcdef", "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqx", "checksum"},
           {"abcdef", "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw ", "character"},
           {"abcdef", "", "checksum"},
           {"abcdef", "abcdef1", "checksum"}}) {
    EXPECT_THAT(bech32_decode(c.hrp, c.text), FailsWith(ErrorCode::kInvalidArgument, c.why))
        << c.text;
  }
}

TEST(Bech32, RefusesPaddingThatCarriesBits) {
  // All with good checksums. One byte is two digits, 10 bits: the last two are padding.
  EXPECT_EQ(bech32_encode("a", filled(1, 0xff)), "a1lu9cgf6y");
  EXPECT_THAT(bech32_decode("a", "a1lu9cgf6y"), Succeeds());
  EXPECT_THAT(bech32_decode("a", "a1lacwuu8k"), FailsWith(ErrorCode::kInvalidArgument, "padding"))
      << "a padding bit is set";
  EXPECT_THAT(bech32_decode("a", "a1luq25lfhf"), FailsWith(ErrorCode::kInvalidArgument, "padding"))
      << "a digit too many";
  EXPECT_THAT(bech32_decode("a", "a19r5vgpe"), FailsWith(ErrorCode::kInvalidArgument, "padding"))
      << "five bits make no byte";
}

TEST(Bech32, NoticesEverySingleMistypedCharacter) {
  const std::string good = generate_identity().value().recipient().text();
  ASSERT_THAT(parse_recipient(good), Succeeds());
  for (std::size_t at = 4; at < good.size(); ++at) {
    for (const char other : {'q', 'z', '7', 'l'}) {
      if (good[at] == other) continue;
      std::string bad = good;
      bad[at] = other;
      EXPECT_THAT(parse_recipient(bad), FailsWith(ErrorCode::kInvalidArgument, "checksum")) << at;
    }
  }
}

TEST(Recipient, RefusesWhatIsNoX25519Recipient) {
  const X25519Identity identity = generate_identity().value();
  struct Case {
    std::string text;
    const char* why;
  };
  for (const Case& c :
       std::initializer_list<Case>{{"", ""},
                                   {"age1", ""},
                                   {identity.text(), "secret key"},
                                   {"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", "SSH"},
                                   {bech32_encode("age", filled(31, 7)), "31 bytes"},
                                   {bech32_encode("age", filled(33, 7)), "33 bytes"},
                                   {bech32_encode("age", Bytes(32)), "zero"},
                                   {bech32_encode("ago", filled(32, 7)), "age1"},
                                   {identity.recipient().text() + "\n", "character"}}) {
    EXPECT_THAT(parse_recipient(c.text), FailsWith(ErrorCode::kInvalidArgument, c.why)) << c.text;
  }
}

TEST(IdentityFile, TakesCommentsBlankLinesAndSeveralKeys) {
  const X25519Identity a = generate_identity().value(), b = generate_identity().value();
  const auto parsed =
      parse_identity_file("# created: today\n\n" + a.text() + "\r\n# second\n" + b.text());
  ASSERT_THAT(parsed, Succeeds());
  ASSERT_EQ(parsed->size(), 2u);
  EXPECT_EQ((*parsed)[0].text(), a.text());
  EXPECT_EQ((*parsed)[1].recipient().text(), b.recipient().text());
}

TEST(IdentityFile, NamesTheLineAndNeverEchoesASecret) {
  const X25519Identity identity = generate_identity().value();
  std::string mistyped = identity.text();
  mistyped[30] = mistyped[30] == 'Q' ? 'P' : 'Q';
  struct Case {
    std::string text;
    const char* why;
  };
  for (const Case& c :
       std::initializer_list<Case>{{"", "no"},
                                   {"# only a comment\n", "no"},
                                   {"# x\n" + mistyped + "\n", "line 2"},
                                   {identity.recipient().text(), "public key"},
                                   {"garbage", "line 1"},
                                   {"age-encryption.org/v1\n-> scrypt", "encrypted"},
                                   {"-----BEGIN AGE ENCRYPTED FILE-----\n", "encrypted"},
                                   {bech32_encode("age-secret-key-", filled(31, 3)), "line 1"}}) {
    const auto parsed = parse_identity_file(c.text);
    EXPECT_THAT(parsed, FailsWith(ErrorCode::kInvalidArgument, c.why)) << c.text;
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().message.find(mistyped.substr(17, 10)), std::string::npos);
  }
}

TEST(PassphraseFile, IsItsFirstLine) {
  EXPECT_EQ(to_string(parse_passphrase_file("correct horse\r\nbattery\n")->words.view()),
            "correct horse");
  EXPECT_EQ(to_string(parse_passphrase_file(" spaces stay ")->words.view()), " spaces stay ");
  for (const char* empty : {"", "\n", "\r\n", "\nsecond"}) {
    EXPECT_THAT(parse_passphrase_file(empty), FailsWith(ErrorCode::kInvalidArgument, "empty"));
  }
}

}  // namespace
}  // namespace hvd
