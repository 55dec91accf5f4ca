// Which files belong to a kernel: by name, and by build id where there is one.
#include "guest/debuginfo/symbol_files.h"

#include "tests/support/damage.h"
#include "tests/support/debug_files.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::Pair;

constexpr const char* kRelease = "6.1.0-test";

class SymbolFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_program("gcc")) GTEST_SKIP() << "gcc is not installed: it compiles the files";
    ASSERT_TRUE(compile_program(folder_, "program"));
  }
  std::string place(const std::string& name) const {
    fs::create_directories(fs::path(folder_.path(name)).parent_path());
    fs::copy_file(folder_.path("program"), folder_.path(name));
    return folder_.path(name);
  }
  std::string empty_file(const std::string& name) const {
    fs::create_directories(fs::path(folder_.path(name)).parent_path());
    return folder_.write(name, "");
  }
  const TemporaryFolder folder_;
};

TEST_F(SymbolFilesTest, BuildIdIsReadOfProgramsAndOfObjects) {
  EXPECT_EQ(build_id_of(folder_.path("program")), kProgramBuildId);
  // A relocatable file has the note in a section only.
  folder_.write("id.s",
                ".section .note.gnu.build-id,\"a\",@note\n.long 4, 4, 3\n.asciz \"GNU\"\n"
                ".byte 1, 2, 0xab, 4\n");
  ASSERT_EQ(run_program("cd " + folder_.path("") + " && gcc -c id.s -o id.o").exit_code, 0);
  EXPECT_EQ(build_id_of(folder_.path("id.o")), "0102ab04");
  EXPECT_EQ(build_id_of(folder_.write("text", "hello")), std::nullopt);
  EXPECT_EQ(build_id_of(folder_.path("none")), std::nullopt);
}

TEST_F(SymbolFilesTest, DamagedFilesHaveNoOrAnotherBuildId) {
  const Bytes good = to_bytes(folder_.read("program"));
  for (std::size_t size = 0; size < good.size(); size += 67)
    (void)build_id_of(folder_.write("bad", ByteView(truncated_at(good, size))));
  EXPECT_EQ(build_id_of(folder_.write("bad", ByteView(truncated_at(good, 100)))), std::nullopt);
  for (std::size_t at = 0; at < good.size(); at += 37) {
    Bytes bad = good;
    flip_bit(bad, at, at / 37 % 8);
    (void)build_id_of(folder_.write("bad", ByteView(bad)));
  }
}

TEST_F(SymbolFilesTest, VmlinuxIsFoundUnderTheNamesOfDistributions) {
  const std::string id = kProgramBuildId;
  for (const std::string& name : {std::string("vmlinux"), std::string("vmlinux-") + kRelease,
                                  std::string("usr/lib/debug/boot/vmlinux-") + kRelease,
                                  std::string("lib/modules/") + kRelease + "/vmlinux",
                                  ".build-id/" + id.substr(0, 2) + "/" + id.substr(2) + ".debug"}) {
    const std::string path = place(name);
    EXPECT_EQ(find_vmlinux({folder_.path("none"), folder_.path("")}, kRelease, id).value(),
              folder_.path("") + "/" + name);
    fs::remove(path);
  }
  const std::string itself = place("renamed");
  EXPECT_EQ(find_vmlinux({itself}, kRelease, id).value(), itself);
}

TEST_F(SymbolFilesTest, VmlinuxOfAnotherBuildIsRefusedByName) {
  place("vmlinux");
  EXPECT_THAT(find_vmlinux({folder_.path("")}, kRelease, "ffff"),
              FailsWith(ErrorCode::kNotFound, std::string("of build ") + kProgramBuildId));
  // With no build id to compare, the name has to do.
  EXPECT_THAT(find_vmlinux({folder_.path("")}, kRelease, ""), Succeeds());
}

TEST_F(SymbolFilesTest, ModulesAreListedAsLinuxSpellsThem) {
  const std::string tree = std::string("usr/lib/debug/lib/modules/") + kRelease + "/kernel/";
  const std::string kvm = empty_file(tree + "kvm-amd.ko.debug"), plain = empty_file("kvm_amd.ko"),
                    ext4 = empty_file("ext4.ko");
  empty_file("compressed.ko.xz"), empty_file(".ko"), empty_file("notes.txt");
  EXPECT_THAT(find_modules({folder_.path(""), folder_.path("none")}, kRelease),
              ElementsAre(Pair("ext4", folder_.path("") + "ext4.ko"), Pair("kvm_amd", testing::_),
                          Pair("kvm_amd", testing::_)));
  // The one with debug information first, wherever it was found.
  EXPECT_EQ(fs::path(find_modules({folder_.path("")}, kRelease).find("kvm_amd")->second),
            fs::path(folder_.path("") + "/" + tree + "kvm-amd.ko.debug"));
  EXPECT_THAT(find_modules({ext4}, kRelease), ElementsAre(Pair("ext4", ext4)));
}

}  // namespace
}  // namespace hvd
