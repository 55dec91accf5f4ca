// Files with debug information, compiled when a test needs them: an ELF program and a relocatable
// one with DWARF, and a Windows image with its PDB.
#pragma once

#include <optional>
#include <string>

#include "guest/windows/pe.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"

namespace hvd {

/// The address that the ELF program's .text is linked to, and its build id.
inline constexpr std::uint64_t kProgramText = 0x400000;
inline constexpr const char* kProgramBuildId = "00112233445566778899aabbccddeeff00112233";

// outer's code is all of middle's and inner's, each inlined into the next: at most of its
// instructions an address has three frames.
inline constexpr std::string_view kProgramSource = R"(
static inline __attribute__((always_inline)) void inner(int x) { asm volatile(".skip 64, 0x90" :: "r"(x)); }
static inline __attribute__((always_inline)) void middle(int x) { inner(x + 1); }
void outer(int x) { middle(x); }
)";

/// Compiles with gcc, without a trace of this machine's folders; `flags` say into what. False when
/// gcc fails.
inline bool compile_with_dwarf(const TemporaryFolder& folder, const std::string& output,
                               const std::string& flags) {
  folder.write("lines.c", kProgramSource);
  return run_program("cd " + folder.path("") + " && gcc -g -O1 -fno-asynchronous-unwind-tables " +
                     flags + " -ffile-prefix-map=" + folder.path("") + "=. -o " + output +
                     " lines.c")
             .exit_code == 0;
}

inline bool compile_program(const TemporaryFolder& folder, const std::string& output) {
  return compile_with_dwarf(folder, output,
                            "-nostdlib -static -no-pie -fno-pic -Wl,-e,outer -Wl,--build-id=0x" +
                                std::string(kProgramBuildId) + " -Wl,-Ttext=0x400000");
}

inline bool compile_object(const TemporaryFolder& folder, const std::string& output) {
  return compile_with_dwarf(folder, output, "-c");
}

/// What a Windows image is compiled with; the test is skipped where one of them is missing.
inline bool have_pdb_tools() { return have_program("clang-19") && have_program("lld-link-19"); }

inline constexpr std::string_view kImageSource = R"(
struct _EPROCESS { int before; long long UniqueProcessId; char ImageFileName[15]; };
struct _EPROCESS first = {1, 4, "System"};
static int hidden(int x) { return x * 3 + (int)first.UniqueProcessId; }
int KeStart(int x) { return hidden(x) + hidden(x + 1); }
)";

/// Makes image.dll and image.pdb in the folder. False when a tool fails.
inline bool compile_image(const TemporaryFolder& folder) {
  folder.write("image.c", kImageSource);
  return run_program("cd " + folder.path("") +
                     " && clang-19 -target x86_64-pc-windows-msvc -g -gcodeview -O0 -c image.c"
                     " -ffile-prefix-map=" +
                     folder.path("") +
                     "=. -o image.obj && lld-link-19 /nologo /dll /debug /noentry /nodefaultlib "
                     "/Brepro /export:KeStart /out:image.dll /pdb:image.pdb image.obj")
             .exit_code == 0;
}

/// The identity that the image's debug directory gives its PDB ("RSDS", GUID, age).
inline std::optional<windows::PdbId> pdb_id_of(const std::string& image) {
  const std::size_t at = image.find("RSDS");
  if (at == std::string::npos || image.size() - at < 24) return std::nullopt;
  windows::PdbId id;
  id.file = "image.pdb";
  const ByteView guid = as_bytes(image).subspan(at + 4, 16);
  id.guid.assign(guid.begin(), guid.end());
  id.age = static_cast<std::uint8_t>(image[at + 20]);
  return id;
}

}  // namespace hvd
