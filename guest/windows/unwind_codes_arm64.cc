#include "guest/windows/unwind_codes_arm64.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"

namespace hvd::windows::arm64 {

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

bool is_mark(std::uint8_t code) { return code >= kTrapFrame && code <= kNotACall; }

bool is_end(std::uint8_t code) { return code == kEnd || code == kEndChained; }

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

namespace {

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

}  // namespace

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

}  // namespace hvd::windows::arm64
