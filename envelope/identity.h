// Identities and recipients: the two halves of an age key, and passphrases.
//
// Strings and files are age's own (`age1...`, `AGE-SECRET-KEY-1...`, comments with '#'), so that
// keys people already have work here.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "envelope/secret.h"

namespace hvd {

inline constexpr std::size_t kX25519KeySize = 32;

struct X25519Recipient {
  std::array<unsigned char, kX25519KeySize> key{};
  std::string text() const;  // "age1..."
};

struct X25519Identity {
  SecretBytes secret;
  X25519Recipient recipient() const;
  std::string text() const;  // "AGE-SECRET-KEY-1..."
};

struct Passphrase {
  SecretBytes words;
};

using Recipient = std::variant<X25519Recipient, Passphrase>;
using Identity = std::variant<X25519Identity, Passphrase>;

/// The label a key slot carries for its recipient: the age1 string, or "passphrase".
std::string label_of(const Recipient& recipient);

/// A new key; kIo without usable randomness.
Result<X25519Identity> generate_identity();

/// "age1..."; kInvalidArgument for anything else, and for the all-zero point that no honest key
/// has.
Result<X25519Recipient> parse_recipient(std::string_view text);

/// An age identity file's text: one "AGE-SECRET-KEY-1..." per line, comments and blank lines
/// skipped; kInvalidArgument naming the line otherwise, and for a file without any. Never echoes a
/// secret.
Result<std::vector<X25519Identity>> parse_identity_file(std::string_view text);

/// The first line of a passphrase file, without its line end; kInvalidArgument when it is empty.
Result<Passphrase> parse_passphrase_file(std::string_view text);

}  // namespace hvd
