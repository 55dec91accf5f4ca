// PhysicalMemory: the physical address space of one partition, or the reason why a part of it is
// not there.
//
// Everything behind the readers sees memory only through this: nothing there knows how bytes were
// stored.
#pragma once

#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/partition.h"
#include "base/result.h"

namespace hvd {

/// A run of pages in the same condition.
struct Extent {
  enum class Kind {
    kStored,   // readable
    kZero,     // readable, all zero
    kAbsent,   // part of the partition, not in the dump; `reason` says why
    kSealed,   // in the dump, but no key for its class was given
    kUnknown,  // part of the partition, but the dump is torn or damaged here
    kHole,     // not part of the partition
  };
  PhysRange range;
  Kind kind = Kind::kHole;
  Absence reason = Absence::kUnreadable;            // meaningful for kAbsent
  PageClass page_class = PageClass::kUnclassified;  // meaningful for kStored and kSealed
};

class PhysicalMemory {
 public:
  virtual ~PhysicalMemory() = default;

  /// Fills `out` or fails, naming the first address that cannot be had: kNotCaptured, kUnreadable,
  /// kSealed or kCorrupt. Safe to call from several threads.
  Result<void> read(PhysAddr at, MutableBytes out) const;

  template <WireStruct T>
  Result<T> read(PhysAddr at) const {
    T out{};
    HVD_TRY(read(at, MutableBytes(reinterpret_cast<std::byte*>(&out), sizeof out)));
    return out;
  }

  /// The address ranges that belong to the partition, sorted and not overlapping, present or not.
  virtual const std::vector<PhysRange>& ranges() const = 0;

  /// The run that begins at `at`: its condition, and how far the same condition goes on (at least 1
  /// byte; the run may end early, the next call then goes on).
  virtual Extent extent_at(PhysAddr at) const = 0;

 private:
  /// Fills at least one byte of `out` (never empty) and returns how many, or says why `at` cannot
  /// be read.
  virtual Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const = 0;
};

}  // namespace hvd
