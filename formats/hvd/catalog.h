// Catalog: where the records of a dump are, from its index or, when that is gone, from a scan of
// the whole file.
#pragma once

#include <string>
#include <vector>

#include "base/progress.h"
#include "formats/hvd/record_reader.h"

namespace hvd::format {

struct Catalog {
  /// All records but chunks and maps, in file order.
  std::vector<RecordPlace> records;
  /// Chunks and maps; filled by a scan only, since an intact dump finds them through its page map.
  std::vector<RecordPlace> memory_records;
  /// Intact records that repeat the place of an earlier one; filled by a scan. Nothing reads them.
  std::vector<RecordPlace> unused;
  bool complete = false;  // the footer is there and the index agrees with it
  std::vector<std::string> problems;
};

/// O(1) work plus the index. kCorrupt when the footer or the index is missing or damaged: then
/// scan.
Result<Catalog> read_index(const RecordReader& reader);

/// Finds every intact record, looking for the next one after damage. Never fails: what is lost is
/// in `problems`. `progress` may be null.
Catalog scan(const RecordReader& reader, Progress* progress);

}  // namespace hvd::format
