#include "base/byte_reader.h"

#include <random>

#include "base/byte_writer.h"
#include "tests/support/damage.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

TEST(ByteReader, ReadsLittleEndianAtAnyOffset) {
  const Bytes bytes =
      ByteWriter().u8(0xaa).u16(0x1234).u32(0xdeadbeef).u64(0x0102030405060708).take();
  EXPECT_EQ(to_string(ByteView(bytes).subspan(1, 2)), "\x34\x12");
  ByteReader in(bytes, "sample");
  EXPECT_EQ(std::to_integer<int>(in.bytes(1)[0]), 0xaa);
  EXPECT_EQ(in.read<le16>(), 0x1234);
  EXPECT_EQ(in.read<le32>(), 0xdeadbeef);
  EXPECT_EQ(in.position(), 7u);
  EXPECT_EQ(in.read<le64>(), 0x0102030405060708u);
  EXPECT_THAT(in.finish_exact(), Succeeds());
}

TEST(ByteReader, TheFirstErrorStaysAndZerosFollow) {
  const Bytes bytes = filled(6, 0xff);
  ByteReader in(bytes, "header");
  EXPECT_EQ(in.read<le32>(), 0xffffffff);
  EXPECT_EQ(in.read<le32>(), 0u) << "two bytes remain";
  EXPECT_EQ(in.read<le16>(), 0u) << "they would be there, but the reader has failed";
  EXPECT_TRUE(in.bytes(1).empty());
  EXPECT_EQ(in.remaining(), 0u) << "so that loops end";
  in.fail("another problem");
  EXPECT_THAT(in.finish(),
              FailsWith(ErrorCode::kCorrupt, "header needs 4 bytes at offset 4 but only 2 remain"));
}

TEST(ByteReader, ACountIsAcceptedOnlyWhenTheBytesAreThere) {
  struct Case {
    std::uint64_t claimed;
    std::size_t accepted;
  };
  for (const Case& c :
       {Case{0, 0}, {3, 3}, {4, 4}, {5, 0}, {std::uint64_t{1} << 61, 0}, {~std::uint64_t{0}, 0}}) {
    const Bytes bytes(35);  // four le64 and three bytes
    ByteReader in(bytes, "table");
    EXPECT_EQ(in.count<le64>(c.claimed), c.accepted) << c.claimed;
    EXPECT_EQ(in.ok(), c.claimed <= 4) << c.claimed;
    const auto done = in.finish();
    if (c.claimed > 4) {
      EXPECT_THAT(done, FailsWith(ErrorCode::kCorrupt, "claims " + std::to_string(c.claimed)));
    }
  }
}

TEST(ByteReader, ACountAfterAnErrorIsZero) {
  const Bytes bytes(8);
  ByteReader in(bytes, "table");
  in.fail("is wrong");
  EXPECT_EQ(in.count<le16>(2), 0u);
  EXPECT_FALSE(in.finish());
}

TEST(ByteReader, BytesLeftOverAreAnErrorOnlyForFinishExact) {
  const Bytes bytes(3);
  ByteReader lax(bytes, "record");
  lax.read<le16>();
  EXPECT_THAT(lax.finish(), Succeeds());
  ByteReader strict(bytes, "record");
  strict.read<le16>();
  EXPECT_THAT(strict.finish_exact(), FailsWith(ErrorCode::kCorrupt, "1 bytes too many"));
}

TEST(ByteReader, RestTakesEverything) {
  const Bytes bytes = to_bytes("abc");
  ByteReader in(bytes, "x");
  in.bytes(1);
  EXPECT_EQ(to_string(in.rest()), "bc");
  EXPECT_TRUE(in.rest().empty());
  EXPECT_THAT(in.finish_exact(), Succeeds());
}

#ifndef NDEBUG
TEST(ByteReaderDeathTest, AForgottenFinishIsNoticed) {
  EXPECT_DEATH({ ByteReader in({}, "x"); }, "finish");
}
#endif

TEST(AllZero, AgreesWithLookingAtEachByte) {
  std::mt19937 random(1);
  for (const std::size_t size : {0u, 1u, 7u, 8u, 255u, 256u, 257u, 511u, 512u, 4096u, 4099u}) {
    Bytes bytes(size);
    EXPECT_TRUE(all_zero(bytes)) << size;
    for (std::size_t at = 0; at < size; at += size > 600 ? 13 : 1) {
      bytes[at] = static_cast<std::byte>(1 + random() % 255);
      EXPECT_FALSE(all_zero(bytes)) << "byte " << at << " of " << size;
      EXPECT_EQ(all_zero(ByteView(bytes).first(at)), true) << "the bytes before it";
      EXPECT_EQ(all_zero(ByteView(bytes).subspan(at + 1)), true)
          << "the bytes behind it, unaligned";
      bytes[at] = std::byte{0};
    }
  }
}

}  // namespace
}  // namespace hvd
