// x86-64 CPU state in one plain value: what a capture stores per vCPU (or per thread of a process
// partition) and what unwinding, page-table walks and debugger notes start from.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace hvd {

/// The order is the order of the .hvd register record (formats/hvd/SPEC.md, "REGISTERS"): append
/// only.
enum class Reg : std::uint8_t {
  kRax,
  kRbx,
  kRcx,
  kRdx,
  kRsi,
  kRdi,
  kRbp,
  kRsp,
  kR8,
  kR9,
  kR10,
  kR11,
  kR12,
  kR13,
  kR14,
  kR15,
  kRip,
  kRflags,
  kOrigRax,
  kCr0,
  kCr2,
  kCr3,
  kCr4,
  kCr8,
  kEfer,
  kFsBase,
  kGsBase,
  kKernelGsBase,
  kCs,
  kSs,
  kDs,
  kEs,
  kFs,
  kGs,
  kLdtr,
  kTr,
  kLdtrBase,
  kTrBase,
  kGdtrBase,
  kGdtrLimit,
  kIdtrBase,
  kIdtrLimit,
};
inline constexpr std::size_t kRegCount = static_cast<std::size_t>(Reg::kIdtrLimit) + 1;
static_assert(kRegCount <= 64, "`known` is one 64-bit mask");

inline constexpr std::array<std::string_view, kRegCount> kRegisterNames{
    "rax", "rbx",       "rcx",     "rdx",       "rsi",        "rdi",       "rbp",
    "rsp", "r8",        "r9",      "r10",       "r11",        "r12",       "r13",
    "r14", "r15",       "rip",     "rflags",    "orig_rax",   "cr0",       "cr2",
    "cr3", "cr4",       "cr8",     "efer",      "fs_base",    "gs_base",   "kernel_gs_base",
    "cs",  "ss",        "ds",      "es",        "fs",         "gs",        "ldtr",
    "tr",  "ldtr_base", "tr_base", "gdtr_base", "gdtr_limit", "idtr_base", "idtr_limit"};

/// "rax", "cr3", "gs_base", ...
constexpr std::string_view name_of(Reg reg) {
  return kRegisterNames[static_cast<std::size_t>(reg)];
}

/// The 8-byte words of Linux' struct user_regs_struct (arch/x86/include/asm/user_64.h).
inline constexpr std::array<Reg, 27> kUserOrder{
    Reg::kR15,    Reg::kR14,     Reg::kR13, Reg::kR12, Reg::kRbp,    Reg::kRbx, Reg::kR11,
    Reg::kR10,    Reg::kR9,      Reg::kR8,  Reg::kRax, Reg::kRcx,    Reg::kRdx, Reg::kRsi,
    Reg::kRdi,    Reg::kOrigRax, Reg::kRip, Reg::kCs,  Reg::kRflags, Reg::kRsp, Reg::kSs,
    Reg::kFsBase, Reg::kGsBase,  Reg::kDs,  Reg::kEs,  Reg::kFs,     Reg::kGs};

/// The general registers as instructions number them.
inline constexpr std::array<Reg, 16> kInstructionOrder{
    Reg::kRax, Reg::kRcx, Reg::kRdx, Reg::kRbx, Reg::kRsp, Reg::kRbp, Reg::kRsi, Reg::kRdi,
    Reg::kR8,  Reg::kR9,  Reg::kR10, Reg::kR11, Reg::kR12, Reg::kR13, Reg::kR14, Reg::kR15};

class Registers {
 public:
  /// The vCPU's number, or the thread's id in a process partition.
  std::uint32_t id = 0;

  bool knows(Reg reg) const { return (known_ >> index(reg)) & 1; }
  /// 0 when not known: ask knows() where that matters.
  std::uint64_t operator[](Reg reg) const { return values_[index(reg)]; }
  std::optional<std::uint64_t> get(Reg reg) const {
    if (!knows(reg)) return std::nullopt;
    return values_[index(reg)];
  }
  void set(Reg reg, std::uint64_t value) {
    values_[index(reg)] = value;
    known_ |= std::uint64_t{1} << index(reg);
  }
  void forget(Reg reg) {
    values_[index(reg)] = 0;
    known_ &= ~(std::uint64_t{1} << index(reg));
  }
  /// Bit n says that register n is known.
  std::uint64_t known() const { return known_; }
  bool operator==(const Registers&) const = default;

 private:
  static std::size_t index(Reg reg) { return static_cast<std::size_t>(reg); }
  std::array<std::uint64_t, kRegCount> values_{};
  std::uint64_t known_ = 0;
};

}  // namespace hvd
