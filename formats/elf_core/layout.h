// The parts of ELF-64 that core files use: System V gABI, chapters 4 and 5; notes as Linux writes
// them (include/uapi/linux/elf.h, elfcore.h).
#pragma once

#include <string_view>

#include "base/endian.h"
#include "base/registers.h"

namespace hvd::elf {

struct FileHeader {
  unsigned char ident[16];
  le16 type;
  le16 machine;
  le32 version;
  le64 entry;
  le64 phoff;
  le64 shoff;
  le32 flags;
  le16 ehsize;
  le16 phentsize;
  le16 phnum;
  le16 shentsize;
  le16 shnum;
  le16 shstrndx;
};
static_assert(sizeof(FileHeader) == 64 && WireStruct<FileHeader>);

struct ProgramHeader {
  le32 type;
  le32 flags;
  le64 offset;
  le64 vaddr;
  le64 paddr;
  le64 filesz;
  le64 memsz;
  le64 align;
};
static_assert(sizeof(ProgramHeader) == 56 && WireStruct<ProgramHeader>);

struct SectionHeader {
  le32 name;
  le32 type;
  le64 flags;
  le64 addr;
  le64 offset;
  le64 size;
  le32 link;
  le32 info;
  le64 addralign;
  le64 entsize;
};
static_assert(sizeof(SectionHeader) == 64 && WireStruct<SectionHeader>);

struct NoteHeader {
  le32 namesz;
  le32 descsz;
  le32 type;
};
static_assert(sizeof(NoteHeader) == 12 && WireStruct<NoteHeader>);

/// How a file begins that is 64-bit, little-endian and of version 1.
inline constexpr std::string_view kIdent{
    "\x7f"
    "ELF\x02\x01\x01"};
inline constexpr std::uint16_t kTypeCore = 4;
inline constexpr std::uint16_t kMachineX86_64 = 62;
inline constexpr std::uint32_t kLoad = 1;
inline constexpr std::uint32_t kNote = 4;
/// More program headers than phnum can say: the count is in section header 0's info (gABI,
/// "e_phnum").
inline constexpr std::uint16_t kPhnumExtended = 0xffff;

inline constexpr std::uint32_t kNotePrstatus = 1;
inline constexpr std::uint32_t kNoteBuildId = 3;  // of owner "GNU"
inline constexpr std::uint32_t kNoteAuxv = 6;
inline constexpr std::uint32_t kNoteFile = 0x46494c45;

// struct user_regs_struct, in kUserOrder (base/registers.h).
struct UserRegisters {
  le64 words[kUserOrder.size()];
};
static_assert(sizeof(UserRegisters) == 216 && WireStruct<UserRegisters>);

// struct elf_prstatus of x86-64.
struct Prstatus {
  unsigned char info[12];
  le16 cursig;
  le16 pad;
  le64 sigpend;
  le64 sighold;
  le32 pid, ppid, pgrp, sid;
  unsigned char times[64];
  UserRegisters registers;
  le32 fpvalid;
  le32 pad2;
};
static_assert(sizeof(Prstatus) == 336 && WireStruct<Prstatus>);

// QEMUCPUState, the "QEMU" note of dump-guest-memory (qemu target/i386/arch_dump.c, version 1).
struct QemuSegment {
  le32 selector, limit, flags, pad;
  le64 base;
};
struct QemuCpuState {
  le32 version, size;
  le64 rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags;
  QemuSegment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
  le64 cr[5];
  le64 kernel_gs_base;  // since QEMU 2.11; `size` says whether it is there
};
static_assert(sizeof(QemuCpuState) == 440 && WireStruct<QemuCpuState>);

}  // namespace hvd::elf
