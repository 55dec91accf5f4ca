#include "guest/windows/unwind.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "guest/windows/function_table.h"
#include "guest/windows/unwind_steps.h"

namespace hvd::windows {
namespace {

constexpr std::size_t kMaxFrames = 256;
constexpr std::uint64_t kScanBytes = 24u << 10;  // a kernel stack
constexpr unsigned kRbp = 5;

}  // namespace

// False when the frames end.
template <typename State>
Result<bool> Unwinder::step_from(State& state) const {
  const VirtAddr at{state.exact ? state.pc() : state.pc() - 1};
  const Module* module = module_at(modules_, at);
  if (!module) return Error{ErrorCode::kNotFound, hex(at.value) + " is in no module"};
  if (!module->pe)
    return Error{ErrorCode::kNotCaptured, "the image of " + printable(module->name) +
                                              ", which has the unwind data, is not in the dump"};
  return step(space_, *module->pe, state);
}

template <typename State>
void Unwinder::unwind(State state, Stack& stack) const {
  while (stack.frames.size() < kMaxFrames) {
    const std::uint64_t sp = state.sp();
    const bool stopped_here = state.exact;
    const auto go_on = step_from(state);
    if (!go_on) {
      stack.end_reason = go_on.error().message;
      if (!stack.frames.empty()) scan(VirtAddr{sp}, stack);
      return;
    }
    // The first function of a thread returns to nowhere; below it is nothing but the end.
    if (!*go_on || state.pc() == 0) {
      stack.complete = true;
      return;
    }
    // Only a leaf of an ARM64 has nothing on the stack, and it calls nobody.
    if (!state.exact && (state.sp() < sp || (state.sp() == sp && !stopped_here))) {
      stack.end_reason = "the stack does not go on at " + hex(state.sp());
      return;
    }
    const VirtAddr at{state.pc()};
    if (!is_kernel_address(at.value)) {  // user mode, after a machine frame
      stack.complete = state.exact;
      if (!state.exact)
        stack.end_reason = "a return address is not a kernel address: " + hex(at.value);
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

Stack Unwinder::from_cpu(const Cpu& cpu) const {
  Stack stack;
  const auto begin = [&](auto state, bool user_mode) {
    stack.frames.push_back(
        {VirtAddr{state.pc()}, VirtAddr{state.pc()}, VirtAddr{state.sp()}, true, true});
    if (user_mode) stack.complete = true;
    else unwind(state, stack);
  };
  if (cpu.arm64) {
    constexpr std::uint32_t kExceptionLevel = 0xc;  // PSTATE.EL: 0 is user mode
    Arm64State state;
    state.registers = *cpu.arm64;
    begin(state, (cpu.arm64->pstate & kExceptionLevel) == 0);
  } else if (const Registers* registers = cpu.best(); registers && !registers->knows(Reg::kRip)) {
    stack.end_reason = "rip is not known";
  } else if (registers) {
    X64State state;
    for (std::size_t i = 0; i < kInstructionOrder.size(); ++i)
      state.general[i] = (*registers)[kInstructionOrder[i]];
    state.rip = (*registers)[Reg::kRip];
    begin(state, ((*registers)[Reg::kCs] & 3) != 0);
  } else {
    stack.end_reason = "the dump holds no registers of this CPU";
  }
  return stack;
}

Stack Unwinder::from_stack(VirtAddr kernel_stack) const {
  Stack stack;
  // KSWITCH_FRAME: home space for four registers, the IRQL, then rbp and the return address into
  // the function that switches.
  constexpr std::uint64_t kSavedRbp = 0x30, kReturn = 0x38;
  if (!modules_.empty() && modules_.front().pe && modules_.front().pe->machine() != kMachineAmd64) {
    stack.end_reason = "what a thread that waits leaves is known of x64 systems only";
    scan(kernel_stack, stack);
    return stack;
  }
  const auto rbp = space_.read_u64(kernel_stack + kSavedRbp);
  const auto rip = space_.read_u64(kernel_stack + kReturn);
  if (!rbp || !rip || !module_at(modules_, VirtAddr{*rip})) {
    stack.end_reason = "no saved context is where the thread says";
    scan(kernel_stack, stack);
    return stack;
  }
  X64State state;
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
