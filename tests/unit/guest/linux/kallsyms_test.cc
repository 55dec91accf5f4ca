// Symbols out of a synthetic image, named by VMCOREINFO or found by structure, in both orders of
// the tables.
#include "guest/linux/kallsyms_search.h"
#include "tests/support/damage.h"
#include "tests/support/linux_builder.h"
#include "tests/support/matchers.h"

namespace hvd::linux_guest {
namespace {

const std::string kLongName(200, 'n');  // more than 127 tokens: two length bytes

void add_symbols(LinuxBuilder& builder) {
  builder.symbol("init_task_work", VirtAddr{LinuxBuilder::kText + 0x100}, 'T');
  builder.symbol("alias_of_init", VirtAddr{LinuxBuilder::kText + 0x100}, 't');
  builder.symbol("panic", VirtAddr{LinuxBuilder::kText + 0x400}, 'T');
  builder.symbol(kLongName, VirtAddr{LinuxBuilder::kText + 0x500}, 'W');
}

void expect_symbols(const Kallsyms& symbols) {
  EXPECT_EQ(symbols.find("_stext"), VirtAddr{LinuxBuilder::kText});
  EXPECT_EQ(symbols.find("panic"), VirtAddr{LinuxBuilder::kText + 0x400});
  EXPECT_EQ(symbols.find(kLongName), VirtAddr{LinuxBuilder::kText + 0x500});
  EXPECT_EQ(symbols.find("filler_899"), VirtAddr{LinuxBuilder::kText + 0x80000 + 16 * 899});
  EXPECT_EQ(symbols.find("absent"), std::nullopt);
  EXPECT_EQ(symbols.find(""), std::nullopt);
  const auto inside = symbols.at(VirtAddr{LinuxBuilder::kText + 0x1ff});
  ASSERT_TRUE(inside);
  EXPECT_EQ(inside->name, "init_task_work") << "of two names the first";
  EXPECT_EQ(inside->size, 0x300u);
  EXPECT_EQ(symbols.at(VirtAddr{LinuxBuilder::kText - 1}), std::nullopt);
}

class Kallsyms_ : public testing::TestWithParam<std::tuple<KallsymsOrder, bool>> {};

INSTANTIATE_TEST_SUITE_P(BothOrders, Kallsyms_,
                         testing::Combine(testing::Values(KallsymsOrder::kUntil63,
                                                          KallsymsOrder::kSince64),
                                          testing::Bool()),
                         [](const auto& given) {
                           return std::string(std::get<0>(given.param) == KallsymsOrder::kUntil63
                                                  ? "Until63"
                                                  : "Since64") +
                                  (std::get<1>(given.param) ? "AbsolutePercpu" : "");
                         });

TEST_P(Kallsyms_, NamedByVmcoreInfoDecode) {
  LinuxBuilder builder;
  add_symbols(builder);
  // Per-CPU symbols are offsets into the per-CPU area: absolute, where that can be said at all.
  if (std::get<1>(GetParam())) builder.symbol("cpu_number", VirtAddr{0x15000}, 'A');
  const VmcoreInfo info =
      builder.add_kallsyms(std::get<0>(GetParam()), std::get<1>(GetParam()), true);
  const VirtualMemory memory(builder.memory(), builder.tables().tables());
  const auto place = Kallsyms::place_from(info, memory);
  ASSERT_THAT(place, Succeeds());
  const auto symbols = Kallsyms::read(*place, memory, info.symbol("_stext"));
  ASSERT_THAT(symbols, Succeeds());
  expect_symbols(*symbols);
  if (std::get<1>(GetParam())) {
    EXPECT_EQ(symbols->find("cpu_number"), VirtAddr{0x15000});
  }
  EXPECT_THAT(Kallsyms::read(*place, memory, VirtAddr{LinuxBuilder::kText + 1}),
              FailsWith(ErrorCode::kCorrupt, "_stext"));
}

TEST_P(Kallsyms_, AreFoundByTheirStructure) {
  LinuxBuilder builder;
  add_symbols(builder);
  const VmcoreInfo info =
      builder.add_kallsyms(std::get<0>(GetParam()), std::get<1>(GetParam()), false);
  const VirtualMemory memory(builder.memory(), builder.tables().tables());
  EXPECT_THAT(Kallsyms::place_from(info, memory), FailsWith(ErrorCode::kNotFound, ""));
  const auto symbols = search_kallsyms(memory, info.symbol("_stext"));
  ASSERT_THAT(symbols, Succeeds());
  expect_symbols(*symbols);
}

TEST(Kallsyms, AnImageWithoutTablesIsNotFound) {
  LinuxBuilder builder;
  const VirtualMemory memory(builder.memory(), builder.tables().tables());
  EXPECT_THAT(search_kallsyms(memory, std::nullopt), FailsWith(ErrorCode::kNotFound, "kallsyms"));
}

TEST(Kallsyms, DamagedTablesAreCorruptAndBounded) {
  LinuxBuilder builder;
  const VmcoreInfo info = builder.add_kallsyms(KallsymsOrder::kSince64, false, true);
  const VirtualMemory memory(builder.memory(), builder.tables().tables());
  const KallsymsPlace good = Kallsyms::place_from(info, memory).value();
  const auto read_with = [&](auto change) {
    KallsymsPlace place = good;
    change(place);
    return Kallsyms::read(place, memory, std::nullopt);
  };
  EXPECT_THAT(read_with([](auto&) {}), Succeeds());
  EXPECT_THAT(read_with([](auto& p) { p.count = 0; }), FailsWith(ErrorCode::kCorrupt, "0 symbols"));
  EXPECT_THAT(read_with([](auto& p) { p.count = ~std::uint64_t{0}; }),
              FailsWith(ErrorCode::kCorrupt, "symbols"));
  EXPECT_THAT(read_with([](auto& p) { p.count += 1; }), FailsWith(ErrorCode::kCorrupt, ""));
  EXPECT_THAT(read_with([](auto& p) { p.names = p.names + 1; }),
              FailsWith(ErrorCode::kCorrupt, ""));
  EXPECT_THAT(read_with([](auto& p) { p.token_index = p.token_index + 2; }),
              FailsWith(ErrorCode::kCorrupt, "token index"));
  EXPECT_THAT(read_with([](auto& p) { p.token_table = p.token_table + 1; }),
              FailsWith(ErrorCode::kCorrupt, "token index"));
  EXPECT_THAT(read_with([](auto& p) { p.offsets = VirtAddr{0x1000}; }),
              FailsWith(ErrorCode::kNotMapped, ""));
  EXPECT_THAT(read_with([](auto& p) { p.names = VirtAddr{0x1000}; }),
              FailsWith(ErrorCode::kCorrupt, "end early"));
}

// Puts a token table and index with given words before them (names and markers) into an image.
VirtAddr put_tables(LinuxBuilder& builder, ByteView before) {
  ByteWriter bytes, index;
  bytes.put(before);
  for (int i = 0; i < 256; ++i) {
    index.u16(static_cast<std::uint16_t>(2 * i));
    bytes.u8('a').u8(0);
  }
  bytes.put(index.view());
  return builder.place(bytes.view());
}

TEST(KallsymsSearch, MarkersThatPointFarAwayAreRefused) {
  // The sum of a marker and 8 must not wrap: the search would read far outside the image.
  for (const std::uint32_t last :
       {0xfffffff7u, 0xfffffff8u, 0xfffffffcu, 0xffffffffu, 0x80000000u}) {
    LinuxBuilder builder;
    put_tables(builder, ByteWriter().u32(0).u32(100).u32(200).u32(last).view());
    const VirtualMemory memory(builder.memory(), builder.tables().tables());
    EXPECT_THAT(search_kallsyms(memory, std::nullopt), FailsWith(ErrorCode::kNotFound, "")) << last;
  }
}

TEST(Kallsyms, NamesWithoutCharactersOrWithTooManyAreCorrupt) {
  // Token 0 is empty, token 1 is long, the others are a letter.
  const auto read_with = [](std::initializer_list<int> tokens_of_name) {
    LinuxBuilder builder;
    ByteWriter names, table, index;
    names.u8(static_cast<std::uint8_t>(tokens_of_name.size()));
    for (const int token : tokens_of_name) names.u8(static_cast<std::uint8_t>(token));
    for (int i = 0; i < 256; ++i) {
      index.u16(static_cast<std::uint16_t>(table.size()));
      if (i != 0) table.put(as_bytes(std::string(i == 1 ? 1000 : 1, 'T')));
      table.u8(0);
    }
    KallsymsPlace place;
    place.names = builder.place(names.view());
    place.token_table = builder.place(table.view());
    place.token_index = builder.place(index.view());
    place.offsets = builder.place(Bytes(4));
    place.count = 1;
    const VirtualMemory memory(builder.memory(), builder.tables().tables());
    return Kallsyms::read(place, memory, std::nullopt);
  };
  EXPECT_THAT(read_with({0}), FailsWith(ErrorCode::kCorrupt, "no characters"));
  EXPECT_THAT(read_with({1, 1, 1}), FailsWith(ErrorCode::kCorrupt, "too many"));
  const auto symbols = read_with({0, 1, 2});  // the type is the first character there is
  ASSERT_THAT(symbols, Succeeds());
  EXPECT_TRUE(symbols->find(std::string(1000, 'T')));
}

TEST(Kallsyms, ManySymbolsOfOneNameAreNotQuadratic) {
  // 4 million are allowed; here are 120,000 with the same name, each a type and one letter.
  LinuxBuilder builder;
  constexpr std::uint32_t kCount = 120000;
  ByteWriter names, table, index;
  for (std::uint32_t i = 0; i < kCount; ++i) names.u8(2).u8('T').u8('x');
  for (int i = 0; i < 256; ++i) {
    index.u16(static_cast<std::uint16_t>(table.size()));
    table.u8(i == 0 ? 1 : static_cast<std::uint8_t>(i)).u8(0);
  }
  KallsymsPlace place;
  place.names = builder.place(names.view());
  place.token_table = builder.place(table.view());
  place.token_index = builder.place(index.view());
  place.offsets = builder.place(Bytes(kCount * 4));
  place.count = kCount;
  const VirtualMemory memory(builder.memory(), builder.tables().tables());
  const auto start = std::chrono::steady_clock::now();
  (void)Kallsyms::read(place, memory, std::nullopt).has_value();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1))
      << "4 million take hours";
}

}  // namespace
}  // namespace hvd::linux_guest
