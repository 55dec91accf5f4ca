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

/// "rax", "cr3", "gs_base", ...
std::string_view name_of(Reg reg);

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
