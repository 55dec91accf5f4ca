#include "base/text.h"

#include <gtest/gtest.h>

#include "base/byte_source.h"
#include "tests/support/damage.h"
#include "tests/support/matchers.h"
#include "tests/support/temporary_folder.h"

namespace hvd {
namespace {

TEST(Printable, LetsTextThroughAndNothingATerminalObeys) {
  struct Case {
    const char* what;
    std::string_view in;
    std::string_view out;
  };
  using namespace std::string_view_literals;
  for (const Case& c :
       std::initializer_list<Case>{{"plain", "hello, world"sv, "hello, world"sv},
                                   {"tab", "a\tb"sv, "a\tb"sv},
                                   {"newline", "a\nb"sv, "a?b"sv},
                                   {"carriage return", "a\rb"sv, "a?b"sv},
                                   {"NUL", "a\0b"sv, "a?b"sv},
                                   {"DEL",
                                    "a\x7f"
                                    "b"sv,
                                    "a?b"sv},
                                   {"colour escape", "\x1b[31mred"sv, "?[31mred"sv},
                                   {"title escape with BEL", "\x1b]0;title\a"sv, "?]0;title?"sv},
                                   {"C1 CSI as one byte",
                                    "\x9b"
                                    "31m"sv,
                                    "?31m"sv},
                                   {"C1 CSI in UTF-8",
                                    "\xc2\x9b"
                                    "31m"sv,
                                    "?31m"sv},
                                   {"last C1 in UTF-8", "\xc2\x9f"sv, "?"sv},
                                   {"no-break space is no control", "\xc2\xa0"sv, "\xc2\xa0"sv},
                                   {"two bytes", "h\xc3\xa9"sv, "h\xc3\xa9"sv},
                                   {"three bytes", "\xe2\x82\xac"sv, "\xe2\x82\xac"sv},
                                   {"four bytes", "\xf0\x9f\x98\x80"sv, "\xf0\x9f\x98\x80"sv},
                                   {"overlong slash", "\xc0\xaf"sv, "??"sv},
                                   {"overlong escape", "\xc0\x9b"sv, "??"sv},
                                   {"overlong in three", "\xe0\x80\xaf"sv, "???"sv},
                                   {"surrogate", "\xed\xa0\x80"sv, "???"sv},
                                   {"beyond U+10FFFF", "\xf4\x90\x80\x80"sv, "????"sv},
                                   {"cut short", "\xe2\x82"sv, "??"sv},
                                   {"stray continuation", "a\x80z"sv, "a?z"sv},
                                   {"a good character behind a bad lead",
                                    "\xe2"
                                    "A"sv,
                                    "?A"sv},
                                   {"0xff", "\xff"sv, "?"sv}}) {
    EXPECT_EQ(printable(c.in), c.out) << c.what;
  }
}

TEST(Printable, KeepsNewlinesOnlyWhenAsked) {
  EXPECT_EQ(printable("a\nb\rc\x1b", true), "a\nb?c?");
  EXPECT_EQ(printable("a\nb", false), "a?b");
}

TEST(Printable, GivesNoControlForAnyTwoBytes) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string out =
          printable(std::string{static_cast<char>(first), static_cast<char>(second)});
      for (std::size_t i = 0; i < out.size(); ++i) {
        const auto c = static_cast<unsigned char>(out[i]);
        ASSERT_TRUE((c >= 0x20 && c != 0x7f) || c == '\t') << first << " " << second;
        ASSERT_FALSE(c == 0xc2 && static_cast<unsigned char>(out[i + 1]) < 0xa0)
            << first << " " << second;
      }
    }
  }
}

TEST(Hex, GoesBothWays) {
  EXPECT_EQ(hex(0), "0x0");
  EXPECT_EQ(hex(0xffff888000000000), "0xffff888000000000");
  EXPECT_EQ(hex_bytes(to_bytes(std::string("\x00\x7f\xff\x10", 4))), "007fff10");
  EXPECT_EQ(from_hex("007fFF10"), to_bytes(std::string("\x00\x7f\xff\x10", 4)));
  EXPECT_EQ(from_hex(""), Bytes());
  for (const char* bad : {"0", "0g", "g0", "00 ", " 00", "0x00", "-1"})
    EXPECT_EQ(from_hex(bad), std::nullopt) << bad;
}

TEST(HumanSize, HasTwoOrThreeDigits) {
  EXPECT_EQ(human_size(17), "17 bytes");
  EXPECT_EQ(human_size(1023), "1023 bytes");
  EXPECT_EQ(human_size(1536), "1.5 KiB");
  EXPECT_EQ(human_size(12 * 1024), "12 KiB");
  EXPECT_EQ(human_size(std::uint64_t{3} << 30), "3.0 GiB");
  EXPECT_EQ(human_size(~std::uint64_t{0}), "16384 PiB");
}

TEST(ByteSource, RefusesWhatLiesOutside) {
  const BufferSource source(to_bytes("0123456789"));
  EXPECT_EQ(to_string(source.read(4, 6).value()), "456789");
  EXPECT_THAT(source.read(10, 0), Succeeds());
  for (const auto& [offset, count] : {std::pair<std::uint64_t, std::size_t>{4, 7},
                                      {11, 0},
                                      {~std::uint64_t{0}, 1},
                                      {1, ~std::size_t{0}}}) {
    EXPECT_THAT(source.read(offset, count), FailsWith(ErrorCode::kCorrupt, "ends at byte 10"))
        << offset << " " << count;
  }
}

TEST(FileSource, ReadsAFileAndNamesOneThatIsNotThere) {
  const TemporaryFolder folder;
  const auto source = FileSource::open(folder.write("file", "0123456789"));
  ASSERT_THAT(source, Succeeds());
  EXPECT_EQ((*source)->size(), 10u);
  EXPECT_EQ(to_string((*source)->read(2, 3).value()), "234");
  EXPECT_THAT((*source)->read(9, 2), FailsWith(ErrorCode::kCorrupt, ""));
  EXPECT_THAT(FileSource::open(folder.path("absent")),
              FailsWith(ErrorCode::kIo, folder.path("absent")));
  EXPECT_THAT(FileSource::open(folder.path("")), FailsWith(ErrorCode::kIo, ""));
}

TEST(ReadTextFile, HasALimit) {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", std::string(100, 'x'));
  EXPECT_THAT(read_text_file(path, 100), Succeeds());
  EXPECT_THAT(read_text_file(path, 99), FailsWith(ErrorCode::kInvalidArgument, "99"));
  EXPECT_THAT(read_text_file("/dev/zero", 1000), FailsWith(ErrorCode::kInvalidArgument, "1000"));
}

}  // namespace
}  // namespace hvd
