// PageSource: where a capture's pages come from.
#pragma once

#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/partition.h"

namespace hvd {

/// A run of pages that are alike, beginning at the address asked for.
struct PageRun {
  enum class Kind { kBytes, kZero, kAbsent };
  Kind kind = Kind::kAbsent;
  std::uint64_t pages = 1;
  ByteView bytes;  // kBytes: pages * 4096 bytes, valid until scratch is used again
  Absence reason = Absence::kUnreadable;  // kAbsent
};

class PageSource {
 public:
  virtual ~PageSource() = default;
  /// Page-aligned, sorted, not overlapping.
  virtual const std::vector<PhysRange>& ranges() const = 0;
  /// The run at `at`, at least one and at most `max_pages` pages, and no more bytes than `scratch`
  /// (at least a page) has room for: runs without bytes may be longer. Called from several threads.
  /// A page that cannot be read is a run of one with reason unreadable, never an error that ends
  /// the capture.
  virtual PageRun fetch(PhysAddr at, std::uint64_t max_pages, MutableBytes scratch) const = 0;
};

}  // namespace hvd
