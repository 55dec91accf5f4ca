#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "guest/windows/function_table.h"
#include "guest/windows/unwind_steps.h"

namespace hvd::windows {
namespace {

constexpr unsigned kRsp = 4;

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

// UNWIND_INFO: what one function's prolog does, as slots of two bytes.
struct UnwindInfo {
  unsigned version = 0, prolog = 0, count = 0, frame = 0, frame_offset = 0;
  Bytes codes;

  unsigned slot(unsigned i) const {
    return i < count ? std::to_integer<unsigned>(codes[std::size_t{2} * i]) |
                           std::to_integer<unsigned>(codes[std::size_t{2} * i + 1]) << 8
                     : 0;
  }
  std::uint64_t wide_slot(unsigned i) const { return slot(i) | std::uint64_t{slot(i + 1)} << 16; }
  std::uint64_t frame_bytes() const { return frame_offset * std::uint64_t{16}; }
};

Result<UnwindInfo> read_unwind_info(const AddressSpace& space, VirtAddr at) {
  const std::uint64_t head = HVD_TRY(space.read_u32(at));
  UnwindInfo info;
  info.version = head & 7, info.prolog = head >> 8 & 0xff, info.count = head >> 16 & 0xff;
  info.frame = head >> 24 & 0xf, info.frame_offset = static_cast<unsigned>(head >> 28);
  if (info.version != 1 && info.version != 2)
    return Error{ErrorCode::kCorrupt,
                 "unwind data of version " + std::to_string(info.version) + " at " + hex(at.value)};
  info.codes = HVD_TRY(space.read_bytes(at + 4, info.count * std::size_t{2}));
  return info;
}

// One operation of a prolog, at slot `i`.
struct Operation {
  explicit Operation(unsigned code)
      : where(code & 0xff), op(static_cast<Op>(code >> 8 & 0xf)), details(code >> 12) {}
  unsigned where;  // bytes of the function up to the end of its instruction
  Op op;
  unsigned details;

  /// How many slots it takes; 0 for one that is not known.
  unsigned slots(unsigned version) const {
    switch (op) {
      case Op::kPushNonvolatile:
      case Op::kAllocSmall:
      case Op::kSetFrame:
      case Op::kMachineFrame: return 1;
      case Op::kAllocLarge: return details == 0 ? 2 : 3;
      case Op::kSaveNonvolatile:
      case Op::kSaveXmm: return 2;
      case Op::kSaveNonvolatileFar:
      case Op::kSaveXmmFar:
      case Op::kSpare: return 3;
      case Op::kEpilog: return version == 1 ? 2 : 1;
    }
    return 0;
  }
};

// `base`: what saved registers are addressed from.
Result<void> undo_operation(const AddressSpace& space, const UnwindInfo& info, unsigned i,
                            std::uint64_t base, X64State& state, bool& machine_frame) {
  const Operation operation(info.slot(i));
  const unsigned details = operation.details;
  switch (operation.op) {
    case Op::kPushNonvolatile:
      state.general[details] = HVD_TRY(space.read_u64(VirtAddr{state.sp()}));
      state.sp() += 8;
      break;
    case Op::kAllocLarge:
      state.sp() += details == 0 ? info.slot(i + 1) * std::uint64_t{8} : info.wide_slot(i + 1);
      break;
    case Op::kAllocSmall: state.sp() += details * std::uint64_t{8} + 8; break;
    case Op::kSetFrame: state.sp() = state.general[info.frame] - info.frame_bytes(); break;
    case Op::kSaveNonvolatile:
      state.general[details] =
          HVD_TRY(space.read_u64(VirtAddr{base + info.slot(i + 1) * std::uint64_t{8}}));
      break;
    case Op::kSaveNonvolatileFar:
      state.general[details] = HVD_TRY(space.read_u64(VirtAddr{base + info.wide_slot(i + 1)}));
      break;
    case Op::kMachineFrame: {
      const VirtAddr saved = VirtAddr{state.sp()} + (details != 0 ? 8u : 0u);
      state.rip = HVD_TRY(space.read_u64(saved));
      state.sp() = HVD_TRY(space.read_u64(saved + 24));
      machine_frame = true;
      break;
    }
    case Op::kEpilog:
    case Op::kSpare:
    case Op::kSaveXmm:
    case Op::kSaveXmmFar: break;  // nothing that a stack needs
  }
  return {};
}

// Whether the instruction that sets the frame register has run.
bool frame_is_set(const UnwindInfo& info, std::uint32_t done) {
  for (unsigned i = 0; i < info.count; ++i) {
    // Only the operation's own slot counts; a look at what follows it does no harm here.
    const Operation operation(info.slot(i));
    if (operation.op == Op::kSetFrame && operation.where <= done) return true;
  }
  return false;
}

Result<void> undo_prolog(const AddressSpace& space, const PeImage& image, X64State& state,
                         const Function& function, std::uint32_t rva, bool& machine_frame) {
  std::uint32_t place = function.info;
  const std::uint32_t done = rva - function.begin;  // bytes of the function that have run
  for (int chain = 0; chain < kMaxChained; ++chain) {
    const VirtAddr at = image.base() + place;
    const UnwindInfo info = HVD_TRY(read_unwind_info(space, at));
    // In a part of a function that is chained the whole prolog of the others has run.
    const bool in_prolog = chain == 0 && done < info.prolog;
    std::uint64_t base = state.sp();
    if (info.frame != 0 && (!in_prolog || frame_is_set(info, done)))
      base = state.general[info.frame] - info.frame_bytes();
    for (unsigned i = 0; i < info.count;) {
      const Operation operation(info.slot(i));
      const unsigned slots = operation.slots(info.version);
      if (slots == 0)
        return Error{ErrorCode::kCorrupt, "an unknown unwind operation at " + hex(at.value)};
      if (!in_prolog || operation.where <= done)
        HVD_TRY(undo_operation(space, info, i, base, state, machine_frame));
      i += slots;
    }
    const auto chained = HVD_TRY(chained_function(space, image, place));
    if (!chained) return {};
    place = chained->info;
  }
  return Error{ErrorCode::kCorrupt, "unwind data chained without an end"};
}

// An epilog has a fixed form: add rsp or lea rsp, pops, and a return or a jump out of the function.
// When the code from here on is one, running it is unwinding.
bool undo_epilog(const AddressSpace& space, const PeImage& image, X64State& state,
                 const Function& function) {
  X64State next = state;
  const Bytes code = space.read_up_to(VirtAddr{state.rip}, 64);
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
    const auto value = space.read_u64(VirtAddr{next.sp()});
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
    const std::uint64_t offset = target - image.base().value;
    ends = offset < function.begin || offset >= function.end;
  }
  if (!ends && byte(0) == 0x48 && byte(1) == 0xff && (byte(2) & 0x38) == 0x20) ends = true;  // jmp
  if (!ends) return false;
  const auto rip = space.read_u64(VirtAddr{next.sp()});
  if (!rip) return false;
  next.rip = *rip;
  next.sp() += 8;
  state = next;
  return true;
}

}  // namespace

Result<bool> step(const AddressSpace& space, const PeImage& image, X64State& state) {
  const VirtAddr at{state.exact ? state.rip : state.rip - 1};
  const auto rva = static_cast<std::uint32_t>(at - image.base());
  const auto function = HVD_TRY(find_function(space, image, rva));
  const bool was_exact = state.exact;
  state.exact = false;
  bool machine_frame = false;
  if (function) {
    if (was_exact && undo_epilog(space, image, state, *function)) return true;
    HVD_TRY(undo_prolog(space, image, state, *function, rva, machine_frame));
  } else if (!was_exact) {
    // A function that calls another has unwind data.
    return Error{ErrorCode::kNotFound, "no unwind data is there for " + hex(at.value)};
  }
  if (machine_frame) {
    state.exact = true;
    return true;
  }
  state.rip = HVD_TRY(space.read_u64(VirtAddr{state.sp()}));
  state.sp() += 8;
  return true;
}

}  // namespace hvd::windows
