// Prints what our reader makes of a vector, in the vocabulary of tests/vectors/README.md, for
// compare.py.
#include <sodium.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/json.h"
#include "base/text.h"
#include "envelope/keyring.h"
#include "formats/hvd/dump.h"
#include "formats/hvd/verify.h"

namespace hvd {
namespace {

using nlohmann::json;

// A partition key given as such instead of in a slot.
class BareKey final : public KeyProvider {
 public:
  BareKey(const std::string& hex, const format::Dump& dump) : dump_(dump) {
    if (const auto bytes = from_hex(hex)) key_ = SecretBytes(ByteView(*bytes));
  }
  Result<std::unique_ptr<Opener>> unlock(const DumpId&, std::uint32_t partition,
                                         const std::vector<KeySlot>&) const override {
    if (key_.size() != kPartitionKeySize) return Error{ErrorCode::kSealed, "no key"};
    auto keys = std::make_unique<PartitionKeys>(PartitionKeys::derive(key_));
    // A key that opens nothing of the partition counts as not given.
    for (const auto& list : {dump_.catalog().records, dump_.catalog().memory_records}) {
      for (const format::RecordPlace& place : list) {
        if (place.partition != partition) continue;
        const auto record = dump_.reader().read(place.file_offset);
        if (!record || !record->sealed()) continue;
        const bool chunk = place.type == format::RecordType::kChunk;
        const bool opens =
            chunk ? format::chunk_descriptor(dump_.reader(), *record, keys.get()).has_value()
                  : dump_.reader().block(*record, keys.get()).has_value();
        if (opens) return std::unique_ptr<Opener>(std::move(keys));
      }
    }
    return Error{ErrorCode::kAuthentication, "the key opens nothing"};
  }

 private:
  const format::Dump& dump_;
  SecretBytes key_;
};

json page_json(const Image& image, std::uint64_t number) {
  const PhysAddr at{number * kPageSize};
  const Extent extent = image.memory->extent_at(at);
  switch (extent.kind) {
    case Extent::Kind::kZero: return {{"state", "zero"}};
    case Extent::Kind::kAbsent: return {{"state", "absent:" + std::string(name_of(extent.reason))}};
    case Extent::Kind::kSealed: return {{"state", "sealed"}};
    case Extent::Kind::kUnknown: return {{"state", "unknown"}};
    case Extent::Kind::kHole:
    case Extent::Kind::kStored: break;
  }
  Bytes page(kPageSize);
  const bool whole = extent.kind == Extent::Kind::kStored && extent.range.size >= kPageSize;
  if (whole && !image.memory->read(at, page)) return {{"state", "damaged"}};
  if (!whole) {
    // A process partition's range may end within the page.
    page.assign(kPageSize, std::byte{0});
    bool any = false;
    for (const PhysRange& range : image.memory->ranges()) {
      const std::uint64_t begin = std::max(range.begin.value, at.value);
      const std::uint64_t end = std::min(range.begin.value + range.size, at.value + kPageSize);
      if (begin >= end) continue;
      any = image.memory
                ->read(PhysAddr{begin}, MutableBytes(page).subspan(begin - at.value, end - begin))
                .has_value();
      if (!any) break;
    }
    if (!any) return {{"state", extent.kind == Extent::Kind::kHole ? "hole" : "damaged"}};
  }
  unsigned char hash[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(hash, u8(ByteView(page)), page.size());
  return {{"state", "stored"}, {"sha256", hex_bytes(std::as_bytes(std::span(hash)))}};
}

json partition_json(const format::Dump& dump, const format::DumpPartition& partition,
                    const KeyProvider& keys, const std::vector<std::uint64_t>& pages) {
  json out{{"name", partition.name},
           {"state", partition.refused.empty() ? name_of(partition.state) : "refused"},
           {"sealed", partition.sealed},
           {"pages", json::object()}};
  const auto image = dump.image(partition, keys);
  for (std::uint64_t page : pages) {
    json& entry = out["pages"][std::to_string(page)];
    if (!image) entry = {{"state", "unknown"}};
    else if (image->locked || !image->memory) entry = {{"state", "sealed"}};
    else entry = page_json(*image, page);
  }
  return out;
}

}  // namespace
}  // namespace hvd

int main(int argc, char** argv) {
  using namespace hvd;
  CLI::App app("Prints what the reader makes of a dump");
  std::string path, key, identity;
  std::vector<std::uint64_t> pages;
  bool salvage = false;
  app.add_option("dump", path)->required();
  app.add_option("--pages", pages)->delimiter(',');
  app.add_option("--partition-key", key);
  app.add_option("--identity", identity);
  app.add_flag("--salvage", salvage);
  CLI11_PARSE(app, argc, argv);
  nlohmann::json out{{"open", "refused"}};
  const auto dump = format::Dump::open(path, salvage);
  if (!require_sodium() || !dump) {
    std::puts(out.dump().c_str());
    return 0;
  }
  const auto keyring = identity.empty() ? Keyring() : Keyring::load({identity}).value_or(Keyring());
  const BareKey bare(key, *dump);
  const KeyProvider& keys = identity.empty() ? static_cast<const KeyProvider&>(bare) : keyring;
  const auto verified = format::verify(*dump, std::nullopt, nullptr);
  out = {{"open", "ok"},
         {"complete", verified.complete},
         {"verify", verified.good() ? "good" : "bad"},
         {"partitions", nlohmann::json::array()}};
  for (const auto& partition : dump->partitions()) {
    out["partitions"].push_back(partition_json(*dump, partition, keys, pages));
  }
  std::puts(to_text(out).c_str());
  return 0;
}
