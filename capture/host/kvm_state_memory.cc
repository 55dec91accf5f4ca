#include "capture/host/kvm_state_memory.h"

#include <algorithm>
#include <cstring>

namespace hvd {

using namespace linux_guest;

namespace {

constexpr std::uint64_t kStride = 128u << 10;  // more than any part has

std::uint64_t whole_pages(std::uint64_t size) {
  return (size + kPageSize - 1) / kPageSize * kPageSize;
}

}  // namespace

Result<std::unique_ptr<const KvmStateMemory>> KvmStateMemory::open(const Kernel& host,
                                                                   const KvmTypes& types,
                                                                   const VirtualMachine& machine) {
  std::vector<KvmState> parts = HVD_TRY(read_kvm_state(host, types, machine));
  const PageStructs pages = HVD_TRY(PageStructs::open(host));
  return std::unique_ptr<const KvmStateMemory>(new KvmStateMemory(host, pages, std::move(parts)));
}

KvmStateMemory::KvmStateMemory(const Kernel& host, const PageStructs& pages,
                               std::vector<KvmState> parts)
    : host_(host), pages_(pages), parts_(std::move(parts)) {
  for (std::size_t i = 0; i < parts_.size(); ++i)
    ranges_.push_back(
        {PhysAddr{kKvmBase + i * kStride}, std::min(kStride, whole_pages(parts_[i].at.size))});
}

std::vector<KvmPart> KvmStateMemory::list() const {
  std::vector<KvmPart> out;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    out.push_back({static_cast<std::uint32_t>(parts_[i].what), parts_[i].cpu, ranges_[i].begin,
                   std::min(parts_[i].at.size, ranges_[i].size)});
  }
  return out;
}

std::optional<KvmStateMemory::Place> KvmStateMemory::place_of(PhysAddr at) const {
  const std::uint64_t offset = at.value - kKvmBase;
  if (at.value < kKvmBase || offset / kStride >= parts_.size()) return std::nullopt;
  const KvmState& part = parts_[static_cast<std::size_t>(offset / kStride)];
  const std::uint64_t into = offset % kStride;
  if (into >= whole_pages(part.at.size)) return std::nullopt;
  return Place{part.at.begin + into, part.at.size - std::min(part.at.size, into)};
}

Extent KvmStateMemory::extent_at(PhysAddr at) const {
  Extent out;
  out.range = {at, kPageSize - at.value % kPageSize};
  const auto place = place_of(at);
  if (!place) return out;
  out.kind = Extent::Kind::kStored;
  out.page_class = PageClass::kVmm;
  const std::lock_guard lock(mutex_);
  const auto phys = host_.memory().tables().translate(place->at);
  if (!phys) {
    out.kind = Extent::Kind::kAbsent;
    return out;
  }
  const PageFacts page = pages_.read(phys->value / kPageSize, 1).front();
  // A pointer that is wrong must not make somebody else's page this tenant's.
  const bool kernels = page.use == PageUse::kOther || page.use == PageUse::kSlab;
  if (!kernels || page.poisoned) {
    out.kind = Extent::Kind::kAbsent;
    out.reason = Absence::kRestricted;
  }
  return out;
}

Result<std::size_t> KvmStateMemory::read_some(PhysAddr at, MutableBytes out) const {
  const Extent extent = extent_at(at);
  const auto place = place_of(at);
  if (!place || extent.kind != Extent::Kind::kStored)
    return Error{ErrorCode::kUnreadable, "what KVM had of the guest is not there"};
  const std::size_t size =
      static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), extent.range.size));
  const std::size_t known = static_cast<std::size_t>(std::min<std::uint64_t>(size, place->size));
  std::memset(out.data(), 0, size);  // behind the part is something else
  const std::lock_guard lock(mutex_);
  if (known > 0) HVD_TRY(host_.memory().read(place->at, out.first(known)));
  return size;
}

}  // namespace hvd
