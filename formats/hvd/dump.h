// Dump: an opened .hvd. Lists its partitions and gives each as an Image.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/envelope.h"
#include "base/image.h"
#include "formats/hvd/catalog.h"
#include "formats/hvd/memory.h"

namespace hvd::format {

/// What is visible of a partition without any key.
struct DumpPartition {
  std::uint32_t number = 0;
  std::string name;
  Role role = Role::kGuest;
  bool sealed = false;
  PartitionState state = PartitionState::kIncomplete;
  std::string reason;
  std::uint64_t total_bytes = 0;
  std::uint64_t stored_bytes = 0;           // before compression
  std::optional<std::uint64_t> file_bytes;  // its records, in the file; not known of older dumps
  std::vector<KeySlot> slots;
  /// Of a sealed one, in hexadecimal, by the name of the key; a damaged one is not among them.
  std::map<std::string, std::string, std::less<>> commitments;
  std::size_t damaged_slots = 0;  // in addition, unreadable
  std::string refused;            // not empty: why this program must not read it
};

class Dump {
 public:
  /// Reads the index, or scans the file when there is none (`scan_always` insists on a scan). Only
  /// a file that is no .hvd, or a newer one, fails; damage is in problems().
  static Result<Dump> open(const std::string& path, bool scan_always = false);
  static Result<Dump> open(const std::shared_ptr<const ByteSource>& source,
                           bool scan_always = false);

  const DumpId& id() const { return reader_.dump_id(); }
  std::uint64_t created_ns() const { return reader_.file_header().created_ns; }
  PublicKey signer() const;
  /// A JSON object written by the agent; "{}" when lost.
  const std::string& agent() const { return agent_; }
  bool complete() const { return catalog_.complete && problems_.empty(); }
  const std::vector<std::string>& problems() const { return problems_; }
  const std::vector<DumpPartition>& partitions() const { return partitions_; }
  const RecordReader& reader() const { return reader_; }
  const Catalog& catalog() const { return catalog_; }

  /// The partition of that name; kNotFound naming those there are.
  Result<const DumpPartition*> find(const std::string& name) const;

  /// Everything about one partition. A sealed one that `keys` cannot open gives its visible part
  /// with `locked` set and the reason as the first of its problems; use unlock() to make that an
  /// error instead.
  Result<Image> image(const DumpPartition& partition, const KeyProvider& keys) const;
  Result<Image> image(const DumpPartition& partition, std::shared_ptr<const Opener> opener) const;

  /// The opener for a sealed partition, null for one in the clear. kCorrupt when it holds other
  /// keys than those that the partition commits to.
  Result<std::shared_ptr<const Opener>> unlock(const DumpPartition& partition,
                                               const KeyProvider& keys) const;

 private:
  explicit Dump(RecordReader reader) : reader_(std::move(reader)) {}
  void collect_partitions();
  Result<void> read_visible(const RecordPlace& place);
  Result<void> read_unknown(const RecordPlace& place);
  DumpPartition* by_number(std::uint32_t number);
  SegmentTable segments_of(const DumpPartition& partition, const Opener* opener,
                           Image& image) const;
  /// Returns how many segments the partition's summary says there are, when there is one.
  std::optional<std::uint64_t> read_details(const DumpPartition& partition, const Opener* opener,
                                            Image& image) const;

  RecordReader reader_;
  Catalog catalog_;
  std::string agent_ = "{}";
  std::vector<std::string> problems_;
  std::vector<DumpPartition> partitions_;
};

/// A dump id as people see it: 32 hexadecimal digits.
std::string text_of(const DumpId& id);

}  // namespace hvd::format
