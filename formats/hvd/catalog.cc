#include "formats/hvd/catalog.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "base/byte_reader.h"
#include "base/text.h"

namespace hvd::format {
namespace {

// The next offset at or after `from` where a record's magic stands, or nothing.
std::optional<std::uint64_t> find_magic(const ByteSource& source, std::uint64_t from) {
  constexpr std::size_t kWindow = 1u << 20;
  std::uint64_t at = (from + kAlignment - 1) / kAlignment * kAlignment;
  Bytes window;
  while (at + sizeof(RecordHeader) <= source.size()) {
    const auto size =
        static_cast<std::size_t>(std::min<std::uint64_t>(kWindow, source.size() - at));
    auto bytes = source.read(at, size);
    if (!bytes) {
      at += kWindow;  // an unreadable stretch of the medium: go on behind it
      continue;
    }
    for (std::size_t i = 0; i + kRecordMagic.size() <= size; i += kAlignment) {
      if (std::memcmp(bytes->data() + i, kRecordMagic.data(), kRecordMagic.size()) == 0)
        return at + i;
    }
    at += size;
  }
  return std::nullopt;
}

}  // namespace

Result<Catalog> read_index(const RecordReader& reader) {
  const std::uint64_t size = reader.source().size();
  const auto no_footer = [](const std::string& why) {
    return Error{ErrorCode::kCorrupt, "the dump is incomplete: " + why};
  };
  if (size < sizeof(FileHeader) + kFooterRecordBytes || size % kAlignment != 0)
    return no_footer("it has no footer");
  const auto last = reader.read(size - kFooterRecordBytes);
  if (!last || last->type() != RecordType::kFooter) return no_footer("it does not end in a footer");
  ByteReader footer_in(last->payload, "footer");
  const auto footer = footer_in.read<Footer>();
  HVD_TRY(footer_in.finish_exact());
  if (footer.file_size != size)
    return no_footer("the footer was written for a file of another size");
  HVD_TRY(check_footer_signature(reader.file_header(), footer));

  const Record index =
      HVD_TRY(reader.read_expected({footer.index_offset, RecordType::kIndex, kNoPartition, 0}));
  ByteReader in(index.payload, "index");
  const std::uint32_t claimed = in.read<le32>();
  in.read<le32>();
  const std::size_t count = in.count<IndexEntry>(claimed);
  Catalog catalog;
  catalog.complete = true;
  catalog.records.reserve(count + 2);
  std::set<std::tuple<std::uint32_t, std::uint16_t, std::uint64_t>> seen;
  for (std::size_t i = 0; i < count; ++i) {
    const auto entry = in.read<IndexEntry>();
    // One record named again and again would be read as often.
    if (!seen.emplace(entry.partition, entry.type, entry.sequence).second) {
      if (catalog.unused.empty()) catalog.problems.emplace_back("the index names records twice");
      catalog.unused.push_back({entry.file_offset,
                                static_cast<RecordType>(std::uint16_t{entry.type}), entry.partition,
                                entry.sequence});
      continue;
    }
    catalog.records.push_back({entry.file_offset,
                               static_cast<RecordType>(std::uint16_t{entry.type}), entry.partition,
                               entry.sequence});
  }
  HVD_TRY(in.finish_exact());
  // Written after the index, so not in it.
  catalog.records.push_back({footer.index_offset, RecordType::kIndex, kNoPartition, 0});
  const Record checkpoint = HVD_TRY(reader.read(footer.checkpoint_offset));
  catalog.records.push_back({footer.checkpoint_offset, checkpoint.type(),
                             checkpoint.header.partition, checkpoint.header.sequence});
  return catalog;
}

Catalog scan(const RecordReader& reader, Progress* progress) {
  Catalog catalog;
  const ByteSource& source = reader.source();
  std::uint64_t at = sizeof(FileHeader);
  std::uint64_t next_number = 0;
  std::uint64_t wasted = 0;
  std::set<std::tuple<std::uint32_t, std::uint16_t, std::uint64_t>> seen;
  std::optional<std::uint64_t> damage_from;
  const auto report_damage = [&](std::uint64_t end, const std::string& lost) {
    catalog.problems.push_back("damaged between byte " + std::to_string(*damage_from) + " and " +
                               std::to_string(end) + " (" + human_size(end - *damage_from) + lost +
                               ")");
    damage_from.reset();
  };
  while (at < source.size()) {
    auto record = reader.read(at);
    if (!record) {
      if (!damage_from) damage_from = at;
      // Each failed try may hash up to a whole payload. A file made of nothing but false record
      // headers must not turn a scan into quadratic work.
      wasted += kMaxPayload / 16;
      if (wasted > 64 * source.size() + (std::uint64_t{1} << 32)) {
        report_damage(source.size(), "; gave up looking for more records");
        return catalog;
      }
      const auto next = find_magic(source, at + kAlignment);
      if (!next) break;
      at = *next;
      continue;
    }
    const RecordHeader& header = record->header;
    // Behind damage the next intact record need not be the file's next one: memory in the clear can
    // hold a copy of this very dump's earlier records, for one when the machine that writes the
    // dump captures its own page cache.
    if (damage_from && header.number < next_number) {
      const auto next = find_magic(source, at + kAlignment);
      if (!next) break;
      at = *next;
      continue;
    }
    if (damage_from) {
      const std::uint64_t lost = header.number > next_number ? header.number - next_number : 0;
      report_damage(at, ", " + std::to_string(lost) + " records lost");
    } else if (header.number != next_number) {
      catalog.problems.push_back("record " + std::to_string(header.number) + " at byte " +
                                 std::to_string(at) + " stands where record " +
                                 std::to_string(next_number) + " should");
    }
    next_number = header.number + 1;
    const RecordPlace place{at, record->type(), header.partition, header.sequence};
    at = record->end();
    if (progress) progress->advance(record->payload.size());
    // SPEC.md, "Records": a second record of one place is not used. An appended index and footer
    // replace the first.
    const bool replaceable = place.type == RecordType::kIndex || place.type == RecordType::kFooter;
    if (!replaceable && !seen.emplace(place.partition, header.type, place.sequence).second) {
      catalog.unused.push_back(place);
      continue;
    }
    const bool memory = place.type == RecordType::kChunk || place.type == RecordType::kMap;
    (memory ? catalog.memory_records : catalog.records).push_back(place);
    if (place.type == RecordType::kFooter && at == source.size())
      catalog.complete = read_index(reader).has_value();
  }
  if (damage_from) report_damage(source.size(), "");
  if (!catalog.complete)
    catalog.problems.emplace_back("the dump is incomplete: it was cut off before its end");
  return catalog;
}

}  // namespace hvd::format
