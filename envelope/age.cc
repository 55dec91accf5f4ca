#include "envelope/age.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "envelope/age_primitives.h"

namespace hvd {
namespace {

constexpr std::string_view kVersionLine = "age-encryption.org/v1\n";
constexpr std::string_view kX25519Label = "age-encryption.org/v1/X25519";
constexpr std::string_view kScryptLabel = "age-encryption.org/v1/scrypt";
constexpr std::size_t kFileKeySize = 16;
constexpr std::size_t kWrappedFileKeySize = kFileKeySize + crypto_aead_chacha20poly1305_IETF_ABYTES;
constexpr std::size_t kBodyColumns = 64;
constexpr unsigned kScryptWork = 18;     // what the age program itself uses
constexpr unsigned kMaxScryptWork = 22;  // and the most it accepts

struct Stanza {
  std::vector<std::string> arguments;  // the first one is the type
  Bytes body;
};

struct Header {
  std::vector<Stanza> stanzas;
  std::size_t mac_covers = 0;  // bytes from the file's start, "---" included
  Bytes mac;
  std::size_t payload_at = 0;
};

Error malformed(const std::string& why) {
  return Error{ErrorCode::kCorrupt, "malformed age header: " + why};
}

// age.md, "Header". Every deviation is an error: one header has one encoding.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  Result<Header> parse() {
    if (!text_.starts_with(kVersionLine))
      return malformed("it does not begin with age-encryption.org/v1");
    at_ = kVersionLine.size();
    Header header;
    while (true) {
      const std::size_t line_at = at_;
      const std::string_view line = HVD_TRY(next_line());
      if (line.starts_with("--- ")) {
        auto mac = from_base64_unpadded(line.substr(4));
        if (!mac || mac->size() != crypto_auth_hmacsha256_BYTES)
          return malformed("its MAC is not 32 bytes of base64");
        header.mac = std::move(*mac);
        header.mac_covers = line_at + 3;
        header.payload_at = at_;
        if (header.stanzas.empty()) return malformed("it has no recipients");
        return header;
      }
      if (!line.starts_with("-> "))
        return malformed("a line begins neither with \"->\" nor with \"---\"");
      Stanza stanza;
      HVD_TRY(read_arguments(line.substr(3), stanza));
      HVD_TRY(read_body(stanza));
      header.stanzas.push_back(std::move(stanza));
    }
  }

 private:
  Result<std::string_view> next_line() {
    const std::size_t end = text_.find('\n', at_);
    if (end == std::string_view::npos) return malformed("it is cut short");
    const std::string_view line = text_.substr(at_, end - at_);
    at_ = end + 1;
    return line;
  }

  static Result<void> read_arguments(std::string_view line, Stanza& stanza) {
    while (true) {
      const std::size_t end = std::min(line.find(' '), line.size());
      const std::string_view word = line.substr(0, end);
      const bool visible =
          std::all_of(word.begin(), word.end(), [](char c) { return c >= 33 && c <= 126; });
      if (word.empty() || !visible)
        return malformed("a recipient line has an empty or unprintable argument");
      stanza.arguments.emplace_back(word);
      if (end == line.size()) return {};
      line.remove_prefix(end + 1);
    }
  }

  Result<void> read_body(Stanza& stanza) {
    while (true) {
      const std::string_view line = HVD_TRY(next_line());
      const auto bytes = from_base64_unpadded(line);
      if (!bytes || line.size() > kBodyColumns)
        return malformed("a recipient body is not canonical base64");
      append(stanza.body, *bytes);
      if (line.size() < kBodyColumns) return {};
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

SecretBytes header_mac(const SecretBytes& file_key, ByteView covered) {
  const SecretBytes key = hkdf_sha256(file_key.view(), {}, "header");
  SecretBytes mac(crypto_auth_hmacsha256_BYTES);
  crypto_auth_hmacsha256(mac.data(), u8(covered), covered.size(), key.data());
  return mac;
}

SecretBytes x25519_wrap_key(const unsigned char* shared, const unsigned char* share,
                            const unsigned char* recipient) {
  Bytes salt(2 * kX25519KeySize);
  std::memcpy(salt.data(), share, kX25519KeySize);
  std::memcpy(salt.data() + kX25519KeySize, recipient, kX25519KeySize);
  return hkdf_sha256(std::as_bytes(std::span(shared, kX25519KeySize)), salt, kX25519Label);
}

Result<SecretBytes> scrypt_key(const Passphrase& passphrase, ByteView salt, unsigned work) {
  Bytes labelled;
  append(labelled, as_bytes(kScryptLabel));
  append(labelled, salt);
  SecretBytes key(32);
  if (crypto_pwhash_scryptsalsa208sha256_ll(
          passphrase.words.data(), passphrase.words.size(), u8(ByteView(labelled)), labelled.size(),
          std::uint64_t{1} << work, 8, 1, key.data(), key.size()) != 0) {
    return Error{ErrorCode::kIo, "not enough memory to derive a key from the passphrase"};
  }
  return key;
}

Result<std::string> x25519_stanza(const X25519Recipient& recipient, const SecretBytes& file_key) {
  SecretBytes ephemeral(kX25519KeySize), shared(kX25519KeySize);
  randombytes_buf(ephemeral.data(), ephemeral.size());
  std::array<unsigned char, kX25519KeySize> share{};
  crypto_scalarmult_curve25519_base(share.data(), ephemeral.data());
  if (crypto_scalarmult_curve25519(shared.data(), ephemeral.data(), recipient.key.data()) != 0) {
    return Error{ErrorCode::kInvalidArgument,
                 "the recipient is a low-order point: nothing can be sealed to it"};
  }
  const Bytes body =
      wrap_key(x25519_wrap_key(shared.data(), share.data(), recipient.key.data()), file_key.view());
  return "-> X25519 " + base64_unpadded(std::as_bytes(std::span(share))) + "\n" +
         base64_unpadded(body) + "\n";
}

Result<std::string> scrypt_stanza(const Passphrase& passphrase, const SecretBytes& file_key) {
  Bytes salt(16);
  randombytes_buf(u8(MutableBytes(salt)), salt.size());
  const SecretBytes key = HVD_TRY(scrypt_key(passphrase, salt, kScryptWork));
  return "-> scrypt " + base64_unpadded(salt) + " " + std::to_string(kScryptWork) + "\n" +
         base64_unpadded(wrap_key(key, file_key.view())) + "\n";
}

using MaybeKey = std::optional<SecretBytes>;

Result<MaybeKey> try_x25519(const Stanza& stanza, const X25519Identity& identity) {
  if (stanza.arguments.size() != 2) return malformed("an X25519 recipient needs one argument");
  const auto share = from_base64_unpadded(stanza.arguments[1]);
  if (!share || share->size() != kX25519KeySize)
    return malformed("an X25519 share is not 32 bytes");
  // Checked before decrypting, against partitioning oracles (age.md, "The X25519 recipient type").
  if (stanza.body.size() != kWrappedFileKeySize) return malformed("an X25519 body is not 32 bytes");
  SecretBytes shared(kX25519KeySize);
  if (crypto_scalarmult_curve25519(shared.data(), identity.secret.data(), u8(ByteView(*share))) !=
      0) {
    return malformed("an X25519 share is a low-order point");
  }
  const X25519Recipient self = identity.recipient();
  return unwrap_key(x25519_wrap_key(shared.data(), u8(ByteView(*share)), self.key.data()),
                    stanza.body);
}

Result<MaybeKey> try_scrypt(const Stanza& stanza, const Passphrase& passphrase) {
  if (stanza.arguments.size() != 3) return malformed("a scrypt recipient needs two arguments");
  const auto salt = from_base64_unpadded(stanza.arguments[1]);
  if (!salt || salt->size() != 16) return malformed("a scrypt salt is not 16 bytes");
  const std::string& digits = stanza.arguments[2];
  const bool decimal =
      !digits.empty() && digits.size() <= 2 && digits[0] != '0' &&
      std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!decimal) return malformed("a scrypt work factor is not a canonical number");
  const auto work = static_cast<unsigned>(std::stoul(digits));
  if (work > kMaxScryptWork)
    return Error{ErrorCode::kUnsupported, "the scrypt work factor 2^" + digits + " is too large"};
  if (stanza.body.size() != kWrappedFileKeySize) return malformed("a scrypt body is not 32 bytes");
  const SecretBytes key = HVD_TRY(scrypt_key(passphrase, *salt, work));
  return unwrap_key(key, stanza.body);
}

Result<MaybeKey> try_stanza(const Stanza& stanza, const Identity& identity) {
  if (const auto* key = std::get_if<X25519Identity>(&identity)) {
    if (stanza.arguments[0] == "X25519") return try_x25519(stanza, *key);
  } else if (stanza.arguments[0] == "scrypt") {
    return try_scrypt(stanza, std::get<Passphrase>(identity));
  }
  return MaybeKey{};  // of another type: not ours to judge
}

}  // namespace

Result<Bytes> age_encrypt(const Recipient& recipient, ByteView plaintext) {
  HVD_TRY(require_sodium());
  SecretBytes file_key(kFileKeySize);
  randombytes_buf(file_key.data(), file_key.size());
  std::string header(kVersionLine);
  if (const auto* key = std::get_if<X25519Recipient>(&recipient)) {
    header += HVD_TRY(x25519_stanza(*key, file_key));
  } else {
    header += HVD_TRY(scrypt_stanza(std::get<Passphrase>(recipient), file_key));
  }
  header += "---";
  const SecretBytes mac = header_mac(file_key, as_bytes(header));
  header += " " + base64_unpadded(mac.view()) + "\n";
  Bytes out(as_bytes(header).begin(), as_bytes(header).end());
  append(out, stream_seal(file_key, plaintext));
  return out;
}

Result<SecretBytes> age_decrypt(ByteView file, std::span<const Identity> identities) {
  HVD_TRY(require_sodium());
  if (file.size() > kMaxAgeFile) return malformed("it is larger than any key needs");
  const std::string text = to_string(file);
  const Header header = HVD_TRY(HeaderParser(text).parse());
  const bool has_scrypt = std::any_of(header.stanzas.begin(), header.stanzas.end(),
                                      [](const Stanza& s) { return s.arguments[0] == "scrypt"; });
  if (has_scrypt && header.stanzas.size() != 1)
    return malformed("a scrypt recipient must stand alone");
  for (const Identity& identity : identities) {
    for (const Stanza& stanza : header.stanzas) {
      const MaybeKey file_key = HVD_TRY(try_stanza(stanza, identity));
      if (!file_key || file_key->size() != kFileKeySize) continue;
      const SecretBytes mac = header_mac(*file_key, file.first(header.mac_covers));
      if (sodium_memcmp(mac.data(), header.mac.data(), mac.size()) != 0) {
        return Error{ErrorCode::kCorrupt,
                     "the age header was changed after it was written (its MAC is wrong)"};
      }
      return stream_open(*file_key, file.subspan(header.payload_at));
    }
  }
  return Error{ErrorCode::kAuthentication, "no identity fits"};
}

}  // namespace hvd
