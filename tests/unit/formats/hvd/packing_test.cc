#include "formats/hvd/packing.h"

#include <random>

#include "tests/support/damage.h"
#include "tests/support/matchers.h"

namespace hvd::format {
namespace {

Bytes noise(std::size_t size) {
  std::mt19937 random(2);
  Bytes out(size);
  for (std::byte& b : out) b = static_cast<std::byte>(random());
  return out;
}

TEST(Compress, ComesBackWithEveryCodec) {
  for (const Codec codec : {Codec::kNone, Codec::kLz4, Codec::kZstd}) {
    for (const Bytes& raw : {filled(4096 * 64, 'a'), noise(4096), filled(1, 7)}) {
      Bytes room;
      const Compressed packed = compress(codec, raw, room);
      const auto back =
          decompress(static_cast<std::uint8_t>(packed.codec), packed.data, raw.size());
      ASSERT_THAT(back, Succeeds());
      EXPECT_EQ(*back, raw);
    }
  }
}

TEST(Compress, UsesARoomAgain) {
  Bytes room;
  for (const Bytes& raw : {noise(100), filled(65536, 1), noise(70000), filled(4096, 2)}) {
    const Compressed packed = compress(Codec::kZstd, raw, room);
    const auto back = decompress(static_cast<std::uint8_t>(packed.codec), packed.data, raw.size());
    ASSERT_THAT(back, Succeeds());
    EXPECT_EQ(*back, raw);
  }
}

TEST(Compress, StoresWhatDoesNotPay) {
  Bytes room;
  EXPECT_EQ(compress(Codec::kZstd, noise(65536), room).codec, Codec::kNone);
  EXPECT_EQ(compress(Codec::kLz4, noise(65536), room).codec, Codec::kNone);
  EXPECT_EQ(compress(Codec::kZstd, filled(65536, 1), room).codec, Codec::kZstd);
  EXPECT_EQ(compress(Codec::kLz4, filled(65536, 1), room).codec, Codec::kLz4);
  EXPECT_EQ(compress(Codec::kNone, filled(65536, 1), room).codec, Codec::kNone);
}

TEST(Decompress, GivesExactlyTheStatedSizeOrFails) {
  const Bytes raw = filled(8192, 'x');
  for (const Codec codec : {Codec::kNone, Codec::kLz4, Codec::kZstd}) {
    Bytes room;
    const Compressed packed = compress(codec, raw, room);
    const auto code = static_cast<std::uint8_t>(packed.codec);
    for (const std::size_t wrong : {0u, 1u, 8191u, 8193u, 100000u}) {
      EXPECT_THAT(decompress(code, packed.data, wrong),
                  FailsWith(ErrorCode::kCorrupt, std::to_string(wrong)));
    }
    EXPECT_THAT(decompress(code, ByteView(packed.data).first(packed.data.size() - 1), raw.size()),
                FailsWith(ErrorCode::kCorrupt, ""));
    EXPECT_THAT(decompress(code, {}, raw.size()), FailsWith(ErrorCode::kCorrupt, ""));
  }
  EXPECT_THAT(decompress(3, raw, raw.size()), FailsWith(ErrorCode::kUnsupported, "codec 3"));
  EXPECT_THAT(decompress(255, raw, raw.size()), FailsWith(ErrorCode::kUnsupported, "codec 255"));
}

TEST(Decompress, DamagedDataNeverOverruns) {
  for (const Codec codec : {Codec::kLz4, Codec::kZstd}) {
    const Bytes raw = filled(16384, 'q');
    Bytes room;
    const Compressed packed = compress(codec, raw, room);
    for (std::size_t at = 0; at < packed.data.size(); ++at) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        Bytes damaged(packed.data.begin(), packed.data.end());
        flip_bit(damaged, at, bit);
        const auto out = decompress(static_cast<std::uint8_t>(packed.codec), damaged, 16384);
        EXPECT_EQ(out.value_or(Bytes(16384)).size(), 16384u);
      }
    }
  }
}

TEST(Pack, ComesBack) {
  for (const Bytes& raw : {Bytes(), noise(100), filled(100000, 5)}) {
    const auto back = unpack(pack(raw), "block");
    ASSERT_THAT(back, Succeeds());
    EXPECT_EQ(*back, raw);
  }
}

TEST(Unpack, AllocatesNothingBeyondTheLimit) {
  Bytes packed = pack(filled(100000, 5));
  set_field(packed, 0, &PackedHeader::raw_size, kMaxRaw + 1);
  EXPECT_THAT(unpack(packed, "block"), FailsWith(ErrorCode::kCorrupt, "block: raw_size"));
  set_field(packed, 0, &PackedHeader::raw_size, 0xffffffffu);
  EXPECT_THAT(unpack(packed, "block"), FailsWith(ErrorCode::kCorrupt, "raw_size"));
  set_field(packed, 0, &PackedHeader::raw_size, 99999u);
  EXPECT_THAT(unpack(packed, "block"), FailsWith(ErrorCode::kCorrupt, "99999"));
  EXPECT_THAT(unpack(truncated_at(packed, 7), "block"),
              FailsWith(ErrorCode::kCorrupt, "block needs"));
}

}  // namespace
}  // namespace hvd::format
