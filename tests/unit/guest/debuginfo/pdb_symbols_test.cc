// Names and structures out of a PDB that lld makes here, and out of what damage leaves of it.
#include "guest/debuginfo/pdb_symbols.h"

#include "tests/support/damage.h"
#include "tests/support/debug_files.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

class PdbSymbolsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_pdb_tools())
      GTEST_SKIP() << "clang-19 and lld-link-19 are not both installed: they make the PDB";
    ASSERT_TRUE(compile_image(folder_));
    const auto id = pdb_id_of(folder_.read("image.dll"));
    ASSERT_TRUE(id);
    id_ = *id;
  }
  void TearDown() override { ::unsetenv("_NT_SYMBOL_PATH"); }
  auto open() const { return open_pdb(folder_.path("image.pdb"), id_); }
  const TemporaryFolder folder_;
  windows::PdbId id_;
};

TEST_F(PdbSymbolsTest, NamesPublicAndHiddenPlaces) {
  const auto symbols = open();
  ASSERT_THAT(symbols, Succeeds());
  for (const char* name : {"KeStart", "hidden", "first"}) {
    const auto rva = (*symbols)->place_of(name);
    ASSERT_THAT(rva, Succeeds());
    const auto at = (*symbols)->at(*rva + 1);
    ASSERT_TRUE(at);
    EXPECT_EQ(at->name, name);
    EXPECT_EQ(at->offset, 1u);
  }
  EXPECT_THAT((*symbols)->place_of("none"), FailsWith(ErrorCode::kNotFound, "none"));
  EXPECT_FALSE((*symbols)->at(0));
}

TEST_F(PdbSymbolsTest, MembersHaveTheCompilersOffsets) {
  const auto symbols = open();
  ASSERT_THAT(symbols, Succeeds());
  EXPECT_EQ((*symbols)->member("_EPROCESS", "UniqueProcessId").value(), 8u);
  EXPECT_EQ((*symbols)->member("_EPROCESS", "ImageFileName").value(), 16u);
  EXPECT_THAT((*symbols)->member("_EPROCESS", "Pcb"), FailsWith(ErrorCode::kNotFound, "Pcb"));
  EXPECT_THAT((*symbols)->member("_KTHREAD", "x"), FailsWith(ErrorCode::kNotFound, "_KTHREAD"));
}

TEST_F(PdbSymbolsTest, AnotherBuildsPdbIsRefused) {
  flip_bit(id_.guid, 3);
  EXPECT_THAT(open(), FailsWith(ErrorCode::kNotFound, "another build"));
  id_.guid.clear();
  EXPECT_THAT(open(), FailsWith(ErrorCode::kNotFound, "another build"));
}

TEST_F(PdbSymbolsTest, FilesThatAreNoPdbAreCorrupt) {
  EXPECT_THAT(open_pdb(folder_.write("text", "hello"), id_),
              FailsWith(ErrorCode::kCorrupt, "text"));
  EXPECT_THAT(open_pdb(folder_.path("none"), id_), FailsWith(ErrorCode::kCorrupt, "none"));
}

// Whatever is left of a PDB, the answer is symbols or an error.
TEST_F(PdbSymbolsTest, DamagedPdbsGiveSymbolsOrAnError) {
  const Bytes good = to_bytes(folder_.read("image.pdb"));
  const auto look = [&](const Bytes& bytes) {
    folder_.write("image.pdb", ByteView(bytes));
    const auto symbols = open();
    if (symbols) (void)(*symbols)->member("_EPROCESS", "ImageFileName").has_value();
    return symbols;
  };
  for (std::size_t size = 0; size < good.size(); size += 509)
    EXPECT_THAT(look(truncated_at(good, size)), FailsWith(ErrorCode::kCorrupt, "image.pdb"))
        << size;
  for (std::size_t at = 0; at < good.size(); at += 101) {
    if (good[at] == std::byte{0}) continue;  // most of the file is padding
    Bytes bad = good;
    flip_bit(bad, at, at / 101 % 8);
    const auto symbols = look(bad);
    if (!symbols) {
      EXPECT_THAT(symbols.error().code, testing::AnyOf(ErrorCode::kCorrupt, ErrorCode::kNotFound))
          << at;
    }
  }
}

TEST_F(PdbSymbolsTest, FinderLooksInFilesFoldersAndStores) {
  fs::create_directories(folder_.path("store/image.pdb/" + id_.key()));
  fs::copy_file(folder_.path("image.pdb"),
                folder_.path("store/image.pdb/" + id_.key() + "/image.pdb"));
  for (const char* place : {"image.pdb", "", "store"})
    EXPECT_NE(find_pdbs({folder_.path(place)}, {})(id_), nullptr) << place;
  EXPECT_EQ(find_pdbs({folder_.path("none")}, {})(id_), nullptr);
  EXPECT_FALSE(find_pdbs({}, {}));
  ::setenv("_NT_SYMBOL_PATH", ("srv*" + folder_.path("store")).c_str(), 1);
  EXPECT_NE(find_pdbs({}, {})(id_), nullptr);
}

TEST_F(PdbSymbolsTest, FinderFollowsNoNameOutOfItsFolder) {
  fs::create_directories(folder_.path("inner"));
  for (const char* file : {"../image.pdb", "..", "", "/etc/passwd"}) {
    windows::PdbId id = id_;
    id.file = file;
    EXPECT_EQ(find_pdbs({folder_.path("inner")}, {})(id), nullptr) << file;
  }
}

TEST_F(PdbSymbolsTest, ServerThatDoesNotAnswerIsReportedOnce) {
  ::setenv("_NT_SYMBOL_PATH",
           ("srv*" + folder_.path("cache") + "*http://me:secret@127.0.0.1:9/store").c_str(), 1);
  std::vector<std::string> problems;
  const auto finder =
      find_pdbs({}, [&](const std::string& problem) { problems.push_back(problem); });
  EXPECT_EQ(finder(id_), nullptr);
  windows::PdbId other = id_;
  other.file = "other.pdb";
  other.age += 1;
  EXPECT_EQ(finder(other), nullptr);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_THAT(problems[0], HasSubstr("127.0.0.1"));
  EXPECT_EQ(problems[0].find("secret"), std::string::npos);
  EXPECT_THAT(fs::exists(folder_.path("cache/image.pdb")), false);
}

}  // namespace
}  // namespace hvd
