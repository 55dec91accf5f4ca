#include "base/windows_header.h"

namespace hvd::windows {
namespace {

constexpr std::uint32_t kControl = 1, kInteger = 2, kSegments = 4;
constexpr std::size_t kSavedMxCsr = 0x18;  // in FXSAVE
constexpr std::uint32_t kDefaultMxCsr = 0x1f80;

bool is_control(Reg reg) { return reg == Reg::kRsp; }

}  // namespace

Registers registers_of(const Context64& context) {
  Registers out;
  const std::uint32_t flags = context.flags;
  if (!(flags & kContextAmd64)) return out;
  for (std::size_t i = 0; i < kInstructionOrder.size(); ++i) {
    if (flags & (is_control(kInstructionOrder[i]) ? kControl : kInteger))
      out.set(kInstructionOrder[i], context.general[i]);
  }
  if (flags & kControl) {
    out.set(Reg::kRip, context.rip);
    out.set(Reg::kRflags, context.rflags);
    out.set(Reg::kCs, context.cs);
    out.set(Reg::kSs, context.ss);
  }
  if (flags & kSegments) {
    out.set(Reg::kDs, context.ds);
    out.set(Reg::kEs, context.es);
    out.set(Reg::kFs, context.fs);
    out.set(Reg::kGs, context.gs);
  }
  return out;
}

std::optional<Arm64Registers> registers_of(const ContextArm64& context) {
  if ((context.flags & (kContextArm64 | kControl)) != (kContextArm64 | kControl))
    return std::nullopt;
  Arm64Registers out;
  for (std::size_t i = 0; i < out.x.size(); ++i) out.x[i] = context.x[i];
  out.sp = context.sp, out.pc = context.pc, out.pstate = context.cpsr;
  return out;
}

Context64 context_of(const Registers& registers) {
  Context64 out{};
  out.flags = kContextAmd64 | kControl | kInteger | kSegments;
  for (std::size_t i = 0; i < kInstructionOrder.size(); ++i)
    out.general[i] = registers[kInstructionOrder[i]];
  out.rip = registers[Reg::kRip];
  out.rflags = static_cast<std::uint32_t>(registers[Reg::kRflags]);
  const auto segment = [&](Reg reg) { return static_cast<std::uint16_t>(registers[reg]); };
  out.cs = segment(Reg::kCs), out.ss = segment(Reg::kSs), out.ds = segment(Reg::kDs);
  out.es = segment(Reg::kEs), out.fs = segment(Reg::kFs), out.gs = segment(Reg::kGs);
  out.mx_csr = kDefaultMxCsr;
  const le32 copy = kDefaultMxCsr;
  std::memcpy(out.float_save + kSavedMxCsr, &copy, sizeof copy);
  return out;
}

}  // namespace hvd::windows
