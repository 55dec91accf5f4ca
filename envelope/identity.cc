#include "envelope/identity.h"

#include <algorithm>
#include <cctype>
#include <cstring>

#include "envelope/bech32.h"

namespace hvd {
namespace {

constexpr std::string_view kRecipientPrefix = "age";
constexpr std::string_view kIdentityPrefix = "AGE-SECRET-KEY-";

std::string_view without_line_end(std::string_view line) {
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t'))
    line.remove_suffix(1);
  return line;
}

}  // namespace

std::string X25519Recipient::text() const {
  return bech32_encode(kRecipientPrefix, std::as_bytes(std::span(key)));
}

X25519Recipient X25519Identity::recipient() const {
  X25519Recipient out;
  crypto_scalarmult_curve25519_base(out.key.data(), secret.data());
  return out;
}

std::string X25519Identity::text() const {
  std::string out = bech32_encode("age-secret-key-", secret.view());
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return std::toupper(c); });
  return out;
}

std::string label_of(const Recipient& recipient) {
  const auto* key = std::get_if<X25519Recipient>(&recipient);
  return key ? key->text() : "passphrase";
}

Result<X25519Identity> generate_identity() {
  HVD_TRY(require_sodium());
  X25519Identity identity{SecretBytes(kX25519KeySize)};
  randombytes_buf(identity.secret.data(), identity.secret.size());
  return identity;
}

Result<X25519Recipient> parse_recipient(std::string_view text) {
  if (text.starts_with(kIdentityPrefix)) {
    return Error{ErrorCode::kInvalidArgument,
                 "this is a secret key; give its recipient (age1...) instead"};
  }
  if (text.starts_with("ssh-")) {
    return Error{ErrorCode::kInvalidArgument,
                 "SSH keys are not supported as recipients; make one with age-keygen"};
  }
  const Bytes data = HVD_TRY(bech32_decode(kRecipientPrefix, text));
  if (data.size() != kX25519KeySize) {
    return Error{ErrorCode::kInvalidArgument, "not a valid recipient: it holds " +
                                                  std::to_string(data.size()) + " bytes, not " +
                                                  std::to_string(kX25519KeySize)};
  }
  if (all_zero(data))
    return Error{ErrorCode::kInvalidArgument, "not a valid recipient: the key is all zero"};
  X25519Recipient recipient;
  std::memcpy(recipient.key.data(), data.data(), data.size());
  return recipient;
}

Result<std::vector<X25519Identity>> parse_identity_file(std::string_view text) {
  std::vector<X25519Identity> identities;
  if (text.starts_with("age-encryption.org/v1") ||
      text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----")) {
    return Error{ErrorCode::kInvalidArgument,
                 "the identity file is itself encrypted; decrypt it first with age -d (to a file "
                 "only you can read)"};
  }
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = without_line_end(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    const std::string where = "line " + std::to_string(number);
    if (line.starts_with("age1")) {
      return Error{ErrorCode::kInvalidArgument,
                   where + " is a recipient (public key), not an identity"};
    }
    Result<Bytes> key = bech32_decode(kIdentityPrefix, line);
    if (!key) return std::move(key).error().in(where);
    if (key->size() != kX25519KeySize) {
      return Error{ErrorCode::kInvalidArgument,
                   where + ": not a valid key: it is too short or too long"};
    }
    identities.push_back({SecretBytes(*key)});
    sodium_memzero(key->data(), key->size());
  }
  if (identities.empty())
    return Error{ErrorCode::kInvalidArgument, "there is no AGE-SECRET-KEY-1... in it"};
  return identities;
}

Result<Passphrase> parse_passphrase_file(std::string_view text) {
  text = text.substr(0, std::min(text.find('\n'), text.size()));
  if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
  if (text.empty()) return Error{ErrorCode::kInvalidArgument, "the passphrase is empty"};
  return Passphrase{SecretBytes(as_bytes(text))};
}

}  // namespace hvd
