#include "guest/linux/orc.h"

#include <cstring>

#include "base/text.h"

namespace hvd::linux_guest {
namespace {

constexpr std::uint64_t kMaxEntries = 16u << 20;
constexpr std::uint64_t kLookupBlock =
    256;  // LOOKUP_BLOCK_SIZE (arch/x86/include/asm/orc_lookup.h)

}  // namespace

Result<void> OrcTables::read_layout(const Types& types) {
  entry_size_ = HVD_TRY(types.size_of("orc_entry"));
  if (entry_size_ < 6 || entry_size_ > 8)
    return Error{ErrorCode::kUnsupported, "orc_entry has an unknown size"};
  const auto field = [&](const char* name) -> Result<Field> {
    const Member member = HVD_TRY(types.member("orc_entry", name));
    const std::uint64_t bit = member.offset * 8 + member.bit_offset,
                        size = member.bit_size ? member.bit_size : member.size * 8;
    if (size > 16 || bit + size > entry_size_ * 8)
      return Error{ErrorCode::kUnsupported, "orc_entry has an unknown layout"};
    return Field{static_cast<unsigned>(bit), static_cast<unsigned>(size)};
  };
  sp_reg_ = HVD_TRY(field("sp_reg"));
  bp_reg_ = HVD_TRY(field("bp_reg"));
  type_ = HVD_TRY(field("type"));
  if (const auto signal = field("signal")) signal_ = *signal;
  if (const auto end = field("end")) end_ = *end;
  return {};
}

Result<OrcTables> OrcTables::open(const Kernel& kernel, const std::vector<Module>& modules) {
  OrcTables tables(kernel, modules);
  const Types& types = *HVD_TRY(kernel.need_types());
  HVD_TRY(tables.read_layout(types));
  tables.vmlinux_.ips = HVD_TRY(kernel.symbol("__start_orc_unwind_ip"));
  const VirtAddr stop = HVD_TRY(kernel.symbol("__stop_orc_unwind_ip"));
  tables.vmlinux_.entries = HVD_TRY(kernel.symbol("__start_orc_unwind"));
  tables.vmlinux_.count = (stop - tables.vmlinux_.ips) / 4;
  if (tables.vmlinux_.count == 0 || tables.vmlinux_.count > kMaxEntries) {
    return Error{ErrorCode::kCorrupt, "the ORC table has no valid size"};
  }
  const auto lookup = kernel.symbols().find("orc_lookup"),
             lookup_end = kernel.symbols().find("orc_lookup_end");
  const auto stext = kernel.symbols().find("_stext");
  if (lookup && lookup_end && stext && *lookup < *lookup_end) {
    tables.lookup_ = *lookup;
    tables.lookup_count_ = (*lookup_end - *lookup) / 4;
    tables.stext_ = *stext;
  }
  return tables;
}

Result<OrcTables::Table> OrcTables::module_table(const Module& module) const {
  const Types& types = *HVD_TRY(kernel_->need_types());
  const Member ips = HVD_TRY(types.member("module", "arch.orc_unwind_ip"));
  const Member entries = HVD_TRY(types.member("module", "arch.orc_unwind"));
  const Member count = HVD_TRY(types.member("module", "arch.num_orcs"));
  Table table;
  table.ips = VirtAddr{HVD_TRY(kernel_->field(module.struct_at, ips))};
  table.entries = VirtAddr{HVD_TRY(kernel_->field(module.struct_at, entries))};
  table.count = HVD_TRY(kernel_->field(module.struct_at, count));
  if (table.count > kMaxEntries)
    return Error{ErrorCode::kCorrupt, "module " + module.name + " claims too many ORC entries"};
  return table;
}

Result<OrcEntry> OrcTables::find(VirtAddr ip) const {
  for (const Module& module : *modules_) {
    if (!module.contains(ip)) continue;
    const Table table = HVD_TRY(module_table(module));
    return search(table, ip, 0, table.count);
  }
  std::uint64_t first = 0, last = vmlinux_.count;
  const std::uint64_t block = (ip.value - stext_.value) / kLookupBlock;
  if (ip >= stext_ && block + 1 < lookup_count_) {
    const auto begin = kernel_->memory().read_u32(lookup_ + block * 4);
    const auto end = kernel_->memory().read_u32(lookup_ + (block + 1) * 4);
    if (begin && end && *begin <= *end && *end < vmlinux_.count) first = *begin, last = *end + 1;
  }
  return search(vmlinux_, ip, first, last);
}

// The last entry at or before `ip` in [first, last).
Result<OrcEntry> OrcTables::search(const Table& table, VirtAddr ip, std::uint64_t first,
                                   std::uint64_t last) const {
  std::optional<std::uint64_t> found;
  while (first < last) {
    const std::uint64_t middle = first + (last - first) / 2;
    if (HVD_TRY(address_of(table, middle)) <= ip) {
      found = middle;
      first = middle + 1;
    } else {
      last = middle;
    }
  }
  if (!found) return Error{ErrorCode::kNotFound, "no ORC entry for " + hex(ip.value)};
  return decode(table.entries + *found * entry_size_);
}

Result<std::vector<OrcRange>> OrcTables::stack_switches() const {
  const Bytes entries =
      HVD_TRY(kernel_->memory().read_bytes(vmlinux_.entries, vmlinux_.count * entry_size_));
  std::vector<OrcRange> found;
  for (std::uint64_t i = 0; i + 1 < vmlinux_.count; ++i) {
    std::uint64_t raw = 0;
    std::memcpy(&raw, entries.data() + i * entry_size_, entry_size_);
    const auto entry = decode_raw(raw);
    if (!entry || entry->type != OrcEntry::Type::kCall ||
        entry->sp_base != OrcEntry::Base::kSpIndirect)
      continue;
    OrcRange range{{}, {}, *entry};
    range.begin = HVD_TRY(address_of(vmlinux_, i));
    range.end = HVD_TRY(address_of(vmlinux_, i + 1));
    found.push_back(range);
  }
  return found;
}

Result<VirtAddr> OrcTables::address_of(const Table& table, std::uint64_t index) const {
  const VirtAddr at = table.ips + index * 4;
  const auto distance = static_cast<std::int32_t>(HVD_TRY(kernel_->memory().read_u32(at)));
  return at + static_cast<std::uint64_t>(std::int64_t{distance});
}

Result<OrcEntry> OrcTables::decode(VirtAddr at) const {
  return decode_raw(
      HVD_TRY(kernel_->memory().read_unsigned(at, static_cast<std::size_t>(entry_size_))));
}

Result<OrcEntry> OrcTables::decode_raw(std::uint64_t raw) const {
  const auto bits = [raw](const Field& field) {
    return field.size == 0 ? 0u
                           : static_cast<unsigned>((raw >> field.bit) & ((1u << field.size) - 1));
  };
  OrcEntry entry;
  entry.sp_offset = static_cast<std::int16_t>(raw & 0xffff);
  entry.bp_offset = static_cast<std::int16_t>((raw >> 16) & 0xffff);
  entry.sp_base = static_cast<OrcEntry::Base>(bits(sp_reg_));
  entry.bp_base = static_cast<OrcEntry::Base>(bits(bp_reg_));
  const unsigned type = bits(type_);
  const bool old_numbering = end_.size != 0;
  if (old_numbering && type <= 2) {
    entry.type = static_cast<OrcEntry::Type>(type + 2);
    // An entry without a stack pointer: with `end` the stack ends well here, without it is unknown
    // code.
    if (entry.sp_base == OrcEntry::Base::kUndefined) {
      entry.type = bits(end_) ? OrcEntry::Type::kEndOfStack : OrcEntry::Type::kUndefined;
    }
  } else if (!old_numbering && type <= 4) {
    entry.type = static_cast<OrcEntry::Type>(type);
  } else {
    return Error{ErrorCode::kUnsupported, "unknown ORC entry type " + std::to_string(type)};
  }
  // Saved registers meant an interrupted instruction until entries said so themselves (commit
  // ffb1b4a41016, v6.3).
  const bool regs =
      entry.type == OrcEntry::Type::kRegs || entry.type == OrcEntry::Type::kRegsPartial;
  entry.signal = signal_.size != 0 ? bits(signal_) != 0 : regs;
  return entry;
}

}  // namespace hvd::linux_guest
