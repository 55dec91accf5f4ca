#include "formats/hvd/dump.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "base/byte_reader.h"
#include "base/json.h"
#include "base/text.h"
#include "formats/hvd/device_end.h"

namespace hvd::format {
namespace {

using nlohmann::json;

std::string string_of(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::uint64_t number_of(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_number_unsigned() ? at->get<std::uint64_t>() : 0;
}

// Only memory kinds count.
std::vector<PhysRange> memory_ranges(const Facts& facts) {
  std::vector<PhysRange> ranges;
  for (const FactRange& range : facts.ranges)
    if (range.kind == "ram") ranges.push_back(range.range);
  return normalised(std::move(ranges));
}

// Whoever wrote the dump may have made pieces that open with two keys, and given each of two
// recipients another: only the key that is committed to counts.
Result<void> check_commitments(const DumpPartition& partition, const Opener& opener) {
  for (const KeyName key : all_keys()) {
    if (!opener.has(key)) continue;
    const KeyCommitment own = HVD_TRY(opener.commitment(key));
    const auto said = partition.commitments.find(name_of(key));
    if (said == partition.commitments.end() ||
        said->second != hex_bytes(std::as_bytes(std::span(own)))) {
      return Error{ErrorCode::kCorrupt, "the key \"" + std::string(name_of(key)) +
                                            "\" that was unwrapped is not the one that the "
                                            "partition commits to"};
    }
  }
  return {};
}

// Null for a machine whose registers this program does not know.
Result<std::optional<Registers>> parse_registers(ByteView raw) {
  ByteReader in(raw, "register record");
  const auto header = in.read<RegistersHeader>();
  if (header.machine != kMachineX86_64) {
    in.rest();
    HVD_TRY(in.finish());
    return std::optional<Registers>();
  }
  Registers registers;
  registers.id = header.id;
  const std::size_t count = in.count<le64>(header.register_count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t value = in.read<le64>();
    // A newer writer may know more registers than we do.
    if (i < kRegCount && ((header.known >> i) & 1)) registers.set(static_cast<Reg>(i), value);
  }
  HVD_TRY(in.finish());
  return std::optional(registers);
}

Result<Note> parse_note(ByteView raw) {
  ByteReader in(raw, "note record");
  const auto header = in.read<NoteHeader>();
  Note note;
  note.type = header.type;
  note.name = to_string(in.bytes(header.name_size));
  const ByteView contents = in.rest();
  note.contents.assign(contents.begin(), contents.end());
  HVD_TRY(in.finish());
  return note;
}

}  // namespace

std::string text_of(const DumpId& id) { return hex_bytes(std::as_bytes(std::span(id))); }

Result<Dump> Dump::open(const std::string& path, bool scan_always) {
  std::shared_ptr<const ByteSource> source = HVD_TRY(FileSource::open(path));
  return with_context(open(source, scan_always), path);
}

Result<Dump> Dump::open(const std::shared_ptr<const ByteSource>& source, bool scan_always) {
  RecordReader reader =
      HVD_TRY(RecordReader::open(source->is_device() ? dump_on_device(source) : source));
  Dump dump(std::move(reader));
  auto index =
      scan_always ? Result<Catalog>(Error{ErrorCode::kNotFound, ""}) : read_index(dump.reader_);
  if (index) {
    dump.catalog_ = std::move(*index);
  } else {
    Progress progress("Scanning the dump", source->size());
    dump.catalog_ = scan(dump.reader_, &progress);
  }
  dump.problems_ = dump.catalog_.problems;
  dump.collect_partitions();
  return dump;
}

PublicKey Dump::signer() const {
  PublicKey key{};
  std::memcpy(key.data(), reader_.file_header().signer, key.size());
  return key;
}

DumpPartition* Dump::by_number(std::uint32_t number) {
  const auto at = std::find_if(partitions_.begin(), partitions_.end(),
                               [&](const DumpPartition& p) { return p.number == number; });
  return at == partitions_.end() ? nullptr : &*at;
}

void Dump::collect_partitions() {
  for (const RecordPlace& place : catalog_.records) {
    if (auto done = read_visible(place); !done) {
      problems_.push_back(done.error().message);
      DumpPartition* partition = by_number(place.partition);
      if (partition && place.type == RecordType::kKeySlot) ++partition->damaged_slots;
    }
  }
  for (DumpPartition& partition : partitions_) {
    if (partition.state == PartitionState::kIncomplete && partition.reason.empty()) {
      partition.reason = "the dump ends before this partition does";
    }
  }
}

Result<void> Dump::read_visible(const RecordPlace& place) {
  if (static_cast<std::uint16_t>(place.type) > kLastRecordType) return read_unknown(place);
  const bool visible = place.type == RecordType::kDump || place.type == RecordType::kPartition ||
                       place.type == RecordType::kKeySlot ||
                       place.type == RecordType::kPartitionEnd;
  if (!visible) return {};
  const Record record = HVD_TRY(reader_.read_expected(place));
  if (place.type == RecordType::kDump) {
    if (!parse_json_object(record.payload).is_discarded()) agent_ = to_string(record.payload);
    return {};
  }
  if (place.type == RecordType::kPartition) {
    const json object = parse_json_object(record.payload);
    const auto role = role_from(object.is_object() ? string_of(object, "role") : "");
    if (!role || by_number(place.partition)) {
      return Error{ErrorCode::kCorrupt,
                   "partition " + std::to_string(place.partition) + " has no valid header"};
    }
    DumpPartition partition;
    partition.number = place.partition;
    partition.name = string_of(object, "name");
    partition.role = *role;
    // Anything but a plain `false` counts as sealed: then nothing is taken for plaintext by
    // mistake.
    partition.sealed = object.value("sealed", json(true)) != json(false);
    const json commitments = object.value("commitments", json());
    for (const KeyName key : all_keys()) {
      const std::string name(name_of(key));
      if (commitments.is_object() && commitments.contains(name))
        partition.commitments[name] = string_of(commitments, name.c_str());
    }
    partitions_.push_back(std::move(partition));
    return {};
  }
  DumpPartition* partition = by_number(place.partition);
  if (!partition) {
    return Error{ErrorCode::kCorrupt, "a record belongs to partition " +
                                          std::to_string(place.partition) +
                                          ", which has no header"};
  }
  if (place.type == RecordType::kKeySlot) {
    ByteReader in(record.payload, "key slot");
    const std::uint16_t label = in.read<le16>();
    KeySlot slot;
    slot.recipient = to_string(in.bytes(label));
    const ByteView blob = in.rest();
    slot.blob.assign(blob.begin(), blob.end());
    HVD_TRY(in.finish());
    partition->slots.push_back(std::move(slot));
    return {};
  }
  const json object = parse_json_object(record.payload);
  const auto state = state_from(object.is_object() ? string_of(object, "state") : "");
  if (!state)
    return Error{ErrorCode::kCorrupt, "partition " + partition->name + " ends in a damaged record"};
  partition->state = *state;
  partition->reason = string_of(object, "reason");
  partition->total_bytes = number_of(object, "total_bytes");
  partition->stored_bytes = number_of(object, "stored_bytes");
  if (const std::uint64_t size = number_of(object, "file_bytes");
      size > 0 && size <= place.file_offset)
    partition->file_bytes = size;
  return {};
}

// A record type of a later version. Critical means: what it says changes what the rest means.
Result<void> Dump::read_unknown(const RecordPlace& place) {
  const Record record = HVD_TRY(reader_.read_expected(place));
  if (!(record.header.flags & kFlagCritical)) return {};
  const std::string why =
      "a later version of the format wrote it: it holds a critical record of unknown type " +
      std::to_string(record.header.type);
  for (DumpPartition& partition : partitions_) {
    if (place.partition == kNoPartition || place.partition == partition.number)
      partition.refused = why;
  }
  return Error{ErrorCode::kUnsupported, why};
}

Result<const DumpPartition*> Dump::find(const std::string& name) const {
  std::string names;
  for (const DumpPartition& partition : partitions_) {
    if (partition.name == name) return &partition;
    names += (names.empty() ? "" : ", ") + partition.name;
  }
  return Error{ErrorCode::kNotFound, "the dump has no partition " + name +
                                         "; it has: " + (names.empty() ? "none" : names)};
}

Result<std::shared_ptr<const Opener>> Dump::unlock(const DumpPartition& partition,
                                                   const KeyProvider& keys) const {
  if (!partition.sealed) return std::shared_ptr<const Opener>();
  auto opener = keys.unlock(id(), partition.number, partition.slots);
  if (!opener && partition.damaged_slots > 0 && opener.error().code == ErrorCode::kAuthentication) {
    return Error{ErrorCode::kCorrupt,
                 "partition " + partition.name +
                     ": damaged key slot: " + std::to_string(partition.damaged_slots) +
                     " of its key slots cannot be read, and no other one fits"};
  }
  if (!opener) return std::move(opener).error().in("partition " + partition.name);
  HVD_TRY(with_context(check_commitments(partition, **opener), "partition " + partition.name));
  return std::shared_ptr<const Opener>(std::move(*opener));
}

Result<Image> Dump::image(const DumpPartition& partition, const KeyProvider& keys) const {
  auto opener = unlock(partition, keys);
  if (opener) return image(partition, *opener);
  Image image;
  image.name = partition.name;
  image.role = partition.role;
  image.state = partition.state;
  image.state_reason = partition.reason;
  image.locked = true;
  image.problems.push_back(opener.error().message);
  return image;
}

SegmentTable Dump::segments_of(const DumpPartition& partition, const Opener* opener,
                               Image& image) const {
  SegmentTable table;
  const auto problem = [&](const Error& error) { image.problems.push_back(error.message); };
  for (const RecordPlace& place : catalog_.records) {
    if (place.type != RecordType::kMapIndex || place.partition != partition.number) continue;
    const auto read_block = [&]() -> Result<void> {
      const Record record = HVD_TRY(reader_.read_expected(place));
      const Bytes raw = HVD_TRY(reader_.block(record, opener));
      ByteReader in(raw, "map index of partition " + partition.name);
      while (in.remaining() > 0) {
        const auto entry = in.read<MapIndexEntry>();
        if (in.ok()) table[entry.segment].map_offset = entry.file_offset;
      }
      return in.finish();
    };
    if (auto done = read_block(); !done) problem(done.error());
  }
  // After a scan the maps and chunks themselves are known, also those that no index names.
  for (const RecordPlace& place : catalog_.memory_records) {
    if (place.partition == partition.number && place.type == RecordType::kMap) {
      table[static_cast<std::uint32_t>(place.sequence)].map_offset = place.file_offset;
    }
  }
  for (const RecordPlace& place : catalog_.memory_records) {
    if (place.partition != partition.number || place.type != RecordType::kChunk) continue;
    SegmentPlace& segment = table[static_cast<std::uint32_t>(place.sequence >> 16)];
    segment.chunk_offsets[static_cast<std::uint32_t>(place.sequence & 0xffff)] = place.file_offset;
    if (segment.map_offset != 0) continue;
    const auto read_chunk = [&]() -> Result<void> {
      const Record record = HVD_TRY(reader_.read_expected(place));
      ChunkContents contents = HVD_TRY(chunk_descriptor(reader_, record, opener));
      MapChunk entry{};
      entry.file_offset = place.file_offset;
      entry.page_class = static_cast<unsigned char>(contents.page_class);
      entry.page_count = static_cast<std::uint16_t>(contents.pages.size());
      entry.ordinal = static_cast<std::uint32_t>(place.sequence & 0xffff);
      segment.salvaged.emplace_back(entry, std::move(contents));
      return {};
    };
    if (auto done = read_chunk(); !done) problem(done.error());
  }
  return table;
}

std::optional<std::uint64_t> Dump::read_details(const DumpPartition& partition,
                                                const Opener* opener, Image& image) const {
  std::optional<std::uint64_t> segments;
  std::size_t unknown_registers = 0;
  for (const RecordPlace& place : catalog_.records) {
    if (place.partition != partition.number) continue;
    const auto read_one = [&]() -> Result<void> {
      switch (place.type) {
        case RecordType::kFacts:
        case RecordType::kSummary:
        case RecordType::kNote:
        case RecordType::kRegisters: break;
        default: return {};
      }
      const Record record = HVD_TRY(reader_.read_expected(place));
      const Bytes raw = HVD_TRY(reader_.block(record, opener));
      if (place.type == RecordType::kNote) {
        Note note = HVD_TRY(parse_note(raw));
        image.notes.push_back(std::move(note));
      } else if (place.type == RecordType::kRegisters) {
        const auto registers = HVD_TRY(parse_registers(raw));
        if (registers) image.registers.push_back(*registers);
        else ++unknown_registers;
      } else if (place.type == RecordType::kFacts) {
        image.facts = HVD_TRY(with_context(parse_facts(raw), "partition " + partition.name));
      } else {
        const json summary = parse_json_object(raw);
        if (summary.is_discarded()) {
          return Error{ErrorCode::kCorrupt,
                       "the summary of partition " + partition.name + " is not a JSON object"};
        }
        segments = number_of(summary, "segments");
        const auto list = summary.find("problems");
        if (list != summary.end() && list->is_array()) {
          for (const json& item : *list) {
            if (item.is_string()) image.problems.push_back(item.get<std::string>());
          }
        }
        if (number_of(summary, "notes") != image.notes.size() ||
            number_of(summary, "registers") != image.registers.size() + unknown_registers) {
          return Error{ErrorCode::kCorrupt,
                       "partition " + partition.name + " has lost notes or registers"};
        }
      }
      return {};
    };
    // Without the class key notes and registers are simply not ours to see.
    if (auto done = read_one(); !done && done.error().code != ErrorCode::kSealed) {
      image.problems.push_back(done.error().message);
    }
  }
  if (unknown_registers > 0) {
    image.problems.push_back(std::to_string(unknown_registers) +
                             " register sets are of a machine that this program does not know");
  }
  return segments;
}

Result<Image> Dump::image(const DumpPartition& partition,
                          std::shared_ptr<const Opener> opener) const {
  if (!partition.refused.empty()) {
    return Error{ErrorCode::kUnsupported,
                 "partition " + partition.name + " cannot be read: " + partition.refused};
  }
  Image image;
  image.name = partition.name;
  image.role = partition.role;
  image.state = partition.state;
  image.state_reason = partition.reason;
  const std::optional<std::uint64_t> expected_segments =
      read_details(partition, opener.get(), image);
  SegmentTable segments = segments_of(partition, opener.get(), image);
  std::vector<PhysRange> ranges = memory_ranges(image.facts);
  if (ranges.empty()) {
    for (const auto& [segment, place] : segments)
      ranges.push_back({PhysAddr{segment * kSegmentBytes}, kSegmentBytes});
    ranges = normalised(std::move(ranges));
  }
  if (expected_segments && *expected_segments != segments.size()) {
    image.problems.push_back("the page map names " + std::to_string(segments.size()) +
                             " segments of memory but " + std::to_string(*expected_segments) +
                             " were written");
  }
  const bool exact = image.facts.address_space == AddressKind::kProcess;
  const bool torn =
      partition.state == PartitionState::kIncomplete || expected_segments != segments.size();
  image.memory = std::make_shared<HvdMemory>(reader_, std::move(opener), partition.number,
                                             std::move(segments), std::move(ranges), exact, torn);
  return image;
}

}  // namespace hvd::format
