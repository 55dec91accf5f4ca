#include "guest/windows/unwind.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/text.h"
#include "guest/windows/function_table.h"

namespace hvd::windows {
namespace {

constexpr std::size_t kMaxFrames = 256;
constexpr std::uint64_t kScanBytes = 24u << 10;  // a kernel stack

constexpr unsigned kRsp = 4, kRbp = 5;

enum class Op : unsigned {
  kPushNonvolatile = 0,
  kAllocLarge = 1,
  kAllocSmall = 2,
  kSetFrame = 3,
  kSaveNonvolatile = 4,
  kSaveNonvolatileFar = 5,
  kEpilog = 6,  // version 2; two slots in version 1
  kSpare = 7,
  kSaveXmm = 8,
  kSaveXmmFar = 9,
  kMachineFrame = 10,
};

}  // namespace

struct Unwinder::State {
  std::array<std::uint64_t, 16>
      general{};  // as unwind codes number them: rax, rcx, rdx, rbx, rsp ...
  std::uint64_t rip = 0;
  bool exact = true;  // rip is where execution stopped, not a return address
  std::uint64_t& sp() { return general[kRsp]; }
};

Stack Unwinder::from_registers(const Registers& registers) const {
  Stack stack;
  State state;
  constexpr std::array<Reg, 16> kOrder{
      Reg::kRax, Reg::kRcx, Reg::kRdx, Reg::kRbx, Reg::kRsp, Reg::kRbp, Reg::kRsi, Reg::kRdi,
      Reg::kR8,  Reg::kR9,  Reg::kR10, Reg::kR11, Reg::kR12, Reg::kR13, Reg::kR14, Reg::kR15};
  for (std::size_t i = 0; i < kOrder.size(); ++i) state.general[i] = registers[kOrder[i]];
  state.rip = registers[Reg::kRip];
  stack.frames.push_back(
      {VirtAddr{state.rip}, VirtAddr{state.rip}, VirtAddr{state.sp()}, true, true});
  if ((registers[Reg::kCs] & 3) != 0) {
    stack.complete = true;
    return stack;
  }
  unwind(state, stack);
  return stack;
}

Stack Unwinder::from_stack(VirtAddr kernel_stack) const {
  Stack stack;
  // KSWITCH_FRAME: home space for four registers, the IRQL, then rbp and the return address into
  // the function that switches.
  constexpr std::uint64_t kSavedRbp = 0x30, kReturn = 0x38;
  const auto rbp = space_.read_u64(kernel_stack + kSavedRbp);
  const auto rip = space_.read_u64(kernel_stack + kReturn);
  if (!rbp || !rip || !module_at(modules_, VirtAddr{*rip})) {
    stack.end_reason = "no saved context is where the thread says";
    scan(kernel_stack, stack);
    return stack;
  }
  State state;
  state.general[kRbp] = *rbp;
  state.sp() = kernel_stack.value + kReturn + 8;
  state.rip = *rip;
  // A thread that never ran has not been called: it goes on where its first function begins.
  const Module& module = *module_at(modules_, VirtAddr{*rip});
  const auto rva = static_cast<std::uint32_t>(*rip - module.base.value);
  const auto function = module.pe ? find_function(space_, *module.pe, rva)
                                  : Result<std::optional<Function>>(std::nullopt);
  state.exact = function && *function && (*function)->begin == rva;
  stack.frames.push_back(
      {VirtAddr{*rip}, VirtAddr{state.exact ? *rip : *rip - 1}, VirtAddr{state.sp()}, false, true});
  unwind(state, stack);
  return stack;
}

void Unwinder::unwind(State state, Stack& stack) const {
  while (stack.frames.size() < kMaxFrames) {
    const std::uint64_t sp = state.sp();
    const auto go_on = step(state);
    if (!go_on) {
      stack.end_reason = go_on.error().message;
      if (!stack.frames.empty()) scan(VirtAddr{sp}, stack);
      return;
    }
    // The first function of a thread returns to nowhere; below it is nothing but the end.
    if (!*go_on || state.rip == 0) {
      stack.complete = true;
      return;
    }
    if (state.sp() <= sp && !state.exact) {
      stack.end_reason = "the stack does not go on at " + hex(state.sp());
      return;
    }
    const VirtAddr at{state.rip};
    if (!is_kernel_address(at.value)) {  // user mode, after a machine frame
      stack.complete = state.exact;
      if (!state.exact)
        stack.end_reason = "a return address is no kernel address: " + hex(at.value);
      return;
    }
    if (!is_code(at)) {
      stack.end_reason = "a return address leads to no code: " + hex(at.value);
      scan(VirtAddr{sp}, stack);
      return;
    }
    stack.frames.push_back(
        {at, state.exact ? at : at - 1, VirtAddr{state.sp()}, state.exact, true});
  }
  stack.end_reason = "more than " + std::to_string(kMaxFrames) + " frames";
}

// False when the frames end.
Result<bool> Unwinder::step(State& state) const {
  const VirtAddr at{state.exact ? state.rip : state.rip - 1};
  const Module* module = module_at(modules_, at);
  if (!module) return Error{ErrorCode::kNotFound, hex(at.value) + " is in no module"};
  if (!module->pe)
    return Error{ErrorCode::kNotCaptured, "the image of " + printable(module->name) +
                                              ", which has the unwind data, is not in the dump"};
  const auto rva = static_cast<std::uint32_t>(at - module->base);
  const auto function = HVD_TRY(find_function(space_, *module->pe, rva));
  const bool was_exact = state.exact;
  state.exact = false;
  bool machine_frame = false;
  if (function) {
    if (was_exact && undo_epilog(state, *module, *function)) return true;
    HVD_TRY(undo_prolog(state, *module, *function, rva, machine_frame));
  } else if (!was_exact) {
    // A function that calls another has unwind data.
    return Error{ErrorCode::kNotFound, "no unwind data is there for " + hex(at.value)};
  }
  if (machine_frame) {
    state.exact = true;
    return true;
  }
  state.rip = HVD_TRY(space_.read_u64(VirtAddr{state.sp()}));
  state.sp() += 8;
  return true;
}

Result<void> Unwinder::undo_prolog(State& state, const Module& module, const Function& function,
                                   std::uint32_t rva, bool& machine_frame) const {
  std::uint32_t info = function.info;
  std::uint32_t done = rva - function.begin;  // bytes of the function that have run
  for (int chain = 0; chain < kMaxChained; ++chain) {
    const VirtAddr at = module.base + info;
    const std::uint64_t head = HVD_TRY(space_.read_u32(at));
    const unsigned version = head & 7, prolog = head >> 8 & 0xff, count = head >> 16 & 0xff,
                   frame = head >> 24 & 0xf, frame_offset = head >> 28;
    if (version != 1 && version != 2)
      return Error{ErrorCode::kCorrupt,
                   "unwind data of version " + std::to_string(version) + " at " + hex(at.value)};
    const Bytes codes = HVD_TRY(space_.read_bytes(at + 4, count * std::size_t{2}));
    const auto slot = [&](unsigned i) -> unsigned {
      return i < count ? std::to_integer<unsigned>(codes[std::size_t{2} * i]) |
                             std::to_integer<unsigned>(codes[std::size_t{2} * i + 1]) << 8
                       : 0;
    };
    // In a part of a function that is chained the whole prolog of the others has run.
    const bool in_prolog = chain == 0 && done < prolog;
    std::uint64_t base = state.sp();
    if (frame != 0) {
      bool set = !in_prolog;
      for (unsigned i = 0; i < count && !set; ++i) {
        // Only the operation's own slot counts; a look at what follows it does no harm here.
        const unsigned code = slot(i);
        set = static_cast<Op>(code >> 8 & 0xf) == Op::kSetFrame && (code & 0xff) <= done;
      }
      if (set) base = state.general[frame] - frame_offset * std::uint64_t{16};
    }
    for (unsigned i = 0; i < count;) {
      const unsigned code = slot(i), where = code & 0xff, details = code >> 12;
      const auto op = static_cast<Op>(code >> 8 & 0xf);
      const bool apply = !in_prolog || where <= done;
      unsigned slots = 1;
      switch (op) {
        case Op::kPushNonvolatile:
          if (apply) {
            state.general[details] = HVD_TRY(space_.read_u64(VirtAddr{state.sp()}));
            state.sp() += 8;
          }
          break;
        case Op::kAllocLarge: {
          slots = details == 0 ? 2 : 3;
          const std::uint64_t size = details == 0 ? slot(i + 1) * std::uint64_t{8}
                                                  : slot(i + 1) | std::uint64_t{slot(i + 2)} << 16;
          if (apply) state.sp() += size;
          break;
        }
        case Op::kAllocSmall:
          if (apply) state.sp() += details * std::uint64_t{8} + 8;
          break;
        case Op::kSetFrame:
          if (apply) state.sp() = state.general[frame] - frame_offset * std::uint64_t{16};
          break;
        case Op::kSaveNonvolatile:
          slots = 2;
          if (apply)
            state.general[details] =
                HVD_TRY(space_.read_u64(VirtAddr{base + slot(i + 1) * std::uint64_t{8}}));
          break;
        case Op::kSaveNonvolatileFar:
          slots = 3;
          if (apply) {
            const std::uint64_t offset = slot(i + 1) | std::uint64_t{slot(i + 2)} << 16;
            state.general[details] = HVD_TRY(space_.read_u64(VirtAddr{base + offset}));
          }
          break;
        case Op::kEpilog: slots = version == 1 ? 2 : 1; break;
        case Op::kSpare: slots = 3; break;
        case Op::kSaveXmm: slots = 2; break;
        case Op::kSaveXmmFar: slots = 3; break;
        case Op::kMachineFrame:
          if (apply) {
            const VirtAddr saved = VirtAddr{state.sp()} + (details != 0 ? 8u : 0u);
            state.rip = HVD_TRY(space_.read_u64(saved));
            state.sp() = HVD_TRY(space_.read_u64(saved + 24));
            machine_frame = true;
          }
          break;
        default:
          return Error{ErrorCode::kCorrupt, "an unknown unwind operation at " + hex(at.value)};
      }
      i += slots;
    }
    const auto chained = HVD_TRY(chained_function(space_, *module.pe, info));
    if (!chained) return {};
    info = chained->info;
    done = ~std::uint32_t{0};
  }
  return Error{ErrorCode::kCorrupt, "unwind data chained without an end"};
}

// An epilog has a fixed form: add rsp or lea rsp, pops, and a return or a jump out of the function.
// When the code from here on is one, running it is unwinding.
bool Unwinder::undo_epilog(State& state, const Module& module, const Function& function) const {
  State next = state;
  const Bytes code = space_.read_up_to(VirtAddr{state.rip}, 64);
  std::size_t at = 0;
  const auto byte = [&](std::size_t i) {
    return at + i < code.size() ? std::to_integer<unsigned>(code[at + i]) : 0u;
  };
  const auto signed_at = [&](std::size_t i, std::size_t size) -> std::int64_t {
    if (at + i + size > code.size()) return 0;
    if (size == 1) return static_cast<std::int8_t>(byte(i));
    le32 value;
    std::memcpy(&value, code.data() + at + i, sizeof value);
    return static_cast<std::int32_t>(std::uint32_t{value});
  };
  if (byte(0) == 0x48 && byte(1) == 0x83 && byte(2) == 0xc4) {  // add rsp, imm8
    next.sp() += static_cast<std::uint64_t>(signed_at(3, 1));
    at += 4;
  } else if (byte(0) == 0x48 && byte(1) == 0x81 && byte(2) == 0xc4) {  // add rsp, imm32
    next.sp() += static_cast<std::uint64_t>(signed_at(3, 4));
    at += 7;
  } else if ((byte(0) & 0xfe) == 0x48 && byte(1) == 0x8d && (byte(2) & 0x38) == 0x20) {
    // lea rsp, [frame + disp]
    const unsigned base = (byte(2) & 7) | (byte(0) & 1) << 3, mode = byte(2) >> 6;
    if ((base & 7) == kRsp || (mode != 1 && mode != 2)) return false;
    next.sp() = next.general[base] + static_cast<std::uint64_t>(signed_at(3, mode == 1 ? 1 : 4));
    at += mode == 1 ? 4 : 7;
  }
  for (int pops = 0; pops < 16; ++pops) {
    const bool wide = byte(0) == 0x41;
    const unsigned op = byte(wide ? 1 : 0);
    if (op < 0x58 || op > 0x5f) break;
    const auto value = space_.read_u64(VirtAddr{next.sp()});
    if (!value) return false;
    next.general[(op - 0x58) + (wide ? 8u : 0u)] = *value;
    next.sp() += 8;
    at += wide ? 2 : 1;
  }
  const std::size_t prefix = byte(0) == 0xf3 ? 1 : 0;  // rep ret
  bool ends = byte(prefix) == 0xc3 || byte(0) == 0xc2;
  if (!ends && (byte(0) == 0xe9 || byte(0) == 0xeb)) {
    // A jump within the function is no end of it.
    const std::size_t size = byte(0) == 0xe9 ? 4 : 1;
    const std::uint64_t target =
        state.rip + at + 1 + size + static_cast<std::uint64_t>(signed_at(1, size));
    const std::uint64_t offset = target - module.base.value;
    ends = offset < function.begin || offset >= function.end;
  }
  if (!ends && byte(0) == 0x48 && byte(1) == 0xff && (byte(2) & 0x38) == 0x20) ends = true;  // jmp
  if (!ends) return false;
  const auto rip = space_.read_u64(VirtAddr{next.sp()});
  if (!rip) return false;
  next.rip = *rip;
  next.sp() += 8;
  state = next;
  return true;
}

// Where a module's sections are not known, all of it but its headers may be code.
bool Unwinder::is_code(VirtAddr at) const {
  const Module* module = module_at(modules_, at);
  if (!module || at - module->base < kPageSize) return false;
  if (!module->pe) return true;
  const auto rva = static_cast<std::uint32_t>(at - module->base);
  const auto& sections = module->pe->sections();
  return std::any_of(sections.begin(), sections.end(), [&](const PeSection& section) {
    return section.executable && rva - section.rva < section.size;
  });
}

// Words that point into modules' code are taken for return addresses.
void Unwinder::scan(VirtAddr sp, Stack& stack) const {
  const Bytes words = space_.read_up_to(sp, kScanBytes);
  for (std::size_t at = 0; at + 8 <= words.size() && stack.frames.size() < kMaxFrames; at += 8) {
    le64 word;
    std::memcpy(&word, words.data() + at, sizeof word);
    const VirtAddr value{word};
    if (!is_kernel_address(value.value) || !is_code(value)) continue;
    stack.frames.push_back({value, value - 1, sp + at, false, false});
  }
}

}  // namespace hvd::windows
