#include "guest/linux/unwind.h"

#include <cstring>

#include "base/text.h"

namespace hvd::linux_guest {
namespace {

constexpr std::size_t kMaxFrames = 512;
constexpr std::size_t kMaxScanned = 16384 / 8;  // words of one kernel stack
constexpr std::size_t kMaxScannedFrames = 64;
constexpr std::size_t kCallBytes = 5;  // E8 and a 32-bit distance

// struct pt_regs (arch/x86/include/asm/ptrace.h): the hardware's part is fixed by the CPU, the rest
// by the entry code since v2.6.
constexpr std::uint64_t kPtRegsR13 = 16, kPtRegsBp = 32, kPtRegsR10 = 56, kPtRegsDx = 96,
                        kPtRegsDi = 112, kPtRegsIp = 128, kPtRegsCs = 136, kPtRegsSp = 152;
constexpr std::uint64_t kIretIp = 0, kIretCs = 8,
                        kIretSp = 24;  // relative to a partial frame, which begins at ip

VirtAddr sum(std::uint64_t base, std::int16_t offset) {
  return VirtAddr{base + static_cast<std::uint64_t>(std::int64_t{offset})};
}

}  // namespace

struct Unwinder::State {
  VirtAddr ip, sp;
  std::uint64_t bp = 0;
  std::optional<std::uint64_t> r10, r13, di, dx;  // known where full registers were saved
  bool exact_ip = true;  // ip is where execution stopped, not a return address
  bool user = false;
};

bool Unwinder::is_text(VirtAddr at) const { return symbols_.at(at).has_value(); }

Result<void> Unwinder::load_pt_regs(State& state, VirtAddr at) const {
  const VirtualMemory& memory = kernel_.memory();
  State next;
  next.ip = VirtAddr{HVD_TRY(memory.read_u64(at + kPtRegsIp))};
  next.sp = VirtAddr{HVD_TRY(memory.read_u64(at + kPtRegsSp))};
  next.bp = HVD_TRY(memory.read_u64(at + kPtRegsBp));
  next.r10 = HVD_TRY(memory.read_u64(at + kPtRegsR10));
  next.r13 = HVD_TRY(memory.read_u64(at + kPtRegsR13));
  next.dx = HVD_TRY(memory.read_u64(at + kPtRegsDx));
  next.di = HVD_TRY(memory.read_u64(at + kPtRegsDi));
  const std::uint64_t cs = HVD_TRY(memory.read_u64(at + kPtRegsCs));
  next.user = (cs & 3) == 3;
  state = next;
  return {};
}

// Where the caller's frame begins, which the entry gives from the registers of this one.
Result<VirtAddr> Unwinder::caller_sp(const OrcEntry& entry, const State& state) const {
  const VirtualMemory& memory = kernel_.memory();
  const auto known = [](std::optional<std::uint64_t> value,
                        const char* name) -> Result<std::uint64_t> {
    if (value) return *value;
    return Error{ErrorCode::kNotFound, std::string("the stack pointer was kept in ") + name +
                                           ", which is not known here"};
  };
  switch (entry.sp_base) {
    case OrcEntry::Base::kSp: return sum(state.sp.value, entry.sp_offset);
    case OrcEntry::Base::kBp: return sum(state.bp, entry.sp_offset);
    case OrcEntry::Base::kSpIndirect: {
      // The pointer lies at sp + offset, and the frame right behind the place it points to.
      const std::uint64_t pointer = HVD_TRY(memory.read_u64(state.sp));
      return sum(pointer, entry.sp_offset);
    }
    case OrcEntry::Base::kBpIndirect: {
      const std::uint64_t pointer = HVD_TRY(memory.read_u64(sum(state.bp, entry.sp_offset)));
      return VirtAddr{pointer};
    }
    case OrcEntry::Base::kR10: return VirtAddr{HVD_TRY(known(state.r10, "r10"))};
    case OrcEntry::Base::kR13: return VirtAddr{HVD_TRY(known(state.r13, "r13"))};
    case OrcEntry::Base::kDi: return VirtAddr{HVD_TRY(known(state.di, "rdi"))};
    case OrcEntry::Base::kDx: return VirtAddr{HVD_TRY(known(state.dx, "rdx"))};
    default: return Error{ErrorCode::kCorrupt, "an ORC entry names no stack pointer"};
  }
}

// One step, as unwind_next_frame does it. False when the stack ends well.
Result<bool> Unwinder::step(State& state) const {
  const VirtualMemory& memory = kernel_.memory();
  const VirtAddr lookup = state.exact_ip ? state.ip : state.ip - 1;
  const OrcEntry entry = HVD_TRY(orc_->find(lookup));
  if (entry.type == OrcEntry::Type::kEndOfStack) return false;
  if (entry.type == OrcEntry::Type::kUndefined) {
    return Error{ErrorCode::kNotFound,
                 "the code at " + hex(state.ip.value) + " has no unwind information"};
  }
  const VirtAddr sp = HVD_TRY(caller_sp(entry, state));
  const State previous = state;
  if (entry.type == OrcEntry::Type::kCall) {
    const std::uint64_t ip = HVD_TRY(memory.read_u64(sp - 8));
    state.ip = VirtAddr{ip};
    state.sp = sp;
    state.exact_ip = false;
    state.r10 = state.r13 = state.di = state.dx = std::nullopt;
  } else if (entry.type == OrcEntry::Type::kRegs) {
    HVD_TRY(load_pt_regs(state, sp));
    state.exact_ip = entry.signal;
    return true;  // its frame pointer came with it
  } else {
    state.ip = VirtAddr{HVD_TRY(memory.read_u64(sp + kIretIp))};
    state.sp = VirtAddr{HVD_TRY(memory.read_u64(sp + kIretSp))};
    const std::uint64_t cs = HVD_TRY(memory.read_u64(sp + kIretCs));
    state.user = (cs & 3) == 3;
    state.exact_ip = entry.signal;  // other registers stay as the last full set had them
  }
  switch (entry.bp_base) {
    case OrcEntry::Base::kUndefined: break;
    case OrcEntry::Base::kPrevSp:
      state.bp = HVD_TRY(memory.read_u64(sum(sp.value, entry.bp_offset)));
      break;
    case OrcEntry::Base::kBp:
      state.bp = HVD_TRY(memory.read_u64(sum(previous.bp, entry.bp_offset)));
      break;
    default: return Error{ErrorCode::kCorrupt, "an ORC entry names an unknown frame pointer"};
  }
  // A stack grows down: a caller's frame is above. Only saved registers may lead to another stack.
  if (entry.type == OrcEntry::Type::kCall && entry.sp_base != OrcEntry::Base::kSpIndirect &&
      entry.sp_base != OrcEntry::Base::kBpIndirect && state.sp <= previous.sp &&
      previous.sp.value - state.sp.value < 16384) {
    return Error{ErrorCode::kCorrupt, "the stack runs backwards at " + hex(previous.sp.value)};
  }
  return true;
}

// The caller of a function without unwind entries. The kernel has a few on purpose, and one of them
// is where the registers of a kdump vmcore were saved: __crash_kexec (STACK_FRAME_NON_STANDARD,
// kernel/kexec_core.c). The caller is the first return address on the stack that stands behind a
// direct call (E8, rel32) of just this function. False when there is none.
bool Unwinder::step_to_call(State& state) const {
  const VirtualMemory& memory = kernel_.memory();
  const VirtAddr lookup = state.exact_ip ? state.ip : state.ip - 1;
  const auto symbol = symbols_.at(lookup);
  if (!symbol) return false;
  const VirtAddr function = lookup - symbol->offset;
  VirtAddr at{state.sp.value & ~std::uint64_t{7}};
  for (std::size_t i = 0; i < kMaxScanned; ++i, at = at + 8) {
    const auto word = memory.read_u64(at);
    if (!word) return false;
    const VirtAddr back{*word};
    if (!is_text(back - 1)) continue;
    const auto call = memory.read_bytes(back - kCallBytes, kCallBytes);
    if (!call || (*call)[0] != std::byte{0xe8}) continue;
    le32 distance = 0;
    std::memcpy(&distance, call->data() + 1, sizeof distance);
    const auto offset = static_cast<std::int32_t>(std::uint32_t{distance});
    if (back + static_cast<std::uint64_t>(std::int64_t{offset}) != function) continue;
    state.ip = back;
    state.sp = at + 8;
    state.exact_ip = false;
    state.r10 = state.r13 = state.di = state.dx = std::nullopt;
    return true;
  }
  return false;
}

void Unwinder::unwind(State state, Stack& stack) const {
  // The first frame that was reached by such a call: what follows counts only if all of it leads to
  // the stack's end.
  std::optional<std::size_t> bridged;
  unwind(state, stack, bridged);
  if (!bridged || stack.complete) return;
  for (std::size_t i = *bridged; i < stack.frames.size(); ++i) stack.frames[i].reliable = false;
}

void Unwinder::unwind(State state, Stack& stack, std::optional<std::size_t>& bridged) const {
  while (stack.frames.size() < kMaxFrames) {
    if (state.user) {
      stack.complete = true;
      return;
    }
    if (state.ip.value == 0 || !is_text(state.exact_ip ? state.ip : state.ip - 1)) {
      stack.end_reason = "no code at " + hex(state.ip.value);
      // A call through a wild pointer: the caller is on top of the stack, as on a page fault at
      // that address.
      if (!stack.frames.empty() && !state.exact_ip) return;
      // Where execution stopped is known, whatever is there; a return address that is no code is
      // none.
      stack.frames.push_back({state.ip, state.ip, state.exact_ip, state.exact_ip});
      const auto caller = kernel_.memory().read_u64(state.sp);
      if (!caller || !is_text(VirtAddr{*caller - 1})) return scan(state.sp, stack);
      state.ip = VirtAddr{*caller};
      state.sp = state.sp + 8;
      state.exact_ip = false;
      stack.end_reason.clear();
      continue;
    }
    stack.frames.push_back({state.ip, state.exact_ip ? state.ip : state.ip - 1,
                            state.exact_ip && !stack.frames.empty(), true});
    if (!orc_) return scan(state.sp, stack);
    const VirtAddr sp = state.sp;
    const auto more = step(state);
    if (!more) {
      if (more.error().code == ErrorCode::kNotFound && step_to_call(state)) {
        if (!bridged) bridged = stack.frames.size();
        continue;
      }
      stack.end_reason = more.error().message;
      return scan(sp, stack);
    }
    if (!*more) {
      stack.complete = true;
      return;
    }
  }
  stack.end_reason = "more than " + std::to_string(kMaxFrames) + " frames";
}

// The last resort: every word of the rest of the stack page run that is a return address. Each may
// be stale.
void Unwinder::scan(VirtAddr sp, Stack& stack) const {
  std::size_t found = 0;
  VirtAddr at{sp.value & ~std::uint64_t{7}};
  for (std::size_t i = 0; i < kMaxScanned && found < kMaxScannedFrames; ++i, at = at + 8) {
    const auto word = kernel_.memory().read_u64(at);
    if (!word) return;
    const VirtAddr ip{*word};
    const auto symbol = symbols_.at(ip - 1);
    if (!symbol || symbol->name.empty()) continue;
    stack.frames.push_back({ip, ip - 1, false, false});
    ++found;
  }
}

Stack Unwinder::from_registers(const Registers& registers) const {
  if (!registers.knows(Reg::kRip)) {
    Stack stack;
    stack.end_reason = "rip is not known";
    return stack;
  }
  State state;
  state.ip = VirtAddr{registers[Reg::kRip]};
  state.sp = VirtAddr{registers[Reg::kRsp]};
  state.bp = registers[Reg::kRbp];
  state.r10 = registers.get(Reg::kR10);
  state.r13 = registers.get(Reg::kR13);
  state.di = registers.get(Reg::kRdi);
  state.dx = registers.get(Reg::kRdx);
  Stack stack;
  if ((registers[Reg::kCs] & 3) == 3) {
    stack.frames.push_back({state.ip, state.ip, false, true});
    stack.complete = true;
    return stack;
  }
  unwind(state, stack);
  return stack;
}

Stack Unwinder::from_sleeping(VirtAddr saved_sp) const {
  Stack stack;
  const auto start = [&]() -> Result<State> {
    // struct inactive_task_frame (arch/x86/include/asm/switch_to.h): what __switch_to_asm pushed;
    // bp and the return address stand last.
    const Types& types = *HVD_TRY(kernel_.need_types());
    const Member bp = HVD_TRY(types.member("inactive_task_frame", "bp"));
    const Member ret = HVD_TRY(types.member("inactive_task_frame", "ret_addr"));
    State state;
    state.bp = HVD_TRY(kernel_.field(saved_sp, bp));
    state.ip = VirtAddr{HVD_TRY(kernel_.field(saved_sp, ret))};
    state.sp = saved_sp + ret.offset + 8;
    state.exact_ip = false;
    return state;
  };
  const auto state = start();
  if (!state) {
    stack.end_reason = state.error().message;
    return stack;
  }
  unwind(*state, stack);
  return stack;
}

}  // namespace hvd::linux_guest
