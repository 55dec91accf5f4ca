// Microsoft's "ARM64 exception handling": unwind codes, one for each instruction of a prolog, in
// the order that undoes them. A function of the usual form has its data packed in one word, from
// which the codes follow.
#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "base/text.h"
#include "guest/windows/function_table.h"
#include "guest/windows/unwind_steps.h"

namespace hvd::windows {
namespace {

constexpr unsigned kFp = 29, kLr = 30;
// Unwind codes of one byte.
constexpr std::uint8_t kSetFp = 0xe1, kNop = 0xe3, kEnd = 0xe4, kEndChained = 0xe5,
                       kSaveNext = 0xe6, kTrapFrame = 0xe8, kMachineFrame = 0xe9, kNotACall = 0xec,
                       kSignReturn = 0xfc;

// The bytes of one code, and zeros behind them: at most 5, of a reserved one.
using Code = std::array<std::uint8_t, 5>;

struct Epilog {
  std::uint32_t begin = 0;  // in instructions from the function's first
  std::size_t code = 0;     // its first one in the codes
};

struct Unwinding {
  std::vector<std::uint8_t> codes;
  bool has_prolog = true;
  std::vector<Epilog> epilogs;
};

// 0 for a code that is not known.
std::size_t size_of_code(std::uint8_t first) {
  if (first < 0xc0) return 1;
  if (first < 0xdf) return 2;
  switch (first) {
    case 0xe0: return 4;  // alloc_l
    case 0xe2: return 2;  // add_fp
    case 0xe7: return 3;  // save_any_reg
    case kSetFp:
    case kNop:
    case kEnd:
    case kEndChained:
    case kSaveNext:
    case kTrapFrame:
    case kMachineFrame:
    case 0xea:  // context
    case 0xeb:  // EC context
    case kNotACall:
    case kSignReturn:
    case 0xfd:
    case 0xfe:
    case 0xff: return 1;
    default: break;
  }
  // Reserved, for instructions that do nothing to be undone: of 2 bytes to 5.
  if (first >= 0xf8 && first <= 0xfb) return first - 0xf6u;
  return 0;
}

// What the kernel's own assembly marks stands for no instruction.
bool is_mark(std::uint8_t code) { return code >= kTrapFrame && code <= kNotACall; }

bool is_end(std::uint8_t code) { return code == kEnd || code == kEndChained; }

// How many instructions the codes from `at` on to their end stand for.
std::uint32_t instructions(const std::vector<std::uint8_t>& codes, std::size_t at) {
  std::uint32_t count = 0;
  while (at < codes.size() && !is_end(codes[at])) {
    const std::size_t size = size_of_code(codes[at]);
    if (size == 0) break;
    count += is_mark(codes[at]) ? 0 : 1;
    at += size;
  }
  return count;
}

// Writes codes in the order that undoes a prolog.
class CodeWriter {
 public:
  void one(std::uint8_t code) { codes_.push_back(code); }
  void two(std::uint32_t code) {
    codes_.push_back(static_cast<std::uint8_t>(code >> 8));
    codes_.push_back(static_cast<std::uint8_t>(code));
  }
  void allocate(std::uint32_t bytes) {
    if (bytes / 16 < 32) one(static_cast<std::uint8_t>(bytes / 16));
    else two(0xc000 | bytes / 16);
  }
  std::vector<std::uint8_t> take() {
    one(kEnd);
    return std::move(codes_);
  }

 private:
  std::vector<std::uint8_t> codes_;
};

// What a packed word stands for; `whole` codes for the prolog, else those of the epilog, which does
// not repeat all of it.
std::vector<std::uint8_t> packed_codes(std::uint32_t word, bool prolog) {
  const std::uint32_t reg_f = word >> 13 & 7, reg_i = word >> 16 & 15, home = word >> 20 & 1,
                      chain = word >> 21 & 3, frame = (word >> 23) * 16;
  const bool saves_lr = chain == 1, chained = chain >= 2;
  const std::uint32_t ints = reg_i * 8 + (saves_lr ? 8 : 0), floats = reg_f ? reg_f * 8 + 8 : 0;
  // Without other registers the parameters' homes are among the locals.
  const bool homes = home != 0 && ints + floats > 0;
  const std::uint32_t saved = (ints + floats + (homes ? 64u : 0u) + 15) / 16 * 16;
  const std::uint32_t local = frame > saved ? frame - saved : 0;
  CodeWriter out;
  if (chained) {
    if (prolog) out.one(kSetFp);
    if (local <= 512) {
      out.one(static_cast<std::uint8_t>(0x80 | (std::max(local, 16u) / 8 - 1)));  // save_fplr_x
    } else {
      out.one(0x40);  // save_fplr at the bottom
      if (local > 4080) out.allocate(local - 4080);
      out.allocate(std::min(local, 4080u));
    }
  } else if (local > 0) {
    if (local > 4080) out.allocate(local - 4080);
    out.allocate(std::min(local, 4080u));
  }
  // The instruction that saves first also makes the room; z counts words of 8 bytes.
  const std::uint32_t room = saved / 8;
  const std::uint32_t float_count = reg_f ? reg_f + 1 : 0;
  const bool ints_first = ints > 0;
  if (homes && prolog)
    for (int i = 0; i < 4; ++i) out.one(kNop);
  for (std::uint32_t i = (float_count + 1) / 2; i-- > 0;) {
    const bool pair = i * 2 + 1 < float_count, first = i == 0 && !ints_first;
    const std::uint32_t at = ints / 8 + i * 2;
    if (first) out.two((pair ? 0xda00u : 0xde00u) | (room - 1));
    else out.two(pair ? 0xd800u | i * 2 << 6 | at : 0xdc00u | i * 2 << 6 | at);
  }

  if (saves_lr && reg_i == 1) {
    out.two(0xd600);  // save_lrpair x19, lr at the bottom
    out.allocate(saved);
  } else {
    if (saves_lr && reg_i % 2 == 1) out.two(0xd600 | (reg_i / 2) << 6 | (reg_i - 1));
    if (saves_lr && reg_i % 2 == 0 && reg_i > 0) out.two(0xd000 | (kLr - 19) << 6 | reg_i);
    if (!saves_lr && reg_i % 2 == 1 && reg_i > 1) out.two(0xd000 | (reg_i - 1) << 6 | (reg_i - 1));
    for (std::uint32_t i = reg_i / 2; i-- > 1;) out.two(0xc800 | i * 2 << 6 | i * 2);
    if (reg_i >= 2) out.two(0xcc00 | (room - 1));                       // save_regp_x x19
    else if (reg_i == 1) out.two(0xd400 | (room - 1));                  // save_reg_x x19
    else if (saves_lr) out.two(0xd400 | (kLr - 19) << 5 | (room - 1));  // save_reg_x lr
  }
  if (chain == 2) out.one(kSignReturn);
  return out.take();
}

Unwinding unpack(const Function& function) {
  Unwinding out;
  const std::uint32_t word = function.info;
  out.codes = packed_codes(word, true);
  // 2: a part of a function that has neither.
  if ((word & 3) != 1) {
    out.has_prolog = false;
    return out;
  }
  const std::vector<std::uint8_t> epilog = packed_codes(word, false);
  const std::uint32_t length = (function.end - function.begin) / 4;
  const std::uint32_t size = instructions(epilog, 0) + 1;  // and the return
  if (size <= length) out.epilogs.push_back({length - size, out.codes.size()});
  out.codes.insert(out.codes.end(), epilog.begin(), epilog.end());
  return out;
}

// `done`: instructions of the function that have run, when it stopped in it; only then an epilog
// matters.
Result<Unwinding> read_unwinding(const AddressSpace& space, const PeImage& image,
                                 const Function& function, std::optional<std::uint32_t> done) {
  if ((function.info & 3) != 0) return unpack(function);
  Unwinding out;
  VirtAddr at = image.base() + function.info;
  const std::uint64_t head = HVD_TRY(space.read_u32(at));
  at = at + 4;
  if ((head >> 18 & 3) != 0)
    return Error{ErrorCode::kCorrupt, "unwind data of a new version at " + hex((at - 4).value)};
  const bool in_header = (head >> 21 & 1) != 0;
  std::uint64_t epilogs = head >> 22 & 0x1f, words = head >> 27;
  if (epilogs == 0 && words == 0) {
    const std::uint64_t more = HVD_TRY(space.read_u32(at));
    at = at + 4;
    epilogs = more & 0xffff, words = more >> 16 & 0xff;
  }
  if (!in_header) {
    // In the order of their places: the last that begins at `done` or before is the one.
    Bytes scopes;
    if (done) scopes = HVD_TRY(space.read_bytes(at, static_cast<std::size_t>(epilogs * 4)));
    for (std::size_t i = 0; i + 4 <= scopes.size(); i += 4) {
      le32 word;
      std::memcpy(&word, scopes.data() + i, sizeof word);
      const std::uint32_t scope = word;
      if ((scope & 0x3ffff) > *done) break;
      out.epilogs = {{scope & 0x3ffff, scope >> 22}};
    }
    at = at + epilogs * 4;
  }
  const Bytes codes = HVD_TRY(space.read_bytes(at, static_cast<std::size_t>(words * 4)));
  for (const std::byte code : codes) out.codes.push_back(std::to_integer<std::uint8_t>(code));
  if (in_header && epilogs < out.codes.size()) {
    // The only one, at the end; the count is its first code.
    const auto code = static_cast<std::size_t>(epilogs);
    const std::uint32_t length = (function.end - function.begin) / 4;
    const std::uint32_t size = instructions(out.codes, code) + 1;
    if (size <= length) out.epilogs.push_back({length - size, code});
  }
  return out;
}

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
