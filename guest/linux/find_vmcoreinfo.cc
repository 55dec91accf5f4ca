#include "guest/linux/find_vmcoreinfo.h"

#include <algorithm>

#include "base/text.h"
#include "guest/linux/kallsyms_search.h"

namespace hvd::linux_guest {
namespace {

constexpr std::string_view kMark = "OSRELEASE=";
constexpr std::size_t kBatchPages = 64;  // read at once
constexpr std::size_t kMaxReasons = 8;
constexpr std::size_t kMaxCandidates = 65536;  // each costs a few reads to judge
// struct new_utsname (include/uapi/linux/utsname.h): five fields of __NEW_UTS_LEN + 1 bytes;
// release is the third.
constexpr std::uint64_t kUtsField = 65;

// VMCOREINFO_BYTES is one page (include/linux/vmcore_info.h), allocated page-aligned.
// Calls `judge` with each until it is satisfied.
template <typename Judge>
void each_candidate(const PhysicalMemory& memory, Judge judge) {
  std::size_t found = 0;
  Bytes room(kBatchPages * kPageSize);
  const MutableBytes batch(room);
  for (const PhysRange& range : memory.ranges()) {
    const std::uint64_t end = range.begin.value + range.size;
    std::uint64_t at = range.begin.value + (kPageSize - range.begin.value % kPageSize) % kPageSize;
    if (at < range.begin.value) continue;
    while (at < end && end - at >= kPageSize) {
      const Extent extent = memory.extent_at(PhysAddr{at});
      if (extent.kind != Extent::Kind::kStored) {
        if (extent.range.size >= end - at) break;
        const std::uint64_t next = at + extent.range.size;
        at = next + (kPageSize - next % kPageSize) % kPageSize;
        if (at < next) break;  // rounded past the top of the address space
        continue;
      }
      const std::uint64_t stop = std::min(end, at + extent.range.size);
      while (at < stop && end - at >= kPageSize) {
        const auto pages = static_cast<std::size_t>(std::min<std::uint64_t>(
            {(stop - at + kPageSize - 1) / kPageSize, (end - at) / kPageSize, kBatchPages}));
        const bool whole = memory.read(PhysAddr{at}, batch.first(pages * kPageSize)).has_value();
        for (std::size_t i = 0; i < pages; ++i, at += kPageSize) {
          const MutableBytes page = batch.subspan(i * kPageSize, kPageSize);
          if (!whole && !memory.read(PhysAddr{at}, page)) continue;
          const std::string_view text(reinterpret_cast<const char*>(page.data()), page.size());
          if (!text.starts_with(kMark)) continue;
          if (judge(PhysAddr{at}, text) || ++found == kMaxCandidates) return;
        }
      }
    }
  }
}

// Where the kernel that a CPU was in keeps its VMCOREINFO, by the symbols in the image that this
// CPU's page tables map: far less to read than a machine's whole memory.
std::optional<std::pair<PhysAddr, Kallsyms>> by_symbols(const Image& image) {
  for (const Registers& cpu : image.registers) {
    const auto tables = PageTables::of(*image.memory, cpu);
    if (!tables || (cpu[Reg::kCs] & 3) != 0) continue;
    const VirtualMemory memory(*image.memory, *tables);
    auto symbols = search_kallsyms(memory, std::nullopt);
    const auto variable = symbols ? symbols->find("vmcoreinfo_data") : std::nullopt;
    const auto data = variable ? memory.read_u64(*variable)
                               : Result<std::uint64_t>(Error{ErrorCode::kNotFound, ""});
    const auto page = data ? tables->translate(VirtAddr{*data}) : Result<PhysAddr>(data.error());
    if (page) return std::pair{*page, std::move(*symbols)};
  }
  return std::nullopt;
}

}  // namespace

Result<void> prove(const VmcoreInfo& info, const Image& image) {
  const auto root = info.page_table_root();
  const auto uts = info.symbol("init_uts_ns");
  if (!root || !uts) return Error{ErrorCode::kNotFound, "it names no page table or no init_uts_ns"};
  const PageTables tables(*image.memory, *root, info.five_level());
  const VirtualMemory memory(*image.memory, tables);
  // uts_namespace.name may be moved by what stands before it; the note says by how much.
  const VirtAddr release_at = *uts + info.offset("uts_namespace.name").value_or(0) + 2 * kUtsField;
  const std::string release =
      HVD_TRY(with_context(memory.read_string(release_at, kUtsField), "its page tables"));
  if (release != info.release()) {
    return Error{ErrorCode::kCorrupt, "it claims release " + printable(info.release()) +
                                          " but the memory it points to says " +
                                          printable(release)};
  }
  for (const Registers& cpu : image.registers) {
    const bool in_kernel = (cpu[Reg::kCs] & 3) == 0 && cpu[Reg::kRip] >= kKernelTextMap;
    const auto own = PageTables::of(*image.memory, cpu);
    if (!in_kernel || !own) continue;
    const auto by_cpu = own->translate(*uts), by_info = tables.translate(*uts);
    if (by_cpu && by_info && *by_cpu != *by_info) {
      return Error{ErrorCode::kCorrupt,
                   "its page tables are not those of CPU " + std::to_string(cpu.id)};
    }
  }
  return {};
}

Result<FoundVmcoreInfo> find_vmcoreinfo(const Image& image) {
  std::vector<std::string> rejected;
  std::size_t rejected_notes = 0;
  std::size_t unheard = 0;  // whoever plants a thousand lies gets no thousand lines
  const auto judge = [&](std::string_view text,
                         const std::string& where) -> std::optional<FoundVmcoreInfo> {
    auto info = VmcoreInfo::parse(text);
    const auto proved = info ? prove(*info, image) : Result<void>(info.error());
    if (proved) {
      return FoundVmcoreInfo{std::move(*info),
                             std::string(text.substr(0, text.find('\0'))),
                             where,
                             rejected,
                             rejected_notes,
                             std::nullopt};
    }
    if (rejected.size() < kMaxReasons) rejected.push_back(where + ": " + proved.error().message);
    else ++unheard;
    return std::nullopt;
  };
  for (const Note& note : image.notes) {
    if (note.name != "VMCOREINFO") continue;
    if (auto found = judge(to_string(note.contents), "the VMCOREINFO note"))
      return std::move(*found);
  }
  rejected_notes = rejected.size();
  // A crashed host's dump, a guest without the device: the kernel's own copy is still in its
  // memory. A guest that itself runs guests, or that rebooted by kexec, holds several.
  if (auto led = by_symbols(image)) {
    std::string page(kPageSize, '\0');
    if (image.memory->read(led->first, std::as_writable_bytes(std::span(page)))) {
      auto found = judge(page, "guest memory at " + hex(led->first.value));
      if (found) {
        found->symbols = std::move(led->second);
        return std::move(*found);
      }
    }
  }
  std::optional<FoundVmcoreInfo> believed;
  each_candidate(*image.memory, [&](PhysAddr at, std::string_view text) {
    believed = judge(text, "guest memory at " + hex(at.value));
    return believed.has_value();
  });
  if (unheard > 0) rejected.push_back("and " + std::to_string(unheard) + " more");
  if (believed) {
    believed->rejected = rejected;
    return std::move(*believed);
  }
  std::string why;
  for (const std::string& reason : rejected) why += "; " + reason;
  return Error{ErrorCode::kNotFound, "no true VMCOREINFO in the notes or in memory" + why};
}

}  // namespace hvd::linux_guest
