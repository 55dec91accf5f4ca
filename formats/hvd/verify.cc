#include "formats/hvd/verify.h"

#include <algorithm>
#include <cstring>

#include "base/byte_reader.h"

namespace hvd::format {
namespace {

struct Checkpoint {
  CheckpointHeader header{};
  std::vector<Hash> leaves;
  Hash node{};
};

// Parses and checks the signature.
Result<Checkpoint> open_checkpoint(const Dump& dump, const Record& record,
                                   const PublicKey& signer) {
  const std::string what = "checkpoint at byte " + std::to_string(record.file_offset);
  ByteReader in(record.payload, what);
  Checkpoint checkpoint;
  checkpoint.header = in.read<CheckpointHeader>();
  if (checkpoint.header.count > kMaxCheckpointLeaves) in.fail("has too many leaves");
  struct Leaf {
    unsigned char bytes[32];
  };
  const std::size_t count = in.count<Leaf>(checkpoint.header.count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto leaf = in.read<Leaf>();
    Hash hash;
    std::memcpy(hash.data(), leaf.bytes, hash.size());
    checkpoint.leaves.push_back(hash);
  }
  const std::size_t signed_size = in.position();
  Signature signature{};
  const ByteView bytes = in.bytes(signature.size());
  HVD_TRY(in.finish_exact());
  std::memcpy(signature.data(), bytes.data(), signature.size());
  checkpoint.node = checkpoint_node(dump.id(), ByteView(record.payload).first(signed_size));
  if (!signature_ok(signer, kCheckpointPurpose, dump.id(), checkpoint.node, signature)) {
    return Error{ErrorCode::kAuthentication, what + ": the signature is wrong"};
  }
  return checkpoint;
}

Result<void> check_footer(const Dump& dump, const Record& record, const Hash& node,
                          std::uint64_t checkpoint_offset) {
  ByteReader in(record.payload, "footer");
  const auto footer = in.read<Footer>();
  HVD_TRY(in.finish_exact());
  HVD_TRY(check_footer_signature(dump.reader().file_header(), footer));
  if (std::memcmp(footer.node, node.data(), node.size()) != 0 ||
      footer.record_count != record.header.number + 1 ||
      footer.checkpoint_offset != checkpoint_offset || footer.file_size != record.end()) {
    return Error{ErrorCode::kCorrupt, "footer: it was made for other contents"};
  }
  return {};
}

// The index must name every record before it but chunks and maps, in order.
bool index_agrees(const RecordReader& reader, const Catalog& scanned) {
  const auto index = read_index(reader);
  if (!index) return false;
  // The places appended by read_index itself: the last index and the last checkpoint.
  const std::uint64_t index_at = index->records[index->records.size() - 2].file_offset;
  std::vector<RecordPlace> entries(index->records.begin(), index->records.end() - 2);
  entries.insert(entries.end(), index->unused.begin(), index->unused.end());
  std::vector<RecordPlace> there = scanned.records;
  for (const RecordPlace& place : scanned.unused) {
    if (place.type != RecordType::kChunk && place.type != RecordType::kMap) there.push_back(place);
  }
  std::erase_if(there,
                [index_at](const RecordPlace& place) { return place.file_offset >= index_at; });
  const auto by_offset = [](const RecordPlace& a, const RecordPlace& b) {
    return a.file_offset < b.file_offset;
  };
  std::sort(there.begin(), there.end(), by_offset);
  std::sort(entries.begin(), entries.end(), by_offset);
  return std::equal(there.begin(), there.end(), entries.begin(), entries.end(),
                    [](const RecordPlace& a, const RecordPlace& b) {
                      return a.file_offset == b.file_offset && a.type == b.type &&
                             a.partition == b.partition && a.sequence == b.sequence;
                    });
}

}  // namespace

Verification verify(const Dump& dump, const std::optional<PublicKey>& expected,
                    Progress* progress) {
  Verification result;
  result.signer = dump.signer();
  const PublicKey& signer = result.signer;  // another one than expected is a problem of its own
  if (expected && *expected != result.signer)
    result.problems.emplace_back("the dump was signed by another key");

  const Catalog catalog = scan(dump.reader(), progress);
  result.problems.insert(result.problems.end(), catalog.problems.begin(), catalog.problems.end());
  std::vector<RecordPlace> places = catalog.records;
  places.insert(places.end(), catalog.memory_records.begin(), catalog.memory_records.end());
  places.insert(places.end(), catalog.unused.begin(), catalog.unused.end());
  std::sort(places.begin(), places.end(), [](const RecordPlace& a, const RecordPlace& b) {
    return a.file_offset < b.file_offset;
  });

  Hash node = file_header_hash(dump.reader().file_header());
  std::uint64_t checkpoint_offset = 0;
  std::vector<std::pair<std::uint64_t, Hash>> pending;  // record number, leaf
  for (const RecordPlace& place : places) {
    const auto record = dump.reader().read(place.file_offset);
    if (!record)
      continue;  // the scan has read it a moment ago; a vanishing one is not counted as intact
    ++result.records;
    if (place.type == RecordType::kFooter) {
      const auto good = check_footer(dump, *record, node, checkpoint_offset);
      if (good) result.complete = catalog.complete;
      else result.problems.push_back(good.error().message);
    } else if (place.type == RecordType::kCheckpoint) {
      checkpoint_offset = place.file_offset;
      const auto checkpoint = open_checkpoint(dump, *record, signer);
      if (!checkpoint) {
        result.problems.push_back(checkpoint.error().message);
        pending.clear();
        continue;
      }
      if (std::memcmp(checkpoint->header.previous, node.data(), node.size()) != 0) {
        result.problems.push_back("the checkpoint at byte " + std::to_string(place.file_offset) +
                                  " does not follow the one before it");
      }
      node = checkpoint->node;
      for (const auto& [number, leaf] : pending) {
        const std::uint64_t index = number - checkpoint->header.first_record;
        if (index < checkpoint->leaves.size() && checkpoint->leaves[index] == leaf)
          ++result.signed_records;
        else
          result.problems.push_back("record " + std::to_string(number) +
                                    " is not the one that was signed");
      }
      if (pending.size() < checkpoint->leaves.size()) {
        result.problems.push_back(std::to_string(checkpoint->leaves.size() - pending.size()) +
                                  " signed records before byte " +
                                  std::to_string(place.file_offset) + " are missing");
      }
      pending.clear();
    } else {
      pending.emplace_back(record->header.number,
                           leaf_of(dump.id(), record->header, hash_of(record->payload)));
    }
  }
  result.unsigned_records = pending.size();
  if (result.complete && !index_agrees(dump.reader(), catalog)) {
    result.problems.emplace_back("the index does not name the records that are there");
  }
  return result;
}

Result<void> verify_record(const Dump& dump, const Record& record) {
  const std::uint64_t number = record.header.number;
  for (const RecordPlace& place : dump.catalog().records) {
    if (place.type != RecordType::kCheckpoint || place.file_offset < record.file_offset) continue;
    const Record found = HVD_TRY(dump.reader().read_expected(place));
    const Checkpoint checkpoint = HVD_TRY(open_checkpoint(dump, found, dump.signer()));
    const std::uint64_t index = number - checkpoint.header.first_record;
    if (index >= checkpoint.leaves.size()) continue;
    if (checkpoint.leaves[index] != leaf_of(dump.id(), record.header, hash_of(record.payload))) {
      return Error{ErrorCode::kAuthentication,
                   "record " + std::to_string(number) + " is not the one that was signed"};
    }
    return {};
  }
  return Error{ErrorCode::kNotFound, "no checkpoint covers record " + std::to_string(number)};
}

}  // namespace hvd::format
