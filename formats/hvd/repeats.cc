#include "formats/hvd/repeats.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>

#include "formats/hvd/layout.h"

namespace hvd::format {
namespace {

constexpr std::size_t kSketchStep = 64;  // a word of each cache line

// For one run of the program; never written anywhere.
const std::array<unsigned char, crypto_onetimeauth_KEYBYTES>& secret() {
  static const auto key = [] {
    std::array<unsigned char, crypto_onetimeauth_KEYBYTES> fresh{};
    crypto_onetimeauth_keygen(fresh.data());
    return fresh;
  }();
  return key;
}

// Equal pages have equal sketches; of different ones few have. It costs a tenth of a tag, which
// most pages then need not have. Under a secret, so that a guest cannot fill one bucket of a table.
std::uint64_t sketch_of(ByteView page) {
  static const std::uint64_t factor = [] {
    std::uint64_t word = 0;
    std::memcpy(&word, secret().data(), sizeof word);
    return word | 1;
  }();
  std::uint64_t sketch = 0;
  for (std::size_t at = 0; at < page.size(); at += kSketchStep) {
    std::uint64_t word = 0;
    std::memcpy(&word, page.data() + at, sizeof word);
    sketch = (sketch ^ word) * factor;
    sketch ^= sketch >> 32;
  }
  return sketch;
}

}  // namespace

// Poly1305 as a universal hash: under a key that a guest cannot know, two different pages have the
// same tag with a probability of at most 2^-95, whatever they hold. Several times as fast as
// BLAKE2b.
Repeats::Tag Repeats::tag_of(ByteView page) {
  Tag tag{};
  static_assert(sizeof tag == crypto_onetimeauth_BYTES);
  crypto_onetimeauth(reinterpret_cast<unsigned char*>(tag.data()), u8(page), page.size(),
                     secret().data());
  return tag;
}

std::optional<std::uint16_t> Repeats::find_or_add(std::uint16_t page, ByteView contents,
                                                  std::span<const std::uint16_t> waiting,
                                                  ByteView waiting_bytes) {
  const auto [seen, is_new] = sketched_.try_emplace(sketch_of(contents), page);
  if (is_new) return std::nullopt;
  const auto first = std::lower_bound(waiting.begin(), waiting.end(), seen->second);
  if (first != waiting.end() && *first == seen->second) {
    const auto at = static_cast<std::size_t>(first - waiting.begin()) * kPageBytes;
    if (std::memcmp(waiting_bytes.data() + at, contents.data(), kPageBytes) == 0)
      return seen->second;
  }
  const auto [tagged, untagged] = tagged_.try_emplace(tag_of(contents), page);
  if (untagged) return std::nullopt;
  return tagged->second;
}

}  // namespace hvd::format
