// Builds small dumps in memory for tests: one guest with every kind of page.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <vector>

#include "base/byte_sink.h"
#include "base/byte_source.h"
#include "envelope/keyring.h"
#include "formats/hvd/dump.h"
#include "formats/hvd/verify.h"
#include "formats/hvd/writer.h"

namespace hvd {

inline constexpr std::uint64_t kZeroPage = 300;
inline constexpr std::uint64_t kUnreadablePage = 301;
inline constexpr std::uint64_t kRestrictedPage = 302;
inline constexpr std::size_t kRepeatsInDump = 20;  // in one segment, at most

struct DumpOptions {
  bool sealed = true;
  format::Codec codec = format::Codec::kZstd;
  std::uint64_t pages = 200;
};

struct BuiltDump {
  Bytes bytes;
  std::map<std::uint64_t, Bytes> pages;  // by page number
  std::vector<Registers> registers;
  X25519Identity identity;
  std::uint64_t end_address = 0;

  std::shared_ptr<BufferSource> source() const { return std::make_shared<BufferSource>(bytes); }
  Keyring keyring() const {
    Keyring keyring;
    keyring.add(identity);
    return keyring;
  }
};

/// Keeps what a BufferSink received after its writer is gone.
class SharedSink final : public ByteSink {
 public:
  explicit SharedSink(std::shared_ptr<Bytes> bytes) : bytes_(std::move(bytes)) {}
  Result<void> append(ByteView bytes) override {
    hvd::append(*bytes_, bytes);
    return {};
  }
  Result<void> sync() override { return {}; }

 private:
  std::shared_ptr<Bytes> bytes_;
};

inline BuiltDump build_dump(const DumpOptions& options) {
  using namespace format;
  BuiltDump built;
  built.identity = generate_identity().value();
  auto bytes = std::make_shared<Bytes>();
  auto writer = DumpWriter::create(std::make_unique<SharedSink>(bytes),
                                   new_dump_info(R"({"name":"test"})").value(),
                                   SigningKey::generate().value())
                    .value();
  std::shared_ptr<const PartitionKeys> keys;
  std::vector<KeySlot> slots;
  if (options.sealed) {
    keys = std::make_shared<PartitionKeys>(PartitionKeys::generate().value());
    slots = make_key_slots(*keys, writer->id(), writer->next_partition(),
                           {Recipient(built.identity.recipient())})
                .value();
  }
  auto partition =
      writer->begin_partition({.name = "guest", .codec = options.codec}, keys, slots).value();
  built.end_address = 2 * kSegmentBytes;
  Facts facts;
  facts.uuid = "uuid-in-facts";
  facts.ranges.push_back({{PhysAddr{0}, built.end_address}, "ram", {}});
  EXPECT_TRUE(partition->facts(facts));
  EXPECT_TRUE(partition->note(
      {"VMCOREINFO", 0,
       Bytes(as_bytes("OSRELEASE=test").begin(), as_bytes("OSRELEASE=test").end())}));
  for (std::uint32_t cpu = 0; cpu < 2; ++cpu) {
    Registers registers;
    registers.id = cpu;
    registers.set(Reg::kRip, 0xffffffff81000000 + cpu);
    built.registers.push_back(registers);
    EXPECT_TRUE(partition->registers(registers));
  }
  for (std::uint32_t segment = 0; segment < 2; ++segment) {
    SegmentWriter out = partition->segment(segment).value();
    for (std::uint64_t i = 0; i < kSegmentPages; ++i) {
      const std::uint64_t page = segment * kSegmentPages + i;
      Bytes contents(kPageBytes);
      if (i < options.pages) {
        for (std::size_t at = 0; at < kPageBytes; at += 8) {
          // Every tenth page is the same one; the others differ.
          const std::uint64_t word = (i % 10 == 9 ? 7 : page * 0x9e3779b97f4a7c15u) + at;
          std::memcpy(contents.data() + at, &word, sizeof word);
        }
        std::memcpy(contents.data() + 100, "canary-in-memory", 16);
        EXPECT_TRUE(out.store(static_cast<std::uint32_t>(i),
                              i % 3 ? PageClass::kUser : PageClass::kKernel, contents));
        built.pages[page] = contents;
      } else if (page == kUnreadablePage) {
        out.absent(static_cast<std::uint32_t>(i), Absence::kUnreadable);
      } else if (page == kRestrictedPage) {
        out.absent(static_cast<std::uint32_t>(i), Absence::kRestricted);
      } else {
        EXPECT_TRUE(out.store(static_cast<std::uint32_t>(i), PageClass::kKernel, contents));
      }
    }
    EXPECT_TRUE(out.finish());
  }
  EXPECT_TRUE(partition->end(PartitionState::kCaptured, "", {}));
  EXPECT_TRUE(writer->finish());
  built.bytes = *bytes;
  return built;
}

inline void expect_same_memory(const BuiltDump& built, const PhysicalMemory& memory) {
  for (const auto& [page, contents] : built.pages) {
    Bytes got(format::kPageBytes);
    const auto read = memory.read(PhysAddr{page * format::kPageBytes}, got);
    ASSERT_TRUE(read) << read.error().message;
    ASSERT_EQ(got, contents) << "page " << page;
  }
}

}  // namespace hvd
