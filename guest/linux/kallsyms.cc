#include "guest/linux/kallsyms.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "base/byte_reader.h"
#include "base/text.h"

namespace hvd::linux_guest {
namespace {

constexpr std::uint64_t kMaxSymbols = 4u << 20;
constexpr std::size_t kMaxToken = 1024;
constexpr std::size_t kMaxName = 2048;
constexpr std::size_t kMaxNamesBytes = 64u << 20;
constexpr std::size_t kMaxText = 256u << 20;
constexpr std::size_t kTokens = 256;

std::uint64_t hash_of(std::string_view text) {  // FNV-1a
  std::uint64_t hash = 0xcbf29ce484222325;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// The names have no stated length: read on in steps until all are decoded.
Result<Bytes> read_names(const VirtualMemory& memory, VirtAddr at, std::uint64_t count) {
  constexpr std::size_t kStep = 256u << 10;
  Bytes out;
  std::size_t position = 0;
  for (std::uint64_t seen = 0; seen < count; ++seen) {
    while (position + 2 + 0x4000 > out.size()) {
      if (out.size() >= kMaxNamesBytes)
        return Error{ErrorCode::kCorrupt, "kallsyms names have no end"};
      const std::size_t had = out.size();
      out.resize(had + kStep);
      if (memory.read(at + had, MutableBytes(out).subspan(had))) continue;
      // The last step may run past the mapped kernel image: take what is there, page by page.
      std::size_t good = had;
      while (
          good < had + kStep &&
          memory.read(at + good, MutableBytes(out).subspan(
                                     good, std::min<std::size_t>(kPageSize, had + kStep - good)))) {
        good += kPageSize;
      }
      out.resize(std::min(good, had + kStep));
      break;
    }
    if (position + 2 > out.size()) return Error{ErrorCode::kCorrupt, "kallsyms names end early"};
    // Names longer than 127 tokens have a second length byte (commit 73bbb94466fd, "kallsyms:
    // support "big" kernel symbols"); before, the top bit was never set.
    std::size_t length = std::to_integer<std::size_t>(out[position++]);
    if (length & 0x80)
      length = (length & 0x7f) | std::to_integer<std::size_t>(out[position++]) << 7;
    if (length == 0 || length > out.size() - position)
      return Error{ErrorCode::kCorrupt, "a kallsyms name has no valid length"};
    position += length;
  }
  out.resize(position);
  return out;
}

}  // namespace

Result<std::vector<std::string>> read_tokens(const VirtualMemory& memory, VirtAddr table,
                                             VirtAddr index) {
  const Bytes raw_index = HVD_TRY(memory.read_bytes(index, kTokens * 2));
  ByteReader in(raw_index, "kallsyms token index");
  std::vector<std::string> tokens;
  std::uint32_t expected = 0;
  for (std::size_t i = 0; i < kTokens; ++i) {
    const std::uint16_t offset = in.read<le16>();
    if (offset != expected)
      in.fail("entry " + std::to_string(i) + " is " + std::to_string(offset) + " instead of " +
              std::to_string(expected));
    if (!in.ok()) break;
    auto token = memory.read_string(table + offset, kMaxToken);
    if (!token) {
      in.fail("points outside memory");
      break;
    }
    expected = static_cast<std::uint32_t>(offset + token->size() + 1);
    tokens.push_back(std::move(*token));
  }
  HVD_TRY(in.finish());
  return tokens;
}

Result<KallsymsPlace> Kallsyms::place_from(const VmcoreInfo& info, const VirtualMemory& memory) {
  const auto names = info.symbol("kallsyms_names"), count = info.symbol("kallsyms_num_syms");
  const auto table = info.symbol("kallsyms_token_table"),
             index = info.symbol("kallsyms_token_index");
  const auto offsets = info.symbol("kallsyms_offsets"),
             base = info.symbol("kallsyms_relative_base");
  if (!names || !count || !table || !index || !offsets || !base) {
    return Error{ErrorCode::kNotFound, "VMCOREINFO does not name the kallsyms tables"};
  }
  KallsymsPlace place{*names, *table, *index, *offsets, 0, 0};
  place.count = HVD_TRY(memory.read_u32(*count));
  place.relative_base = HVD_TRY(memory.read_u64(*base));
  return place;
}

Result<void> Kallsyms::decode(ByteView names, const std::vector<std::string>& tokens,
                              std::uint64_t count) {
  ByteReader in(names, "kallsyms names");
  const unsigned char* at = u8(names);
  std::size_t position = 0;
  text_.reserve(count * 24);
  name_begins_.reserve(count + 1);
  types_.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    std::size_t length = at[position++];
    if (length & 0x80) length = (length & 0x7f) | static_cast<std::size_t>(at[position++]) << 7;
    const std::size_t begin = text_.size();
    for (std::size_t k = 0; k < length && text_.size() - begin <= kMaxName; ++k)
      text_ += tokens[at[position + k]];
    position += length;
    if (text_.size() > kMaxText) in.fail("decode to more text than any kernel has");
    if (!in.ok() || text_.size() - begin > kMaxName || text_.size() == begin) {
      in.fail("decode to a name of " + std::to_string(text_.size() - begin) + " characters");
      break;
    }
    // The first character is the symbol's type.
    types_.push_back(text_[begin]);
    text_.erase(begin, 1);
    name_begins_.push_back(static_cast<std::uint32_t>(begin));
  }
  name_begins_.push_back(static_cast<std::uint32_t>(text_.size()));
  text_.shrink_to_fit();
  return in.finish();
}

void Kallsyms::index_names() {
  table_.assign(std::bit_ceil(types_.size() * 2 + 1), 0);
  for (std::uint32_t i = 0; i < types_.size(); ++i) {
    const std::string_view name = (*this)[i].name;
    for (std::uint64_t place = hash_of(name);; ++place) {
      std::uint32_t& entry = table_[place & (table_.size() - 1)];
      // Of several symbols of one name the first is found; the others need no place, however many
      // there are.
      if (entry != 0 && (*this)[entry - 1].name != name) continue;
      if (entry == 0) entry = i + 1;
      break;
    }
  }
}

void Kallsyms::sort_by_address() {
  by_address_.resize(addresses_.size());
  std::iota(by_address_.begin(), by_address_.end(), 0);
  const auto less = [this](std::uint32_t a, std::uint32_t b) {
    return addresses_[a] < addresses_[b];
  };
  if (!std::is_sorted(by_address_.begin(), by_address_.end(), less)) {
    std::stable_sort(by_address_.begin(), by_address_.end(), less);
  }
}

Result<Kallsyms> Kallsyms::read(const KallsymsPlace& place, const VirtualMemory& memory,
                                std::optional<VirtAddr> stext) {
  if (place.count == 0 || place.count > kMaxSymbols) {
    return Error{ErrorCode::kCorrupt,
                 "kallsyms claims " + std::to_string(place.count) + " symbols"};
  }
  const auto tokens = HVD_TRY(read_tokens(memory, place.token_table, place.token_index));
  Kallsyms out;
  {
    const Bytes names = HVD_TRY(read_names(memory, place.names, place.count));
    HVD_TRY(out.decode(names, tokens, place.count));
  }
  out.index_names();

  std::vector<std::int32_t> offsets(place.count);
  HVD_TRY(memory.read(place.offsets, std::as_writable_bytes(std::span(offsets))));
  // With CONFIG_KALLSYMS_ABSOLUTE_PERCPU (x86-64 SMP until v6.15) a negative offset counts down
  // from the base and others are absolute; without it all are unsigned offsets from the base. The
  // configuration is not in the dump, but its effect is: with it, nearly all offsets are negative.
  const auto negative =
      std::count_if(offsets.begin(), offsets.end(), [](std::int32_t v) { return v < 0; });
  const bool absolute_percpu = static_cast<std::uint64_t>(negative) > place.count / 2;
  out.addresses_.reserve(offsets.size());
  for (std::int32_t offset : offsets) {
    std::uint64_t address;
    if (!absolute_percpu) address = place.relative_base + static_cast<std::uint32_t>(offset);
    else if (offset >= 0) address = static_cast<std::uint64_t>(offset);
    else address = place.relative_base - 1 - static_cast<std::uint64_t>(std::int64_t{offset});
    out.addresses_.push_back(address);
  }
  out.sort_by_address();
  if (stext && out.find("_stext") != stext) {
    return Error{ErrorCode::kCorrupt,
                 "kallsyms puts _stext elsewhere than VMCOREINFO (" + hex(stext->value) + ")"};
  }
  return out;
}

Kallsyms::Symbol Kallsyms::operator[](std::size_t index) const {
  const std::uint32_t begin = name_begins_[index];
  Symbol symbol;
  symbol.name = std::string_view(text_).substr(begin, name_begins_[index + 1] - begin);
  symbol.type = types_[index];
  if (!addresses_.empty()) symbol.address = VirtAddr{addresses_[index]};
  return symbol;
}

std::optional<VirtAddr> Kallsyms::find(std::string_view name) const {
  if (table_.empty()) return std::nullopt;
  for (std::uint64_t place = hash_of(name);; ++place) {
    const std::uint32_t entry = table_[place & (table_.size() - 1)];
    if (entry == 0) return std::nullopt;
    if ((*this)[entry - 1].name == name) return VirtAddr{addresses_[entry - 1]};
  }
}

std::optional<Kallsyms::Symbol> Kallsyms::at(VirtAddr at) const {
  const auto next =
      std::upper_bound(by_address_.begin(), by_address_.end(), at.value,
                       [this](std::uint64_t a, std::uint32_t i) { return a < addresses_[i]; });
  // Before the image lie only per-CPU symbols, which are offsets and no addresses.
  if (next == by_address_.begin() || addresses_[*std::prev(next)] < kKernelTextMap)
    return std::nullopt;
  // Of several names for one address take the first, as the kernel does (get_symbol_pos).
  auto found = std::prev(next);
  while (found != by_address_.begin() && addresses_[*std::prev(found)] == addresses_[*found])
    --found;
  Symbol symbol = (*this)[*found];
  // Per-CPU symbols are small numbers, not addresses before the kernel's first.
  if (symbol.address.value < kKernelTextMap) return std::nullopt;
  symbol.size = next == by_address_.end() ? 0 : addresses_[*next] - symbol.address.value;
  return symbol;
}

}  // namespace hvd::linux_guest
