// Types out of BTF: offsets, bit fields, anonymous members, and BTF that no compiler writes.
#include "guest/linux/types.h"

#include <chrono>

#include "tests/support/btf_builder.h"
#include "tests/support/damage.h"
#include "tests/support/matchers.h"

namespace hvd::linux_guest {
namespace {

Bytes sample() {
  BtfBuilder btf;
  btf.structure("pair", 8, {{"first", "u32", 0}, {"second", "u32", 4}});
  btf.structure("", 8, {{"hidden", "u64", 0}}, "anonymous");
  btf.structure("outer", 64,
                {{"name", "char[16]", 0},
                 {"inner", "pair", 16},
                 {"", "anonymous", 24},
                 {"flags", "u32", 32, 5, 3},
                 {"pairs", "pair[4]", 32}});
  return btf.build();
}

TEST(Types, TellOffsetsAndSizes) {
  const auto types = Types::parse(sample());
  ASSERT_THAT(types, Succeeds());
  EXPECT_EQ(types->size_of("outer").value(), 64u);
  EXPECT_EQ(types->member("outer", "name")->size, 16u);
  EXPECT_EQ(types->member("outer", "name")->elements, 16u);
  EXPECT_EQ(types->member("outer", "inner.second")->offset, 20u);
  EXPECT_EQ(types->member("outer", "hidden")->offset, 24u) << "through an anonymous member";
  EXPECT_EQ(types->member("outer", "pairs")->size, 32u);
  const auto flags = types->member("outer", "flags").value();
  EXPECT_EQ(flags.offset, 32u);
  EXPECT_EQ(flags.bit_offset, 5u);
  EXPECT_EQ(flags.bit_size, 3u);
  EXPECT_EQ(types->first_member_of("outer", {"renamed", "name"})->offset, 0u);
}

TEST(Types, NameWhatIsMissing) {
  const auto types = Types::parse(sample());
  EXPECT_THAT(types->size_of("absent"), FailsWith(ErrorCode::kNotFound, "absent"));
  EXPECT_THAT(types->member("outer", "inner.third"),
              FailsWith(ErrorCode::kNotFound, "outer.inner.third"));
  EXPECT_THAT(types->member("outer", "name.first"),
              FailsWith(ErrorCode::kNotFound, "outer.name.first"));
  EXPECT_THAT(types->member("absent", "x"), FailsWith(ErrorCode::kNotFound, "absent.x"));
  EXPECT_THAT(types->first_member_of("outer", {"a", "b"}),
              FailsWith(ErrorCode::kNotFound, "outer.a"));
  EXPECT_THAT(types->enumerator("X"), FailsWith(ErrorCode::kNotFound, "X"));
  EXPECT_FALSE(types->has("anonymous"));
  EXPECT_TRUE(types->has("pair"));
}

TEST(Types, DamagedBtfIsCorruptOrHarmless) {
  const Bytes good = sample();
  EXPECT_THAT(Types::parse({}), FailsWith(ErrorCode::kCorrupt, "BTF"));
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_THAT(Types::parse(truncated_at(good, size)), FailsWith(ErrorCode::kCorrupt, "BTF"))
        << size;
  }
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (const unsigned bit : {0u, 3u, 7u}) {
      Bytes damaged = good;
      flip_bit(damaged, at, bit);
      const auto types = Types::parse(damaged);
      if (!types) continue;
      (void)types->member("outer", "inner.second").has_value();
      (void)types->member("outer", "absent").has_value();
    }
  }
}

TEST(Types, StructuresThatHoldThemselvesAreNotWalkedForEver) {
  // 8 levels of depth are allowed, but each level here has 8 anonymous members of the same type:
  // 8^8 steps. The guest writes its own BTF.
  BtfBuilder btf;
  std::vector<BtfBuilder::Field> fields;
  for (std::uint32_t i = 0; i < 8; ++i) fields.push_back({"", "self", 0});
  btf.structure("loop", 8, fields);
  const auto types = Types::parse(btf.build());
  ASSERT_THAT(types, Succeeds());
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(types->member("loop", "absent"), FailsWith(ErrorCode::kNotFound, "loop.absent"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(200))
      << "8 members; with 65,535 it never ends";
}

}  // namespace
}  // namespace hvd::linux_guest
