#include "base/bytes.h"

#include <cstring>

namespace hvd {

bool all_zero(ByteView bytes) {
  // Most non-zero pages differ in the first words: look there before the bulk, which the compiler
  // vectorises.
  constexpr std::size_t kBlock = 256;
  std::size_t at = 0;
  for (; at + kBlock <= bytes.size(); at += kBlock) {
    std::uint64_t any = 0;
    for (std::size_t i = 0; i < kBlock; i += 8) {
      std::uint64_t word;
      std::memcpy(&word, bytes.data() + at + i, sizeof word);
      any |= word;
    }
    if (any != 0) return false;
  }
  for (; at < bytes.size(); ++at) {
    if (bytes[at] != std::byte{0}) return false;
  }
  return true;
}

}  // namespace hvd
