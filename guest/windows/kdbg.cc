// The encoding, word by word (as elf2dmp and others have it):
//
//   plain = swap(rotl(word ^ Never, Never & 0xff) ^ Encoded) ^ Always
//
// with two random words, KiWaitNever and KiWaitAlways, and the address of KdpDataBlockEncoded.
// Rotation and byte swap pass through exclusive or, so that this is
//
//   plain = swap(rotl(word, n)) ^ Key,   Key = swap(rotl(Never, n) ^ Encoded) ^ Always
//
// with one key for all words and n = Never mod 64. Two words of the block are known: its tag with
// the size, and the kernel's base. Their exclusive or rids the equation of the key, so for each n a
// place in the kernel's data either fits or does not, and where it fits the key follows. A word has
// 2^64 values: nothing fits by chance.
#include "guest/windows/kdbg.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "base/text.h"

namespace hvd::windows {
namespace {

constexpr std::uint32_t kTag = 0x4742444b;  // "KDBG"
constexpr std::size_t kTagAt = 0x10, kBaseAt = 0x18;
// From Windows Server 2003 on x64 to what may still come.
constexpr std::uint32_t kLeastSize = 0x300, kMostSize = 0x800;
constexpr std::size_t kMostSectionBytes = 64u << 20;

std::uint64_t word_at(ByteView bytes, std::size_t at) {
  le64 value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

std::uint64_t swap(std::uint64_t x) { return __builtin_bswap64(x); }

struct Decoding {
  int rotation = 0;
  std::uint64_t key = 0;
  std::uint64_t operator()(std::uint64_t word) const {
    return swap(std::rotl(word, rotation)) ^ key;
  }
  Bytes operator()(ByteView block) const {
    Bytes out(block.begin(), block.end());
    for (std::size_t at = 0; at + 8 <= out.size(); at += 8) {
      const le64 plain = (*this)(word_at(block, at));
      std::memcpy(out.data() + at, &plain, sizeof plain);
    }
    return out;
  }
};

std::uint64_t tag_of(std::uint32_t size) { return std::uint64_t{size} << 32 | kTag; }

// `block` begins at least kLeastSize bytes before the end of what is known.
std::optional<std::pair<Decoding, std::uint32_t>> try_encoded(ByteView block, VirtAddr base) {
  // Both list pointers of the block lead to the same head: nearly every place fails here.
  if (word_at(block, 0) != word_at(block, 8) || word_at(block, 0) == 0) return std::nullopt;
  const std::uint64_t tag = word_at(block, kTagAt), kernel = word_at(block, kBaseAt);
  for (int n = 0; n < 64; ++n) {
    const std::uint64_t both = swap(std::rotl(tag ^ kernel, n));
    const std::uint64_t plain_tag = both ^ base.value;
    const auto size = static_cast<std::uint32_t>(plain_tag >> 32);
    if (static_cast<std::uint32_t>(plain_tag) != kTag || size < kLeastSize || size > kMostSize)
      continue;
    return std::pair{Decoding{n, swap(std::rotl(tag, n)) ^ tag_of(size)}, size};
  }
  return std::nullopt;
}

Result<Decoding> keys_from(const AddressSpace& space, const SymbolAddress& symbols) {
  if (!symbols) return Error{ErrorCode::kNotFound, "there are no symbols of the kernel"};
  const VirtAddr never_at = HVD_TRY(symbols("KiWaitNever"));
  const VirtAddr always_at = HVD_TRY(symbols("KiWaitAlways"));
  const VirtAddr encoded_at = HVD_TRY(symbols("KdpDataBlockEncoded"));
  const std::uint64_t never = HVD_TRY(space.read_u64(never_at));
  const std::uint64_t always = HVD_TRY(space.read_u64(always_at));
  const int n = static_cast<int>(never % 64);
  return Decoding{n, swap(std::rotl(never, n) ^ encoded_at.value) ^ always};
}

// In the clear, or encoded with what `decoding` says.
Result<FoundDebuggerData> at_place(const AddressSpace& space, const PeImage& kernel, VirtAddr at,
                                   const Decoding* decoding, std::string how) {
  std::uint64_t tag = HVD_TRY(space.read_u64(at + kTagAt));
  if (decoding) tag = (*decoding)(tag);
  const auto size = static_cast<std::uint32_t>(tag >> 32);
  if (static_cast<std::uint32_t>(tag) != kTag || size < kLeastSize || size > kMostSize)
    return Error{ErrorCode::kNotFound, "no debugger data block at " + hex(at.value)};
  Bytes block = HVD_TRY(space.read_bytes(at, size));
  if (decoding) block = (*decoding)(block);
  DebuggerData data = HVD_TRY(DebuggerData::parse(std::move(block), kernel.base()));
  return FoundDebuggerData{at, decoding != nullptr, std::move(how), std::move(data)};
}

}  // namespace

VirtAddr DebuggerData::address(std::size_t at) const {
  return at + 8 <= bytes_.size() ? VirtAddr{word_at(bytes_, at)} : VirtAddr{};
}

std::uint16_t DebuggerData::offset(std::size_t at) const {
  if (at + 2 > bytes_.size()) return 0;
  le16 value;
  std::memcpy(&value, bytes_.data() + at, sizeof value);
  return value;
}

Result<DebuggerData> DebuggerData::parse(Bytes block, VirtAddr kernel_base) {
  const bool whole = block.size() >= kLeastSize &&
                     word_at(block, kTagAt) == tag_of(static_cast<std::uint32_t>(block.size()));
  if (!whole) return Error{ErrorCode::kCorrupt, "the debugger data block is not whole"};
  DebuggerData out(std::move(block));
  if (kernel_base.value != 0 && out.kernel_base() != kernel_base) {
    return Error{ErrorCode::kCorrupt, "the debugger data block is of a kernel at " +
                                          hex(out.kernel_base().value) + ", not at " +
                                          hex(kernel_base.value)};
  }
  return out;
}

Result<FoundDebuggerData> read_debugger_data(const AddressSpace& space, const PeImage& kernel,
                                             VirtAddr at, const SymbolAddress& symbols) {
  auto plain = at_place(space, kernel, at, nullptr, "in the clear at " + hex(at.value));
  if (plain) return plain;
  const auto keys = keys_from(space, symbols);
  if (!keys) return plain;
  return at_place(space, kernel, at, &*keys, "decoded with the kernel's symbols");
}

Result<FoundDebuggerData> search_debugger_data(const AddressSpace& space, const PeImage& kernel,
                                               const SymbolAddress& symbols) {
  if (symbols) {
    const auto at = symbols("KdDebuggerDataBlock");
    if (at) {
      auto found = read_debugger_data(space, kernel, *at, symbols);
      if (found) return found;
    }
  }
  for (const PeSection& section : kernel.sections()) {
    if (!section.writable || section.size > kMostSectionBytes) continue;
    const VirtAddr begin = kernel.base() + section.rva;
    // Pages that are not there read as zero: no block is in them.
    Bytes bytes(section.size);
    for (std::size_t at = 0; at < bytes.size(); at += kPageSize) {
      const std::size_t step = std::min<std::size_t>(kPageSize, bytes.size() - at);
      (void)space.read(begin + at, MutableBytes(bytes).subspan(at, step)).has_value();
    }
    for (std::size_t at = 0; at + kLeastSize <= bytes.size(); at += 8) {
      const ByteView block = ByteView(bytes).subspan(at);
      const std::uint64_t tag = word_at(block, kTagAt);
      if (static_cast<std::uint32_t>(tag) == kTag &&
          word_at(block, kBaseAt) == kernel.base().value) {
        auto found = at_place(space, kernel, begin + at, nullptr,
                              "in the clear, by a search of section " + printable(section.name));
        if (found) return found;
      }
      const auto encoded = try_encoded(block, kernel.base());
      if (!encoded) continue;
      auto found = at_place(space, kernel, begin + at, &encoded->first,
                            "decoded with a key derived from the block itself");
      if (found) return found;
    }
  }
  return Error{ErrorCode::kNotFound, "the kernel's data hold no debugger data block"};
}

}  // namespace hvd::windows
