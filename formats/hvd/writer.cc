#include "formats/hvd/writer.h"

#include <sodium.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/byte_writer.h"
#include "base/json.h"
#include "base/text.h"
#include "formats/hvd/binding.h"

namespace hvd::format {

using nlohmann::json;

Result<DumpInfo> new_dump_info(std::string agent_json) {
  if (sodium_init() < 0) return Error{ErrorCode::kIo, "the system gives no usable randomness"};
  DumpInfo info;
  randombytes_buf(info.id.data(), info.id.size());
  info.created_ns = static_cast<std::uint64_t>(
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
  info.agent_json = std::move(agent_json);
  return info;
}

Result<std::unique_ptr<DumpWriter>> DumpWriter::create(std::unique_ptr<ByteSink> sink,
                                                       const DumpInfo& info,
                                                       const SigningKey& key) {
  auto records = HVD_TRY(RecordWriter::start(std::move(sink), info.id, info.created_ns, key));
  HVD_TRY(records->append(RecordType::kDump, kFlagCritical, kNoPartition, 0,
                          as_bytes(info.agent_json)));
  return std::unique_ptr<DumpWriter>(new DumpWriter(std::move(records)));
}

Result<std::unique_ptr<PartitionWriter>> DumpWriter::begin_partition(
    const PartitionInfo& info, std::shared_ptr<const Sealer> sealer,
    const std::vector<KeySlot>& slots) {
  const std::uint32_t number = next_partition_++;
  json header{{"name", info.name}, {"role", name_of(info.role)}, {"sealed", sealer != nullptr}};
  for (const KeyName key : sealer ? all_keys() : std::vector<KeyName>()) {
    const KeyCommitment commitment = HVD_TRY(sealer->commitment(key));
    header["commitments"][std::string(name_of(key))] =
        hex_bytes(std::as_bytes(std::span(commitment)));
  }
  std::unique_ptr<PartitionWriter> partition(
      new PartitionWriter(*records_, info, number, std::move(sealer)));
  HVD_TRY(
      partition->put_record(RecordType::kPartition, kFlagCritical, 0, as_bytes(to_text(header))));
  for (std::size_t i = 0; i < slots.size(); ++i) {
    ByteWriter slot;
    slot.u16(static_cast<std::uint16_t>(slots[i].recipient.size()))
        .put(as_bytes(slots[i].recipient));
    slot.put(ByteView(slots[i].blob));
    HVD_TRY(partition->put_record(RecordType::kKeySlot, kFlagCritical, i, slot.view()));
  }
  return partition;
}

Result<std::uint64_t> PartitionWriter::put_record(RecordType type, std::uint16_t flags,
                                                  std::uint64_t sequence, ByteView payload) {
  const std::uint64_t at = HVD_TRY(records_.append(type, flags, partition_, sequence, payload));
  file_bytes_ += record_bytes(payload.size());
  return at;
}

Result<std::uint64_t> PartitionWriter::put_block(RecordType type, std::uint64_t sequence,
                                                 ByteView raw, std::uint16_t flags) {
  if (raw.size() > kMaxRaw) {
    return Error{ErrorCode::kUnsupported,
                 "a metadata block of " + std::to_string(raw.size()) + " bytes is above the limit"};
  }
  Bytes payload = pack(raw);
  if (sealer_) {
    Place place{records_.file_hash(), type, partition_, sequence};
    Bytes sealed;
    HVD_TRY(sealer_->seal(piece_at(place, key_for(type)), payload, sealed));
    payload = std::move(sealed);
    flags |= kFlagSealed;
  }
  return put_record(type, flags | kFlagCritical, sequence, payload);
}

Result<void> PartitionWriter::facts(const Facts& facts) {
  HVD_TRY(put_block(RecordType::kFacts, 0, as_bytes(to_json(facts))));
  return {};
}

Result<void> PartitionWriter::note(const Note& note) {
  NoteHeader header{};
  header.type = note.type;
  header.name_size = static_cast<std::uint16_t>(note.name.size());
  ByteWriter raw;
  raw.put(header).put(as_bytes(note.name)).put(ByteView(note.contents));
  HVD_TRY(put_block(RecordType::kNote, notes_++, raw.view()));
  return {};
}

Result<void> PartitionWriter::registers(const Registers& registers) {
  RegistersHeader header{};
  header.id = registers.id;
  header.machine = kMachineX86_64;
  header.register_count = static_cast<std::uint16_t>(kRegCount);
  std::uint64_t known = 0;
  for (std::size_t i = 0; i < kRegCount; ++i)
    known |= std::uint64_t{registers.knows(static_cast<Reg>(i))} << i;
  header.known = known;
  ByteWriter raw;
  raw.put(header);
  for (std::size_t i = 0; i < kRegCount; ++i) raw.u64(registers[static_cast<Reg>(i)]);
  HVD_TRY(put_block(RecordType::kRegisters, register_sets_++, raw.view()));
  return {};
}

Result<SegmentWriter> PartitionWriter::segment(std::uint32_t number) {
  std::lock_guard lock(mutex_);
  const auto at = std::lower_bound(begun_.begin(), begun_.end(), number);
  if (at != begun_.end() && *at == number) {
    return Error{ErrorCode::kInvalidArgument,
                 "segment " + std::to_string(number) + " was already written"};
  }
  begun_.insert(at, number);
  return SegmentWriter(*this, number);
}

Result<std::uint64_t> PartitionWriter::put_chunk(std::uint32_t segment, std::uint32_t ordinal,
                                                 PageClass page_class,
                                                 const std::vector<std::uint16_t>& pages,
                                                 ByteView contents, ChunkRoom& room) {
  const Compressed body = compress(info_.codec, contents, room.compressed);
  ChunkDescriptor descriptor{};
  descriptor.segment = segment;
  descriptor.page_class = static_cast<unsigned char>(page_class);
  descriptor.codec = static_cast<unsigned char>(body.codec);
  descriptor.page_count = static_cast<std::uint16_t>(pages.size());
  ByteWriter raw_descriptor;
  raw_descriptor.put(descriptor);
  for (std::uint16_t page : pages) raw_descriptor.u16(page);

  Place place{records_.file_hash(), RecordType::kChunk, partition_,
              std::uint64_t{segment} << 16 | ordinal};
  Bytes& payload = room.payload;
  payload.assign(sizeof(ChunkHeader), std::byte{0});
  std::uint16_t flags = kFlagCritical;
  if (sealer_) {
    flags |= kFlagSealed;
    HVD_TRY(sealer_->seal(piece_at(place, KeyName::map()), raw_descriptor.view(), payload));
  } else {
    append(payload, raw_descriptor.view());
  }
  ChunkHeader header{};
  header.descriptor_size = static_cast<std::uint32_t>(payload.size() - sizeof header);
  std::memcpy(payload.data(), &header, sizeof header);
  if (sealer_) {
    place.part = 1;
    place.page_class = descriptor.page_class;
    place.codec = descriptor.codec;
    HVD_TRY(sealer_->seal(piece_at(place, KeyName::of(page_class)), body.data, payload));
  } else {
    append(payload, body.data);
  }
  return put_record(RecordType::kChunk, flags, place.sequence, payload);
}

Result<void> PartitionWriter::end(PartitionState state, const std::string& reason,
                                  const std::vector<std::string>& problems) {
  std::sort(maps_.begin(), maps_.end(),
            [](const MapIndexEntry& a, const MapIndexEntry& b) { return a.segment < b.segment; });
  std::uint64_t blocks = 0;
  for (std::size_t at = 0; at < maps_.size(); at += kMapIndexEntries, ++blocks) {
    ByteWriter raw;
    for (std::size_t i = at; i < std::min(maps_.size(), at + kMapIndexEntries); ++i)
      raw.put(maps_[i]);
    HVD_TRY(put_block(RecordType::kMapIndex, blocks, raw.view()));
  }
  json by_class = json::object(), absent = json::object();
  std::uint64_t stored = totals_.repeat_pages;
  for (std::size_t i = 0; i < kPageClassCount; ++i) {
    stored += totals_.stored_pages[i];
    if (totals_.stored_pages[i])
      by_class[std::string(name_of(static_cast<PageClass>(i)))] = totals_.stored_pages[i];
  }
  std::uint64_t missing = 0;
  for (std::size_t i = 0; i < kAbsenceCount; ++i) {
    missing += totals_.absent_pages[i];
    if (totals_.absent_pages[i])
      absent[std::string(name_of(static_cast<Absence>(i)))] = totals_.absent_pages[i];
  }
  const json summary{{"segments", totals_.segments},
                     {"chunks", totals_.chunks},
                     {"map_index_blocks", blocks},
                     {"notes", notes_},
                     {"registers", register_sets_},
                     {"stored_pages", by_class},
                     {"repeat_pages", totals_.repeat_pages},
                     {"absent_pages", absent},
                     {"problems", problems}};
  HVD_TRY(put_block(RecordType::kSummary, 0, as_bytes(to_text(summary))));
  const json outcome{{"state", name_of(state)},
                     {"reason", reason},
                     {"total_bytes", (stored + missing) * kPageBytes},
                     {"stored_bytes", stored * kPageBytes},
                     {"file_bytes", file_bytes_.load()}};
  HVD_TRY(put_record(RecordType::kPartitionEnd, kFlagCritical, 0, as_bytes(to_text(outcome))));
  return records_.checkpoint();
}

}  // namespace hvd::format
