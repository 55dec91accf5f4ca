#include "envelope/bech32.h"

#include <algorithm>
#include <cctype>

namespace hvd {
namespace {

constexpr std::string_view kAlphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

// BIP 173, "Checksum".
std::uint32_t polymod(const std::vector<std::uint8_t>& values) {
  static constexpr std::uint32_t kGenerator[5] = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd,
                                                  0x2a1462b3};
  std::uint32_t check = 1;
  for (std::uint8_t value : values) {
    const std::uint32_t top = check >> 25;
    check = (check & 0x1ffffff) << 5 ^ value;
    for (unsigned i = 0; i < 5; ++i) {
      if ((top >> i) & 1) check ^= kGenerator[i];
    }
  }
  return check;
}

std::vector<std::uint8_t> expanded(std::string_view hrp) {
  std::vector<std::uint8_t> out;
  for (char c : hrp) out.push_back(static_cast<std::uint8_t>(c) >> 5);
  out.push_back(0);
  for (char c : hrp) out.push_back(static_cast<std::uint8_t>(c) & 31);
  return out;
}

}  // namespace

std::string bech32_encode(std::string_view hrp, ByteView data) {
  std::vector<std::uint8_t> digits;
  std::uint32_t accumulator = 0;
  unsigned bits = 0;
  for (std::byte b : data) {
    accumulator = (accumulator << 8 | std::to_integer<std::uint32_t>(b)) & 0xfff;
    for (bits += 8; bits >= 5; bits -= 5) digits.push_back((accumulator >> (bits - 5)) & 31);
  }
  if (bits > 0) digits.push_back((accumulator << (5 - bits)) & 31);

  std::vector<std::uint8_t> checked = expanded(hrp);
  checked.insert(checked.end(), digits.begin(), digits.end());
  checked.resize(checked.size() + 6);
  const std::uint32_t check = polymod(checked) ^ 1;
  for (unsigned i = 0; i < 6; ++i) digits.push_back((check >> (5 * (5 - i))) & 31);

  std::string out(hrp);
  out += '1';
  for (std::uint8_t digit : digits) out += kAlphabet[digit];
  return out;
}

Result<Bytes> bech32_decode(std::string_view hrp, std::string_view text) {
  const auto bad = [](const std::string& why) {
    return Error{ErrorCode::kInvalidArgument, "not a valid key: " + why};
  };
  const bool upper =
      std::any_of(text.begin(), text.end(), [](unsigned char c) { return std::isupper(c) != 0; });
  const bool lower =
      std::any_of(text.begin(), text.end(), [](unsigned char c) { return std::islower(c) != 0; });
  if (upper && lower) return bad("it mixes upper and lower case");
  std::string folded(text);
  std::transform(folded.begin(), folded.end(), folded.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  const std::size_t separator = folded.rfind('1');
  if (separator == std::string::npos || folded.size() - separator - 1 < 6)
    return bad("it has no checksum");
  std::string expected(hrp);
  std::transform(expected.begin(), expected.end(), expected.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (folded.substr(0, separator) != expected)
    return bad("it does not begin with " + expected + "1");

  std::vector<std::uint8_t> digits;
  for (char c : folded.substr(separator + 1)) {
    const std::size_t digit = kAlphabet.find(c);
    if (digit == std::string_view::npos) return bad("it has a character that keys do not use");
    digits.push_back(static_cast<std::uint8_t>(digit));
  }
  std::vector<std::uint8_t> checked = expanded(expected);
  checked.insert(checked.end(), digits.begin(), digits.end());
  if (polymod(checked) != 1) return bad("its checksum is wrong (mistyped?)");
  digits.resize(digits.size() - 6);

  Bytes out;
  std::uint32_t accumulator = 0;
  unsigned bits = 0;
  for (std::uint8_t digit : digits) {
    accumulator = (accumulator << 5 | digit) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      out.push_back(static_cast<std::byte>((accumulator >> bits) & 0xff));
    }
  }
  if (bits >= 5 || (accumulator & ((1u << bits) - 1)) != 0) return bad("its padding is wrong");
  return out;
}

}  // namespace hvd
