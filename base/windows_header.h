// The header of 64-bit Windows crash dumps (DUMP_HEADER64 of Microsoft's mindumpdef.h) and the CPU
// context in it. Windows prepares one in memory at boot; its driver for QEMU hands that to the
// hypervisor as a note, so that formats/ and guest/ both meet it.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "base/arm64_registers.h"
#include "base/bytes.h"
#include "base/registers.h"

namespace hvd::windows {

inline constexpr std::string_view kHeaderSignature = "PAGEDU64";
inline constexpr std::uint16_t kMachineAmd64 = 0x8664, kMachineArm64 = 0xaa64;

struct PhysicalRun {
  le64 first_page, page_count;
};
inline constexpr std::size_t kMaxHeaderRuns = 42;

struct ExceptionRecord64 {
  le32 code, flags;
  le64 record, address;
  le32 parameter_count, unused;
  le64 parameters[15];
};
static_assert(sizeof(ExceptionRecord64) == 0x98);

/// CONTEXT of x64 (winnt.h).
struct Context64 {
  le64 home[6];
  le32 flags, mx_csr;
  le16 cs, ds, es, fs, gs, ss;
  le32 rflags;
  le64 dr[6];        // 0, 1, 2, 3, 6, 7
  le64 general[16];  // rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 ... r15
  le64 rip;
  unsigned char float_save[512];  // FXSAVE
  unsigned char vector[0x1d0];
};
static_assert(sizeof(Context64) == 0x4d0);
static_assert(offsetof(Context64, rip) == 0xf8);
inline constexpr std::uint32_t kContextAmd64 = 0x100000;

/// CONTEXT of ARM64 (winnt.h), as far as it is looked at.
struct ContextArm64 {
  le32 flags, cpsr;
  le64 x[31];  // x29 the frame pointer, x30 the link register
  le64 sp, pc;
};
static_assert(offsetof(ContextArm64, pc) == 0x108);
inline constexpr std::uint32_t kContextArm64 = 0x400000;

struct Header64 {
  char signature[8];  // kHeaderSignature
  le32 major, build;
  le64 directory_table_base, pfn_database, loaded_modules, active_processes;
  le32 machine, processors;
  le32 bugcheck_code, unused0;
  le64 bugcheck_parameters[4];
  char version_user[32];
  le64 debugger_data;  // KDDEBUGGER_DATA64
  le32 run_count, unused1;
  le64 page_count;
  PhysicalRun runs[kMaxHeaderRuns];
  unsigned char unused2[0x10];
  unsigned char context[3000];
  ExceptionRecord64 exception;
  le32 dump_type, unused3;
  le64 required_space;
  le64 system_time;  // FILETIME
  char comment[128];
  le64 up_time;  // 100 ns
  le32 mini_dump_fields, secondary_data_state;
  le32 product_type, suite_mask, writer_status;
  unsigned char unused4, secondary_version, unused5[2];
  le32 attributes, boot_id;
  unsigned char unused6[0x2000 - 0x1058];
};
static_assert(sizeof(Header64) == 0x2000);
static_assert(offsetof(Header64, runs) == 0x98 && offsetof(Header64, context) == 0x348);
static_assert(offsetof(Header64, exception) == 0xf00 && offsetof(Header64, dump_type) == 0xf98);
static_assert(offsetof(Header64, up_time) == 0x1030 && offsetof(Header64, boot_id) == 0x1054);

/// What Windows and its tools fill unused fields with.
inline constexpr std::uint32_t kUnused32 = 0x45474150;  // "PAGE"

/// The name under which readers pass the header on in a dump's notes.
inline constexpr std::string_view kHeaderNote = "DUMP_HEADER64";

/// The registers of a context; those of groups that its flags do not name stay unknown.
Registers registers_of(const Context64& context);
/// Nothing when the context names no control registers.
std::optional<Arm64Registers> registers_of(const ContextArm64& context);
/// The other way; both copies of MxCsr alike, as readers insist on.
Context64 context_of(const Registers& registers);

}  // namespace hvd::windows
