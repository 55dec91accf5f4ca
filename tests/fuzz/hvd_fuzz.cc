// An .hvd: open by index and by scan, every partition, its memory, verification.
#include <cstring>

#include "envelope/partition_keys.h"
#include "formats/hvd/dump.h"
#include "formats/hvd/verify.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_keys.h"

namespace {

using namespace hvd;
using namespace hvd::format;

// Hashes and signatures stop a mutation at the door. Whoever made a dump can make these fit, so
// this makes them fit.
void repair(Bytes& bytes) {
  FileHeader header{};
  if (bytes.size() < sizeof header) return;
  const SigningKey key = fuzz::signing_key();
  std::memcpy(&header, bytes.data(), sizeof header);
  std::memcpy(header.signer, key.public_key().data(), sizeof header.signer);
  const auto check = file_header_check(header);
  std::memcpy(header.check, check.data(), check.size());
  std::memcpy(bytes.data(), &header, sizeof header);
  const DumpId dump = dump_id_of(header);
  std::size_t at = sizeof header;
  while (bytes.size() - at >= sizeof(RecordHeader)) {
    RecordHeader record{};
    std::memcpy(&record, bytes.data() + at, sizeof record);
    const std::size_t size = record.payload_size, payload_at = at + sizeof record;
    if (std::memcmp(record.magic, kRecordMagic.data(), kRecordMagic.size()) != 0 ||
        size > bytes.size() - payload_at) {
      at += kAlignment;
      if (at > bytes.size()) return;
      continue;
    }
    if (record.type == static_cast<std::uint16_t>(RecordType::kFooter) && size == sizeof(Footer)) {
      Footer footer{};
      std::memcpy(&footer, bytes.data() + payload_at, sizeof footer);
      footer.file_size = bytes.size();
      const ByteView unsigned_part =
          hvd::bytes_of(footer).first(sizeof footer - sizeof footer.signature);
      const Signature signature = key.sign(kFooterPurpose, dump, keyed_hash(dump, unsigned_part));
      std::memcpy(footer.signature, signature.data(), signature.size());
      std::memcpy(bytes.data() + payload_at, &footer, sizeof footer);
    }
    set_check(record, leaf_of(dump, record, hash_of(ByteView(bytes).subspan(payload_at, size))));
    std::memcpy(bytes.data() + at, &record, sizeof record);
    at = payload_at + (size + kAlignment - 1) / kAlignment * kAlignment;
    if (at > bytes.size()) return;
  }
}

void read_all(const Bytes& bytes) {
  const fuzz::FixedKeys keys;
  for (const bool scan_always : {false, true}) {
    const auto dump = Dump::open(std::make_shared<BufferSource>(bytes), scan_always);
    if (!dump) return;
    std::size_t count = 0;
    for (const DumpPartition& partition : dump->partitions()) {
      if (++count > 16) break;
      const auto image = dump->image(partition, keys);
      if (image && image->memory) fuzz::walk(*image->memory);
    }
    (void)dump->find("guest").has_value();
    if (scan_always) (void)verify(*dump, std::nullopt, nullptr).good();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(fuzz::bytes_of_input(data, size).begin(), fuzz::bytes_of_input(data, size).end());
  read_all(bytes);
  repair(bytes);
  read_all(bytes);
  return 0;
}
