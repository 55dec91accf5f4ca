// One step of unwinding an ARM64 stack: undoes what a function's prolog did.
#include <algorithm>
#include <optional>
#include <vector>

#include "base/text.h"
#include "guest/windows/unwind_codes_arm64.h"
#include "guest/windows/unwind_steps.h"

namespace hvd::windows {
namespace {

using namespace arm64;

// Pointer authentication keeps a signature in the bits that no address has.
std::uint64_t without_signature(std::uint64_t address) {
  constexpr std::uint64_t kUpper = std::uint64_t{0xffff} << 48;
  return (address >> 55 & 1) != 0 ? address | kUpper : address & ~kUpper;
}

class Undoing {
 public:
  Undoing(const AddressSpace& space, Arm64Registers& registers) : space_(space), r_(registers) {}

  bool at_machine_frame() const { return machine_frame_; }
  /// Whether the caller stopped where it is, rather than having called.
  bool exact() const { return machine_frame_ || not_a_call_; }

  // The effect of one code.
  Result<void> undo(const Code& code) {
    const unsigned first = code[0], two = first << 8 | code[1];
    // Offsets and sizes count in words of 8 bytes; where the stack pointer moves, from 1 on.
    const auto words = [](unsigned count) { return std::uint64_t{count} * 8; };
    const unsigned reg = 19 + (two >> 6 & 15), short_z = first & 63, z = two & 63, z5 = two & 31;
    if (first < 0x20) r_.sp += words(2 * first);                             // alloc_s
    else if (first < 0x40) HVD_TRY(restore_pair(19, 0, words(first & 31)));  // save_r19r20_x
    else if (first < 0x80) HVD_TRY(restore_frame(words(short_z), 0));        // save_fplr
    else if (first < 0xc0) HVD_TRY(restore_frame(0, words(short_z + 1)));    // save_fplr_x
    else if (first < 0xc8) r_.sp += words(2 * (two & 0x7ff));                // alloc_m
    else if (first < 0xcc) HVD_TRY(restore_pair(reg, words(z), 0));          // save_regp
    else if (first < 0xd0) HVD_TRY(restore_pair(reg, 0, words(z + 1)));      // save_regp_x
    else if (first < 0xd4) HVD_TRY(restore(reg, words(z)));                  // save_reg
    else if (first < 0xd6) HVD_TRY(restore(19 + (two >> 5 & 15), 0, words(z5 + 1)));  // save_reg_x
    else if (first < 0xd8) HVD_TRY(restore_with_lr(19 + 2 * (two >> 6 & 7), words(z)));
    else if (first < 0xda) pending_ = 0;                         // save_fregp
    else if (first < 0xdc) r_.sp += words(z + 1), pending_ = 0;  // save_fregp_x
    else if (first < 0xde) return {};                            // save_freg
    else if (first == 0xde) r_.sp += words(z5 + 1);              // save_freg_x
    else HVD_TRY(undo_special(code));
    return {};
  }

 private:
  Result<void> undo_special(const Code& code) {
    switch (code[0]) {
      case 0xe0:
        r_.sp += (std::uint64_t{code[1]} << 16 | std::uint64_t{code[2]} << 8 | code[3]) * 16;
        break;
      case kSetFp: r_.sp = r_.x[kFp]; break;
      case 0xe2: r_.sp = r_.x[kFp] - std::uint64_t{code[1]} * 8; break;
      case kNop:
      case kEnd:
      case kEndChained:
      case 0xf8:
      case 0xf9:
      case 0xfa:
      case 0xfb:
      case 0xfd:
      case 0xfe:
      case 0xff: break;
      case kNotACall: not_a_call_ = true; break;
      case kTrapFrame: return undo_trap_frame();
      case kSaveNext: ++pending_; break;
      case 0xe7: HVD_TRY(undo_any_register(code)); break;
      case kMachineFrame:
        r_.pc = HVD_TRY(space_.read_u64(VirtAddr{r_.sp} + 8));
        r_.sp = HVD_TRY(space_.read_u64(VirtAddr{r_.sp}));
        machine_frame_ = true;
        break;
      case kSignReturn: r_.x[kLr] = without_signature(r_.x[kLr]); break;
      default:
        return Error{ErrorCode::kUnsupported,
                     "a context on the stack (unwind code " + hex(code[0]) + ")"};
    }
    return {};
  }

  // KTRAP_FRAME: what an exception saved of what it interrupted.
  Result<void> undo_trap_frame() {
    struct Frame {
      unsigned char before[0x98];
      le64 sp, x[19], lr, fp, pc;
    };
    static_assert(offsetof(Frame, pc) == 0x148);
    const auto frame = HVD_TRY(space_.read<Frame>(VirtAddr{r_.sp}));
    for (std::size_t i = 0; i < std::size(frame.x); ++i) r_.x[i] = frame.x[i];
    r_.x[kFp] = frame.fp, r_.x[kLr] = frame.lr, r_.sp = frame.sp, r_.pc = frame.pc;
    machine_frame_ = true;
    return {};
  }

  // save_any_reg: 0pxrrrrr ffoooooo.
  Result<void> undo_any_register(const Code& code) {
    const bool pair = (code[1] & 0x40) != 0, moves = (code[1] & 0x20) != 0;
    const unsigned reg = code[1] & 31, file = code[2] >> 6, step = code[2] & 63;
    const std::uint64_t at = moves ? 0 : step * std::uint64_t{pair || file == 2 ? 16u : 8u};
    if (file == 0 && reg <= kLr) {
      r_.x[reg] = HVD_TRY(space_.read_u64(VirtAddr{r_.sp} + at));
      if (pair && reg < kLr) r_.x[reg + 1] = HVD_TRY(space_.read_u64(VirtAddr{r_.sp} + at + 8));
    }
    if (moves) r_.sp += (step + std::uint64_t{1}) * 16;
    pending_ = 0;
    return {};
  }

  Result<void> restore(unsigned reg, std::uint64_t at, std::uint64_t then_up = 0) {
    if (reg <= kLr) r_.x[reg] = HVD_TRY(space_.read_u64(VirtAddr{r_.sp} + at));
    r_.sp += then_up;
    return {};
  }

  // And as many of the pairs behind it as save_next has said.
  Result<void> restore_pair(unsigned reg, std::uint64_t at, std::uint64_t then_up) {
    for (unsigned pair = 0; pair <= pending_; ++pair) {
      HVD_TRY(restore(reg + 2 * pair, at + std::uint64_t{16} * pair));
      HVD_TRY(restore(reg + 2 * pair + 1, at + std::uint64_t{16} * pair + 8));
    }
    pending_ = 0;
    r_.sp += then_up;
    return {};
  }

  Result<void> restore_with_lr(unsigned reg, std::uint64_t at) {
    HVD_TRY(restore(reg, at));
    return restore(kLr, at + 8);
  }

  Result<void> restore_frame(std::uint64_t at, std::uint64_t then_up) {
    HVD_TRY(restore(kFp, at));
    return restore(kLr, at + 8, then_up);
  }

  const AddressSpace& space_;
  Arm64Registers& r_;
  unsigned pending_ = 0;
  bool machine_frame_ = false, not_a_call_ = false;
};

// The codes to run from `at` on after `skip` instructions of theirs, whose effect is not there yet
// (a prolog) or not there any more (an epilog).
Result<void> run(Undoing& undoing, const std::vector<std::uint8_t>& codes, std::size_t at,
                 std::uint32_t skip) {
  while (at < codes.size() && codes[at] != kEnd) {
    const std::size_t size = size_of_code(codes[at]);
    if (size == 0 || at + size > codes.size())
      return Error{ErrorCode::kCorrupt, "an unknown unwind code " + hex(codes[at])};
    Code code{};
    std::copy_n(codes.begin() + static_cast<std::ptrdiff_t>(at), size, code.begin());
    at += size;
    if (skip > 0 && !is_end(code[0]) && !is_mark(code[0])) {
      --skip;
      continue;
    }
    HVD_TRY(undoing.undo(code));
    if (undoing.at_machine_frame()) break;
  }
  return {};
}

}  // namespace

Result<bool> step(const AddressSpace& space, const PeImage& image, Arm64State& state) {
  Arm64Registers& registers = state.registers;
  const VirtAddr at{state.exact ? registers.pc : registers.pc - 4};
  const auto rva = static_cast<std::uint32_t>(at - image.base());
  const auto function = HVD_TRY(find_function(space, image, rva));
  if (!function) {
    // A function that calls another has unwind data.
    if (!state.exact)
      return Error{ErrorCode::kNotFound, "no unwind data is there for " + hex(at.value)};
    registers.pc = without_signature(registers.x[kLr]);
    state.exact = false;
    return true;
  }
  const std::uint32_t done = (rva - function->begin) / 4;
  const Unwinding unwinding = HVD_TRY(read_unwinding(
      space, image, *function, state.exact ? std::optional(done) : std::optional<std::uint32_t>()));
  std::size_t code = 0;
  std::uint32_t skip = 0;
  if (state.exact) {
    const std::uint32_t prolog = unwinding.has_prolog ? instructions(unwinding.codes, 0) : 0;
    if (done < prolog) skip = prolog - done;
    for (const Epilog& epilog : unwinding.epilogs) {
      if (epilog.code >= unwinding.codes.size() || done < epilog.begin) continue;
      const std::uint32_t into = done - epilog.begin;
      if (into > instructions(unwinding.codes, epilog.code)) continue;
      code = epilog.code, skip = into;
    }
  }
  Undoing undoing(space, registers);
  HVD_TRY(run(undoing, unwinding.codes, code, skip));
  state.exact = undoing.exact();
  if (!undoing.at_machine_frame()) registers.pc = without_signature(registers.x[kLr]);
  return true;
}

}  // namespace hvd::windows
