#include "guest/kvm_host/slot_memory.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"

namespace hvd::linux_guest {
namespace {

constexpr std::uint64_t kWindow = 8u << 20;  // a run for each page of it takes 64 KiB
constexpr std::size_t kKeptWindows = 32;

}  // namespace

SlotMemory::SlotMemory(std::shared_ptr<const ProcessMemory> vmm, std::vector<MemorySlot> slots,
                       bool encrypted)
    : vmm_(std::move(vmm)), encrypted_(encrypted), windows_(kKeptWindows) {
  std::sort(slots.begin(), slots.end(),
            [](const MemorySlot& a, const MemorySlot& b) { return a.range < b.range; });
  for (const MemorySlot& slot : slots) {
    const bool fits =
        slot.range.size - 1 <= ~slot.range.begin.value && slot.range.size - 1 <= ~slot.host.value;
    if (slot.range.size == 0 || !fits) continue;
    if (!slots_.empty() && slots_.back().range.contains(slot.range.begin)) continue;
    slots_.push_back(slot);
    ranges_.push_back(slot.range);
  }
  ranges_ = normalised(std::move(ranges_));
}

std::shared_ptr<const SlotMemory> SlotMemory::open(const Kernel& kernel,
                                                   const VirtualMachine& machine,
                                                   std::vector<std::string>& problems) {
  const PhysicalMemory& memory = kernel.memory().physical();
  const PageTables tables(memory, machine.page_table_root, kernel.memory().tables().five_level());
  auto areas = read_vm_areas(kernel, machine.mm);
  if (!areas) {
    problems.push_back("the memory areas of process " + std::to_string(machine.pid) +
                       " cannot be read: " + areas.error().message);
    areas = std::vector<VmArea>();
  }
  auto process = std::make_shared<ProcessMemory>(memory, tables, std::move(*areas), &kernel);
  return std::make_shared<SlotMemory>(std::move(process), machine.slots, machine.encrypted);
}

const MemorySlot* SlotMemory::slot_at(PhysAddr at) const {
  const auto next =
      std::upper_bound(slots_.begin(), slots_.end(), at,
                       [](PhysAddr a, const MemorySlot& s) { return a < s.range.begin; });
  if (next == slots_.begin() || !std::prev(next)->range.contains(at)) return nullptr;
  return &*std::prev(next);
}

SlotMemory::Place SlotMemory::place_of(const MemorySlot& slot, PhysAddr at) const {
  // Two slots may share a window's addresses, hence its first byte in the slot as the key.
  const std::uint64_t begin = std::max(at.value / kWindow * kWindow, slot.range.begin.value);
  Place place;
  place.window = windows_.find(begin);
  if (!place.window) {
    const std::uint64_t end = std::min(begin / kWindow * kWindow + (kWindow - 1),
                                       slot.range.begin.value + (slot.range.size - 1));
    const VirtAddr host = slot.host + (begin - slot.range.begin.value);
    place.window = windows_.insert(begin, vmm_->runs(host, end - begin + 1));
  }
  const VirtAddr host = slot.host + (at.value - slot.range.begin.value);
  const auto next =
      std::upper_bound(place.window->begin(), place.window->end(), host,
                       [](VirtAddr a, const ProcessRun& run) { return a < run.begin; });
  if (next == place.window->begin()) return place;
  place.run = &*std::prev(next);
  place.offset = host - place.run->begin;
  return place;
}

Extent SlotMemory::extent_at(PhysAddr at) const {
  Extent extent;
  const MemorySlot* slot = slot_at(at);
  if (!slot) {
    std::uint64_t end = ~std::uint64_t{0};
    for (const MemorySlot& other : slots_)
      if (other.range.begin > at) end = std::min(end, other.range.begin.value);
    extent.range = {at, end - at.value};
    return extent;
  }
  const Place place = place_of(*slot, at);
  extent.kind = Extent::Kind::kAbsent;
  extent.range = {at, kPageSize - at.value % kPageSize};
  if (!place.run || place.offset >= place.run->size) return extent;
  extent.range.size = place.run->size - place.offset;
  if (place.run->kind == ProcessRun::Kind::kZero) {
    extent.kind = Extent::Kind::kZero;
  } else if (place.run->kind == ProcessRun::Kind::kRestricted ||
             (encrypted_ && place.run->kind == ProcessRun::Kind::kInMemory)) {
    extent.reason = Absence::kRestricted;
  } else if (place.run->kind == ProcessRun::Kind::kSwappedOut) {
    extent.reason = Absence::kSwapped;
  } else if (place.run->kind == ProcessRun::Kind::kInMemory) {
    extent = vmm_->physical().extent_at(place.run->phys + place.offset);
    extent.range = {at, std::min(extent.range.size, place.run->size - place.offset)};
    // Its page is the guest's, whatever it was to the host.
    if (extent.kind == Extent::Kind::kHole) extent.kind = Extent::Kind::kAbsent;
    extent.page_class = PageClass::kUnclassified;
  }
  return extent;
}

Result<std::size_t> SlotMemory::read_some(PhysAddr at, MutableBytes out) const {
  const MemorySlot* slot = slot_at(at);
  if (!slot) {
    return Error{ErrorCode::kUnreadable, "guest address " + hex(at.value) + " is not memory"};
  }
  const Place place = place_of(*slot, at);
  if (place.run && place.offset < place.run->size) {
    const auto size = static_cast<std::size_t>(
        std::min<std::uint64_t>(out.size(), place.run->size - place.offset));
    if (place.run->kind == ProcessRun::Kind::kZero) {
      std::memset(out.data(), 0, size);
      return size;
    }
    if (place.run->kind == ProcessRun::Kind::kInMemory && !encrypted_) {
      HVD_TRY(with_context(vmm_->physical().read(place.run->phys + place.offset, out.first(size)),
                           "guest address " + hex(at.value)));
      return size;
    }
  }
  return Error{ErrorCode::kUnreadable,
               "guest address " + hex(at.value) +
                   (encrypted_ ? " is encrypted" : " is not in the host's memory")};
}

}  // namespace hvd::linux_guest
