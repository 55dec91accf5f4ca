#include "guest/linux/kallsyms.h"

#include <algorithm>
#include <numeric>

#include "base/text.h"

namespace hvd::linux_guest {
namespace {

constexpr std::uint64_t kMaxSymbols = 4u << 20;

}  // namespace

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
  Kallsyms out;
  out.names_ = HVD_TRY(
      SymbolNames::read(memory, place.names, place.token_table, place.token_index, place.count));
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

std::optional<VirtAddr> Kallsyms::find(std::string_view name) const {
  const auto index = names_.find(name);
  return index ? std::optional(VirtAddr{addresses_[*index]}) : std::nullopt;
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
  const std::uint64_t address = addresses_[*found];
  // Per-CPU symbols are small numbers, not addresses before the kernel's first.
  if (address < kKernelTextMap) return std::nullopt;
  const std::uint64_t size = next == by_address_.end() ? 0 : addresses_[*next] - address;
  return Symbol{names_[*found], VirtAddr{address}, size};
}

}  // namespace hvd::linux_guest
