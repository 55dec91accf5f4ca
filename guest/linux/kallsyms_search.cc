// scripts/kallsyms.c writes the tables one behind the other, each aligned to 8:
//
//   until v6.3:  offsets[count] relative_base num_syms names markers[] (seqs_of_names) token_table
//   token_index since v6.4:  num_syms names markers[] token_table token_index offsets[count]
//   relative_base seqs_of_names
//                (commit 404bad70fcf7, "scripts/kallsyms: change the output order")
//
// The token index is what can be recognised: 256 offsets that step over 256 strings exactly.
// Everything else is found from it, by sizes that have to agree: markers[n] is the position of name
// 256 * n.
#include "guest/linux/kallsyms_search.h"

#include <algorithm>
#include <cstring>

namespace hvd::linux_guest {
namespace {

constexpr std::uint64_t kImageSpan = 1u << 30;  // KERNEL_IMAGE_SIZE
// The image is looked through by windows that overlap: a capture kernel has little memory. Tables
// of 250000 symbols fit the overlap; Debian has 150000.
constexpr std::uint64_t kWindow = 8u << 20, kWindowStep = 4u << 20;
constexpr std::size_t kTokens = 256;
constexpr std::size_t kMaxTokenTable = 16384;
constexpr std::uint64_t kNamesPerMarker = 256;
constexpr std::size_t kMaxBeforeTokens = 32u << 20;
constexpr std::size_t kMaxPlaces = 64;
constexpr std::uint32_t kMinSymbols = 257;  // two markers, to have something to compare with
constexpr std::uint32_t kMaxSymbols = 4u << 20;

struct Run {
  VirtAddr begin;
  Bytes bytes;
};

// The kernel image's addresses, as far as they are mapped without a gap: what is not code first,
// which has the tables unless the kernel was built without protection for them.
std::vector<PhysRange> image_spans(const VirtualMemory& memory) {
  std::vector<PhysRange> data, all;
  std::size_t unreadable = 0;
  for (const PageMapping& mapping : memory.tables().mappings(
           VirtAddr{kKernelTextMap}, VirtAddr{kKernelTextMap + kImageSpan - 1}, 4096, unreadable)) {
    const PhysRange span{PhysAddr{mapping.virt.value}, mapping.size};
    all.push_back(span);
    if (!mapping.executable) data.push_back(span);
  }
  std::vector<PhysRange> out = normalised(std::move(data)), rest = normalised(std::move(all));
  if (rest != out) out.insert(out.end(), rest.begin(), rest.end());
  return out;
}

// Moves the window on by a step: what both have stays, the rest is read.
void advance(const VirtualMemory& memory, VirtAddr begin, std::uint64_t size, Run& run) {
  const std::uint64_t had = run.begin + run.bytes.size() - begin;
  const bool overlaps = !run.bytes.empty() && run.begin <= begin && had <= run.bytes.size();
  if (overlaps)
    std::memmove(run.bytes.data(), run.bytes.data() + (begin - run.begin),
                 static_cast<std::size_t>(had));
  run.begin = begin;
  run.bytes.resize(static_cast<std::size_t>(size));
  for (std::uint64_t at = overlaps ? had : 0; at < size; at += kPageSize) {
    const MutableBytes page = MutableBytes(run.bytes).subspan(at, kPageSize);
    // Freed init memory may be missing or someone else's; zeros then do not match anything.
    if (!memory.read(begin + at, page)) std::memset(page.data(), 0, page.size());
  }
}

std::uint16_t u16_at(ByteView bytes, std::size_t at) {
  le16 value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}
std::uint32_t u32_at(ByteView bytes, std::size_t at) {
  le32 value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}
std::uint64_t u64_at(ByteView bytes, std::size_t at) {
  le64 value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

bool looks_like_token_index(ByteView bytes, std::size_t at) {
  if (bytes.size() - at < kTokens * 2 || u16_at(bytes, at) != 0) return false;
  std::uint16_t last = 0;
  for (std::size_t i = 1; i < kTokens; ++i) {
    const std::uint16_t next = u16_at(bytes, at + 2 * i);
    if (next < last + 2 || next > kMaxTokenTable) return false;
    last = next;
  }
  return true;
}

// The token table ends right before the index; how long it is follows from the last offset and the
// last string.
std::optional<std::size_t> token_table_before(ByteView bytes, std::size_t index) {
  const std::size_t last = u16_at(bytes, index + 2 * (kTokens - 1));
  for (std::size_t begin = index >= last + 2 ? (index - last - 2) / 4 * 4 : 0;
       begin + kMaxTokenTable > index; begin -= 4) {
    bool fits = true;
    for (std::size_t i = 1; fits && i < kTokens; ++i) {
      const std::size_t offset = u16_at(bytes, index + 2 * i);
      fits = begin + offset < index && bytes[begin + offset - 1] == std::byte{0} &&
             bytes[begin + offset] != std::byte{0};
    }
    if (fits && bytes[begin] != std::byte{0}) return begin;
    if (begin < 4) break;
  }
  return std::nullopt;
}

// Steps over `count` names; where they end, or nothing when they are no names.
std::optional<std::size_t> skip_names(ByteView bytes, std::size_t at, std::uint64_t count,
                                      std::size_t limit) {
  for (std::uint64_t i = 0; i < count; ++i) {
    if (at + 2 > limit) return std::nullopt;
    const std::size_t length = name_length_at(bytes, at);
    if (length == 0) return std::nullopt;
    at += length;
  }
  return at <= limit ? std::optional(at) : std::nullopt;
}

// The count stands 8 bytes before the names (it is followed by their alignment), the markers behind
// them. What is between the markers and the token table differs: nothing, or the sequence table of
// 3 bytes per name. So every plausible count is tried, and believed when the names it counts end
// where markers begin that fit them.
std::optional<std::pair<std::size_t, std::uint32_t>> names_before(ByteView bytes,
                                                                  std::size_t token_table) {
  const std::size_t earliest =
      token_table > kMaxBeforeTokens ? (token_table - kMaxBeforeTokens) / 8 * 8 : 0;
  for (std::size_t at = earliest; at + 16 < token_table; at += 8) {
    const std::uint32_t count = u32_at(bytes, at);
    if (count < kMinSymbols || count > kMaxSymbols || u32_at(bytes, at + 4) != 0) continue;
    const std::size_t names = at + 8;
    const auto first_block = skip_names(bytes, names, kNamesPerMarker, token_table);
    const auto end = first_block
                         ? skip_names(bytes, *first_block, count - kNamesPerMarker, token_table)
                         : std::nullopt;
    if (!end) continue;
    const std::size_t markers = (*end + 7) & ~std::size_t{7};
    if (markers + 8 <= token_table && u32_at(bytes, markers) == 0 &&
        u32_at(bytes, markers + 4) == *first_block - names) {
      return std::make_pair(names, count);
    }
  }
  return std::nullopt;
}

std::size_t align8(std::size_t at) { return (at + 7) & ~std::size_t{7}; }

// Both places where offsets and base can be, by the order of either generation.
std::vector<KallsymsPlace> places(const Run& run, std::size_t names, std::uint32_t count,
                                  std::size_t table, std::size_t index) {
  std::vector<KallsymsPlace> out;
  KallsymsPlace place{
      run.begin + names, run.begin + table, run.begin + index, VirtAddr{}, 0, count};
  const ByteView bytes = run.bytes;
  const std::size_t size = std::size_t{count} * 4;
  const std::size_t behind = align8(index + kTokens * 2);
  if (bytes.size() >= align8(behind + size) + 8) {
    place.offsets = run.begin + behind;
    place.relative_base = u64_at(bytes, align8(behind + size));
    out.push_back(place);
  }
  for (std::size_t count_at : {names - 8, names - 4}) {
    if (count_at < 8 + align8(size)) continue;
    const std::size_t base_at = (count_at - 8) & ~std::size_t{7};
    place.offsets = run.begin + (base_at - align8(size));
    place.relative_base = u64_at(bytes, base_at);
    out.push_back(place);
  }
  return out;
}

// All places in the run where the tables may be.
std::vector<KallsymsPlace> search_run(const Run& run) {
  std::vector<KallsymsPlace> out;
  const ByteView bytes = run.bytes;
  for (std::size_t index = 0; index + kTokens * 2 <= bytes.size(); index += 4) {
    if (!looks_like_token_index(bytes, index)) continue;
    const auto table = token_table_before(bytes, index);
    const auto names = table ? names_before(bytes, *table) : std::nullopt;
    if (!names || out.size() > kMaxPlaces) continue;
    const auto found = places(run, names->first, names->second, *table, index);
    out.insert(out.end(), found.begin(), found.end());
  }
  // To judge one all names are decoded: those whose base is in the image come first.
  std::stable_partition(out.begin(), out.end(), [](const KallsymsPlace& place) {
    return place.relative_base >= kKernelTextMap &&
           place.relative_base - kKernelTextMap < kImageSpan;
  });
  return out;
}

}  // namespace

Result<Kallsyms> search_kallsyms(const VirtualMemory& memory, std::optional<VirtAddr> stext) {
  for (const PhysRange& span : image_spans(memory)) {
    Run run{VirtAddr{span.begin.value}, {}};
    std::vector<KallsymsPlace> found;
    for (std::uint64_t at = 0; at < span.size; at += kWindowStep) {
      const std::uint64_t size = std::min<std::uint64_t>(kWindow, span.size - at);
      advance(memory, VirtAddr{span.begin.value + at}, size, run);
      found = search_run(run);
      if (found.empty() && size == kWindow) continue;
      run.bytes = Bytes();  // is gone before the tables are decoded
      for (const KallsymsPlace& place : found) {
        auto symbols = Kallsyms::read(place, memory, stext);
        // Without VMCOREINFO's word the kernel's own two ends have to be in the image.
        if (symbols && symbols->find("_stext") && symbols->find("_etext")) return symbols;
      }
      if (size < kWindow) break;
    }
  }
  return Error{ErrorCode::kNotFound, "no kallsyms tables in the kernel image"};
}

}  // namespace hvd::linux_guest
