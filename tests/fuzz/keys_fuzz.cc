// Key strings, identity and passphrase files, key text, signing keys: small texts that people and
// slots bring.
#include "base/text.h"
#include "envelope/bech32.h"
#include "envelope/partition_keys.h"
#include "formats/hvd/integrity.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  const ByteView input = fuzz::bytes_of_input(data, size);
  const std::string text = to_string(input);
  (void)parse_identity_file(text).has_value();
  (void)parse_passphrase_file(text).has_value();
  (void)format::SigningKey::parse(text).has_value();
  if (const auto key = parse_recipient(text))
    fuzz::require(parse_recipient(key->text())->key == key->key);
  if (const auto bytes = bech32_decode("age", text)) {
    fuzz::require(bech32_decode("age", bech32_encode("age", *bytes)).value() == *bytes);
  }
  if (const auto bytes = from_hex(text)) fuzz::require(from_hex(hex_bytes(*bytes)) == *bytes);
  (void)PartitionKeys::parse(input, DumpId{7}, 0).has_value();
  (void)printable(text);
  return 0;
}
