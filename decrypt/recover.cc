// recover: one partition, unsealed, as a dump of its own.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/byte_sink.h"
#include "base/output_file.h"
#include "base/parallel.h"
#include "base/text.h"
#include "base/version.h"
#include "decrypt/commands.h"
#include "envelope/keyring.h"
#include "formats/hvd/dump.h"
#include "formats/hvd/writer.h"

namespace hvd {
namespace {

using format::kSegmentBytes;

// Writes into a file that appears only when it is complete.
class OutputSink final : public ByteSink {
 public:
  explicit OutputSink(OutputFile& file) : file_(file) {}
  Result<void> append(ByteView bytes) override {
    HVD_TRY(file_.write_at(offset_, bytes));
    offset_ += bytes.size();
    return {};
  }
  Result<void> sync() override { return {}; }

 private:
  OutputFile& file_;
  std::uint64_t offset_ = 0;
};

// Copies the pages of one segment with their states. Ranges of a process partition end within
// pages: what lies outside them reads as zero in the page and stays outside by the facts.
class SegmentCopy {
 public:
  SegmentCopy(const PhysicalMemory& memory, format::SegmentWriter& out, std::uint32_t segment)
      : memory_(memory), out_(out), base_(segment * kSegmentBytes) {}

  Result<void> run() {
    for (const PhysRange& range : memory_.ranges()) {
      const std::uint64_t begin = std::max(range.begin.value, base_);
      const std::uint64_t end = std::min(range.begin.value + range.size, base_ + kSegmentBytes);
      for (std::uint64_t at = begin; at < end;) {
        const std::uint64_t next = std::min(end, (at / kPageSize + 1) * kPageSize);
        HVD_TRY(piece(at, next - at));
        at = next;
      }
    }
    HVD_TRY(flush());
    return out_.finish();
  }

  std::uint64_t lost_pages() const { return lost_; }

 private:
  Result<void> piece(std::uint64_t at, std::uint64_t size) {
    const std::uint64_t number = (at - base_) / kPageSize;
    if (number != number_) HVD_TRY(flush());
    number_ = number;
    const Extent extent = memory_.extent_at(PhysAddr{at});
    switch (extent.kind) {
      case Extent::Kind::kStored: {
        if (!have_) page_.assign(kPageSize, std::byte{0});
        if (!memory_.read(PhysAddr{at}, MutableBytes(page_).subspan(at % kPageSize, size))) {
          ++lost_;
          return {};
        }
        have_ = true;
        class_ = extent.page_class;
        return {};
      }
      case Extent::Kind::kZero: return absent(Absence::kZero);
      case Extent::Kind::kAbsent: return absent(extent.reason);
      case Extent::Kind::kSealed: return absent(Absence::kFilteredClass);
      case Extent::Kind::kUnknown: ++lost_; return {};
      case Extent::Kind::kHole: return {};
    }
    return {};
  }

  Result<void> absent(Absence reason) {
    is_absent_ = true;
    reason_ = reason;
    return {};
  }

  Result<void> flush() {
    const auto page = static_cast<std::uint32_t>(number_);
    if (have_) HVD_TRY(out_.store(page, class_, page_));
    else if (is_absent_) out_.absent(page, reason_);
    have_ = false;
    is_absent_ = false;
    return {};
  }

  const PhysicalMemory& memory_;
  format::SegmentWriter& out_;
  const std::uint64_t base_;
  std::uint64_t number_ = 0;
  Bytes page_;
  bool have_ = false;
  PageClass class_ = PageClass::kUnclassified;
  bool is_absent_ = false;
  Absence reason_ = Absence::kZero;  // of an absent page
  std::uint64_t lost_ = 0;
};

std::vector<std::uint32_t> segments_of(const PhysicalMemory& memory) {
  std::vector<std::uint32_t> out;
  for (const PhysRange& range : memory.ranges()) {
    for (std::uint64_t s = range.begin.value / kSegmentBytes;
         s <= (range.begin.value + range.size - 1) / kSegmentBytes; ++s) {
      if (out.empty() || out.back() != s) out.push_back(static_cast<std::uint32_t>(s));
    }
  }
  return out;
}

Result<std::uint64_t> copy_partition(const Image& image, format::PartitionWriter& out) {
  HVD_TRY(out.facts(image.facts));
  for (const Note& note : image.notes) HVD_TRY(out.note(note));
  for (const Registers& registers : image.registers) HVD_TRY(out.registers(registers));
  const std::vector<std::uint32_t> segments = segments_of(*image.memory);
  Progress progress("Recovering " + printable(image.name), total_size(image.memory->ranges()));
  std::atomic<std::uint64_t> lost{0};
  const auto copied = for_each_parallel(segments.size(), 0, [&](std::size_t i) -> Result<void> {
    format::SegmentWriter segment = HVD_TRY(out.segment(segments[i]));
    SegmentCopy copy(*image.memory, segment, segments[i]);
    HVD_TRY(copy.run());
    lost += copy.lost_pages();
    progress.advance(kSegmentBytes);
    return {};
  });
  if (!copied) return copied.error();
  return lost.load();
}

}  // namespace

CommandOutcome run_recover(const DecryptOptions& options) {
  for (const std::string& identity : options.identities)
    HVD_TRY(refuse_input_as_output(options.output, identity));
  const Keyring keys = HVD_TRY(Keyring::load(options.identities, options.passphrases));
  const format::Dump dump = HVD_TRY(format::Dump::open(options.dump));
  const format::DumpPartition* partition = HVD_TRY(dump.find(options.partition));
  const auto opener = HVD_TRY(dump.unlock(*partition, keys));
  Image image = HVD_TRY(dump.image(*partition, opener));

  OutputFile file = HVD_TRY(OutputFile::create(options.output, options.dump));
  const nlohmann::json agent{{"agent", "hvdump-decrypt recover"},
                             {"version", kVersion},
                             {"recovered_from", format::text_of(dump.id())}};
  format::DumpInfo info = HVD_TRY(format::new_dump_info(agent.dump()));
  info.created_ns = dump.created_ns();
  const format::SigningKey signer = HVD_TRY(format::SigningKey::generate());
  const auto writer =
      HVD_TRY(format::DumpWriter::create(std::make_unique<OutputSink>(file), info, signer));
  const auto out =
      HVD_TRY(writer->begin_partition({.name = image.name, .role = image.role}, nullptr, {}));
  const std::uint64_t lost = HVD_TRY(copy_partition(image, *out));
  PartitionState state = image.state;
  if (lost > 0) {
    image.problems.push_back(std::to_string(lost) + " pages were lost in the sealed dump");
    if (state == PartitionState::kCaptured) state = PartitionState::kIncomplete;
  }
  HVD_TRY(out->end(
      state, lost > 0 && image.state_reason.empty() ? image.problems.back() : image.state_reason,
      image.problems));
  HVD_TRY(writer->finish());
  HVD_TRY(file.commit());
  for (const std::string& problem : image.problems)
    std::fprintf(stderr, "%s\n", printable(problem).c_str());
  return image.problems.empty() ? ExitCode::kDone : ExitCode::kDamaged;
}

}  // namespace hvd
