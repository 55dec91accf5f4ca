#include "capture/guest_pages.h"

#include <algorithm>
#include <mutex>

#include "capture/cached_memory.h"
#include "capture/triage_reads.h"

namespace hvd {
namespace {

// Notes which pages are read.
class RecordedMemory final : public PhysicalMemory {
 public:
  RecordedMemory(const PhysicalMemory& memory, std::unordered_set<std::uint64_t>& pages)
      : memory_(memory), pages_(pages) {}
  const std::vector<PhysRange>& ranges() const override { return memory_.ranges(); }
  Extent extent_at(PhysAddr at) const override { return memory_.extent_at(at); }

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override {
    const std::size_t size = std::min<std::size_t>(out.size(), kPageSize - at.value % kPageSize);
    HVD_TRY(memory_.read(at, out.first(size)));
    const std::lock_guard lock(mutex_);
    pages_.insert(at.value / kPageSize);
    return size;
  }
  const PhysicalMemory& memory_;
  std::unordered_set<std::uint64_t>& pages_;
  mutable std::mutex mutex_;
};

const char* name_of(GuestLevel level) {
  switch (level) {
    case GuestLevel::kKernel: return "kernel";
    case GuestLevel::kMini: return "mini";
    default: return "full";
  }
}

}  // namespace

void add_excluded(Facts& facts, const GuestPages& pages, const PartitionPolicy& policy) {
  facts.level = name_of(pages.level());
  facts.restricted = restricted_facts(policy.restricted);
}

std::optional<std::string> GuestPages::shortfall(GuestLevel wanted) const {
  if (wanted == level_) return std::nullopt;
  return std::string("its memory is written whole, since level ") + name_of(wanted) +
         " needs a Linux guest whose struct pages can be read";
}

std::unique_ptr<GuestPages> GuestPages::open(const PhysicalMemory& memory,
                                             const std::vector<Registers>& registers,
                                             const std::vector<Note>& notes, GuestLevel wanted,
                                             bool search) {
  auto out = std::make_unique<GuestPages>();
  out->cached_ = std::make_unique<CachedMemory>(memory);
  // Not owned: the image is used while `cached_` lives.
  out->image_.memory =
      std::shared_ptr<const PhysicalMemory>(std::shared_ptr<void>(), out->cached_.get());
  out->image_.registers = registers;
  out->image_.notes = notes;
  if (search || note_of(out->image_, "VMCOREINFO")) out->look(wanted);
  return out;
}

void GuestPages::look(GuestLevel wanted) {
  const auto kernel = linux_guest::Kernel::open(image_);
  if (!kernel) return;
  auto classes = linux_guest::PageClassifier::open(**kernel);  // which does without symbols
  if (!classes) return;
  classes_ = std::move(*classes);
  level_ = wanted;
  if (wanted != GuestLevel::kMini) return;
  if (!note_of(image_, "VMCOREINFO")) found_note_ = (*kernel)->info_note();
  Image recorded = image_;
  if (found_note_) recorded.notes.push_back(*found_note_);
  recorded.memory = std::make_shared<RecordedMemory>(*cached_, triage_pages_);
  linux_guest::read_for_triage(recorded);
}

std::vector<format::PageMark> GuestPages::marks(std::uint64_t first, std::size_t count) const {
  std::vector<format::PageMark> out(count);
  if (!classes_) return out;
  const auto pages = classes_->classify(first, count);
  for (std::size_t i = 0; i < count; ++i) {
    const PageClass page_class = pages[i].page_class;
    out[i].page_class = page_class;
    if (level_ == GuestLevel::kKernel) {
      if (pages[i].free) out[i].excluded = Absence::kFilteredFree;
      else if (page_class == PageClass::kUser || page_class == PageClass::kPageCache)
        out[i].excluded = Absence::kFilteredClass;
    } else if (level_ == GuestLevel::kMini && !triage_pages_.contains(first + i)) {
      out[i].excluded = pages[i].free ? Absence::kFilteredFree : Absence::kFilteredClass;
    }
  }
  return out;
}

}  // namespace hvd
