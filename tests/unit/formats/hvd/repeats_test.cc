#include "formats/hvd/repeats.h"

#include <gtest/gtest.h>

#include "formats/hvd/layout.h"
#include "tests/support/damage.h"

namespace hvd::format {
namespace {

// As the writer has them: the pages stored last, until they are compressed.
struct Waiting {
  std::vector<std::uint16_t> pages;
  Bytes bytes;
  Repeats repeats;
  std::optional<std::uint16_t> give(std::uint16_t page, const Bytes& contents) {
    const auto first = repeats.find_or_add(page, contents, pages, bytes);
    if (!first) {
      pages.push_back(page);
      append(bytes, contents);
    }
    return first;
  }
  void compress() {
    pages.clear();
    bytes.clear();
  }
};

Bytes page_of(char letter) { return filled(kPageBytes, letter); }

TEST(Repeats, OfAPageAtHandAreFoundAtOnce) {
  Waiting waiting;
  EXPECT_EQ(waiting.give(1, page_of('a')), std::nullopt);
  EXPECT_EQ(waiting.give(2, page_of('b')), std::nullopt);
  EXPECT_EQ(waiting.give(5, page_of('a')), 1);
  EXPECT_EQ(waiting.give(6, page_of('b')), 2);
}

TEST(Repeats, OfAPageThatIsGoneAreFoundFromTheSecondOn) {
  Waiting waiting;
  EXPECT_EQ(waiting.give(1, page_of('a')), std::nullopt);
  waiting.compress();
  EXPECT_EQ(waiting.give(70, page_of('a')), std::nullopt);
  waiting.compress();
  EXPECT_EQ(waiting.give(140, page_of('a')), 70);
  EXPECT_EQ(waiting.give(141, page_of('a')), 70);
}

TEST(Repeats, AreNotPagesThatDifferInAnyOneByte) {
  // Most of these bytes are none that a sketch looks at.
  for (const bool gone : {false, true}) {
    Waiting waiting;
    ASSERT_EQ(waiting.give(0, page_of('a')), std::nullopt);
    if (gone) waiting.compress();
    for (std::uint16_t at = 0; at < kPageBytes; ++at) {
      Bytes other = page_of('a');
      other[at] ^= std::byte{1};
      ASSERT_EQ(waiting.give(static_cast<std::uint16_t>(at + 1), other), std::nullopt)
          << at << gone;
    }
  }
}

}  // namespace
}  // namespace hvd::format
