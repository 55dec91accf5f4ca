// Writes the dump of SPEC.md's "Worked example" with our writer, for spec_example.py to compare
// byte by byte.
#include <cstdio>
#include <cstring>

#include "base/byte_sink.h"
#include "formats/hvd/writer.h"

namespace hvd {
namespace {

Result<void> write_example(const std::string& path) {
  using namespace format;
  auto sink = HVD_TRY(FileSink::create(path));
  DumpInfo info;
  for (std::uint8_t i = 0; i < 16; ++i) info.id[i] = i;
  info.created_ns = 1'000'000'000ull * 1'000'000'000ull;
  info.agent_json = "{}";
  std::string seed = "hvdump-signing-key ";
  for (int i = 0; i < 32; ++i) seed += "07";
  const SigningKey key = HVD_TRY(SigningKey::parse(seed));
  const auto dump = HVD_TRY(DumpWriter::create(std::move(sink), info, key));
  const auto partition =
      HVD_TRY(dump->begin_partition({.name = "example", .codec = Codec::kZstd}, nullptr, {}));
  Facts facts;
  facts.ranges.push_back({{PhysAddr{0}, 3 * kPageBytes}, "ram", {}});
  HVD_TRY(partition->facts(facts));
  SegmentWriter segment = HVD_TRY(partition->segment(0));
  segment.absent(0, Absence::kZero);
  segment.absent(1, Absence::kUnreadable);
  Bytes page(kPageBytes);
  for (std::size_t at = 0; at < page.size(); at += 8) std::memcpy(page.data() + at, "hvdump!\n", 8);
  HVD_TRY(segment.store(2, PageClass::kUnclassified, page));
  HVD_TRY(segment.finish());
  HVD_TRY(partition->end(PartitionState::kCaptured, "", {}));
  return dump->finish();
}

}  // namespace
}  // namespace hvd

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto done = hvd::write_example(argv[1]);
  if (!done) std::fprintf(stderr, "%s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
