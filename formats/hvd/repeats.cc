#include "formats/hvd/repeats.h"

#include <sodium.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "formats/hvd/layout.h"

namespace hvd::format {
namespace {

constexpr std::size_t kSketchStep = 64;  // a word of each cache line

// Both secrets are for one run of the program and never written anywhere.
template <std::size_t kSize>
std::array<unsigned char, kSize> random_bytes() {
  std::array<unsigned char, kSize> out{};
  randombytes_buf(out.data(), out.size());
  return out;
}

// Equal pages have equal sketches. Different ones that have cost a tag each, which most pages then
// need not have: a sketch costs a tenth of it. The secret keeps a guest from filling one bucket.
std::uint64_t sketch_of(ByteView page) {
  static const std::uint64_t factor = std::bit_cast<std::uint64_t>(random_bytes<8>()) | 1;
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
  static const auto key = random_bytes<crypto_onetimeauth_KEYBYTES>();
  Tag tag{};
  static_assert(sizeof tag == crypto_onetimeauth_BYTES);
  crypto_onetimeauth(reinterpret_cast<unsigned char*>(tag.data()), u8(page), page.size(),
                     key.data());
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
