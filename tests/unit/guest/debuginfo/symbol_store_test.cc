// What _NT_SYMBOL_PATH means, and which names of PDBs a guest may have us ask for.
#include "guest/debuginfo/symbol_store.h"

#include "tests/support/matchers.h"
#include "tests/support/temporary_folder.h"

namespace hvd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct PathCase {
  const char* text;
  std::vector<std::vector<std::string>> folders, urls;
};

TEST(SymbolStore, PathIsAListOfFoldersAndStores) {
  ::setenv("XDG_CACHE_HOME", "/home/me/.cache", 1);
  const std::string own = "/home/me/.cache/hvdump/symbols";
  for (const PathCase& c : std::initializer_list<PathCase>{
           {"", {}, {}},
           {";;", {}, {}},
           {"/pdbs", {{"/pdbs"}}, {{}}},
           {"/a;/b", {{"/a"}, {"/b"}}, {{}, {}}},
           {"srv*/c*https://s/p", {{"/c"}}, {{"https://s/p"}}},
           {"SRV*/c*/d*HTTP://s", {{"/c", "/d"}}, {{"HTTP://s"}}},
           {"srv*https://s", {{own}}, {{"https://s"}}},
           {"symsrv*symsrv.dll*/c*https://s", {{"/c"}}, {{"https://s"}}},
           {"cache*/k;srv*https://s", {{"/k"}, {"/k"}}, {{}, {"https://s"}}},
           {"srv*", {}, {}},
           {"symsrv", {}, {}},
           {"ftp://s", {{"ftp://s"}}, {{}}}}) {
    std::vector<std::vector<std::string>> folders, urls;
    for (const SymbolStore& store : parse_symbol_path(c.text)) {
      folders.push_back(store.folders);
      urls.push_back(store.urls);
    }
    EXPECT_EQ(folders, c.folders) << c.text;
    EXPECT_EQ(urls, c.urls) << c.text;
  }
  ::unsetenv("XDG_CACHE_HOME");
}

TEST(SymbolStore, NamesThatMayBePartOfAPath) {
  for (const char* good : {"ntkrnlmp.pdb", "my-driver_2.pdb", "c++.pdb"}) {
    EXPECT_TRUE(is_file_name(good)) << good;
    EXPECT_TRUE(is_plain_name(good)) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string("."), std::string(".."), std::string("../x.pdb"),
        std::string("a/b"), std::string("a\0b", 3)}) {
    EXPECT_FALSE(is_file_name(bad));
    EXPECT_FALSE(is_plain_name(bad));
  }
  // Fit for a folder here, but not to be asked of a server.
  for (const std::string& odd : {std::string("a b.pdb"), std::string("x?y"), std::string(".hidden"),
                                 std::string("a\nb"), std::string(129, 'a')}) {
    EXPECT_TRUE(is_file_name(odd));
    EXPECT_FALSE(is_plain_name(odd));
  }
}

TEST(SymbolStore, CandidatesAreTheFolderTheFileAndTheStore) {
  windows::PdbId id;
  id.file = "a.pdb";
  id.guid = Bytes(16);
  id.age = 0x1f;
  EXPECT_THAT(candidates_in("/s", id),
              ElementsAre("/s", "/s/a.pdb", "/s/a.pdb/" + std::string(32, '0') + "1F/a.pdb"));
}

TEST(SymbolStore, MessagesHaveNoPassword) {
  EXPECT_EQ(without_password("https://me:secret@server/a@b"), "https://server/a@b");
  EXPECT_EQ(without_password("https://server/a@b"), "https://server/a@b");
  EXPECT_EQ(without_password("https://me:s@e@server"), "https://server");
  EXPECT_EQ(without_password("me@server"), "me@server");
}

TEST(SymbolStore, NothingIsFetchedUnderANameThatIsNotPlain) {
  const TemporaryFolder folder;
  windows::PdbId id;
  id.file = "../x.pdb";
  id.guid = Bytes(16);
  EXPECT_THAT(fetch_pdb("http://127.0.0.1:9", folder.path("cache"), id),
              FailsWith(ErrorCode::kNotFound, "x.pdb"));
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(SymbolStore, FailedFetchLeavesNoFileAndNoFolder) {
  const TemporaryFolder folder;
  windows::PdbId id;
  id.file = "x.pdb";
  id.guid = Bytes(16);
  EXPECT_THAT(fetch_pdb("http://me:secret@127.0.0.1:9", folder.path("cache"), id),
              FailsWith(ErrorCode::kIo, "http://127.0.0.1:9"));
  EXPECT_FALSE(std::filesystem::exists(folder.path("cache/x.pdb")));
}

}  // namespace
}  // namespace hvd
