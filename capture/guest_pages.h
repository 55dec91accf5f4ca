// GuestPages: what each page of a guest is for, as far as the guest can be understood, and which of
// them the policy's level leaves out.
#pragma once

#include <memory>
#include <optional>
#include <unordered_set>

#include "base/facts.h"
#include "base/image.h"
#include "capture/policy.h"
#include "formats/hvd/memory_writer.h"
#include "guest/linux/page_classes.h"

namespace hvd {

class GuestPages {
 public:
  /// `memory` must outlive the result. For a guest that is not understood (no Linux, or too little
  /// of its kernel to be found) all pages are unclassified and, at any level, none is left out:
  /// then `level()` is full. `search`: look for the kernel also where the guest does not say where
  /// it is, which may take seconds.
  static std::unique_ptr<GuestPages> open(const PhysicalMemory& memory,
                                          const std::vector<Registers>& registers,
                                          const std::vector<Note>& notes, GuestLevel wanted,
                                          bool search);

  /// What of the policy's level could not be done.
  std::optional<std::string> shortfall(GuestLevel wanted) const;
  GuestLevel level() const { return level_; }
  /// VMCOREINFO where the guest's notes lack it: without it a dump of few pages would not be
  /// understood any more.
  const std::optional<Note>& found_note() const { return found_note_; }

  /// For write_memory(). Safe to call from several threads.
  std::vector<format::PageMark> marks(std::uint64_t first, std::size_t count) const;

 private:
  void look(GuestLevel wanted);

  std::unique_ptr<const PhysicalMemory> cached_;
  Image image_;
  GuestLevel level_ = GuestLevel::kFull;
  std::optional<Note> found_note_;
  std::optional<linux_guest::PageClassifier> classes_;
  std::unordered_set<std::uint64_t> triage_pages_;  // by number, for kMini
};

/// Adds to a partition's facts what the policy excluded from it.
void add_excluded(Facts& facts, const GuestPages& pages, const PartitionPolicy& policy);

}  // namespace hvd
