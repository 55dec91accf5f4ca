#include "formats/windows_dump/triage_file.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "formats/windows_dump/layout.h"
#include "formats/windows_dump/page_files.h"

namespace hvd::windows {
namespace {

constexpr std::uint64_t kMaxFile = 256u << 20;  // real ones are 1 to 2 MiB
constexpr std::size_t kMaxDrivers = 16384, kMaxBlocks = 1u << 20, kMaxName = 1024;
constexpr std::size_t kMaxUnloaded = 1024, kMaxPart = 1u << 20;

class TriageReader {
 public:
  TriageReader(Bytes file, Image& image) : file_(std::move(file)), image_(image) {}

  Result<void> read(const std::shared_ptr<const ByteSource>& source, const Header64& header) {
    if (file_.size() < sizeof(Header64) + sizeof head_)
      return Error{ErrorCode::kCorrupt, "the file ends within the triage header"};
    std::memcpy(&head_, file_.data() + sizeof(Header64), sizeof head_);
    const ByteView end = part(head_.valid_offset, kTriageEnd.size(), "its end");
    if (to_string(end) != kTriageEnd)
      image_.problems.emplace_back("the mark at the end of the dump is not there");
    std::vector<StoredRun> runs;
    const auto add = [&](std::uint64_t address, std::uint64_t offset, std::uint64_t size,
                         const char* what) {
      if (size > 0 && !part(offset, size, what).empty())
        runs.push_back({{PhysAddr{address}, size}, offset});
    };
    add(header.debugger_data, head_.debugger_data_offset, head_.debugger_data_size,
        "the debugger's data");
    add(head_.top_of_stack, head_.call_stack_offset, head_.call_stack_size, "the stack");
    add(head_.data_page_address, head_.data_page_offset, head_.data_page_size, "the data page");
    const auto blocks = table<DataBlock>(head_.data_blocks_offset, head_.data_blocks_count,
                                         kMaxBlocks, "the data blocks");
    for (const DataBlock& block : blocks)
      add(block.address, block.offset, block.size, "a data block");
    image_.memory = std::make_shared<RunMemory>(source, runs);

    // How long these are only the debugger's data says: whoever reads them takes what it needs.
    note("TRIAGE_PRCB", head_.prcb_offset, head_.process_offset);
    note("TRIAGE_PROCESS", head_.process_offset, head_.thread_offset);
    note("TRIAGE_THREAD", head_.thread_offset, head_.call_stack_offset);
    image_.facts.address_space = AddressKind::kVirtual;
    image_.facts.data_blocks = blocks.size();
    image_.facts.drivers = drivers();
    image_.facts.unloaded_drivers = unloaded();
    image_.facts.secondary_data = secondary();
    return {};
  }

 private:
  // The bytes at [offset, offset + size), or none, told as a problem.
  ByteView part(std::uint64_t offset, std::uint64_t size, const char* what) {
    if (offset <= file_.size() && size <= file_.size() - offset)
      return ByteView(file_).subspan(offset, size);
    if (problems_++ < kMaxProblems) {
      image_.problems.push_back(std::string(what) + " would be at " + hex(offset) + ", with " +
                                std::to_string(size) + " bytes: the file has " +
                                std::to_string(file_.size()));
    }
    return {};
  }

  template <WireStruct T>
  std::vector<T> table(std::uint64_t offset, std::uint64_t count, std::size_t limit,
                       const char* what) {
    if (count == 0) return {};
    if (count > limit) {
      image_.problems.push_back(std::string(what) + ": " + std::to_string(count) + " are claimed");
      return {};
    }
    const ByteView bytes = part(offset, count * sizeof(T), what);
    std::vector<T> out(bytes.size() / sizeof(T));
    if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size() * sizeof(T));
    return out;
  }

  void note(const char* name, std::uint64_t from, std::uint64_t to) {
    if (from == 0 || to <= from || to - from > kMaxPart) return;
    const ByteView bytes = part(from, to - from, name);
    if (!bytes.empty()) image_.notes.push_back({name, 0, Bytes(bytes.begin(), bytes.end())});
  }

  // A length in characters, and UTF-16.
  std::string name_at(std::uint64_t offset) {
    const ByteView count = part(offset, 4, "a driver's name");
    if (count.empty()) return {};
    le32 length;
    std::memcpy(&length, count.data(), sizeof length);
    if (length > kMaxName) return {};
    return from_utf16(part(offset + 4, std::uint64_t{length} * 2, "a driver's name"));
  }

  std::vector<DriverFact> drivers() {
    std::vector<DriverFact> out;
    for (const TriageDriver& driver : table<TriageDriver>(
             head_.driver_list_offset, head_.driver_count, kMaxDrivers, "the drivers")) {
      out.push_back({name_at(driver.name_offset), driver.base, driver.size_of_image,
                     driver.checksum, driver.timestamp});
    }
    return out;
  }

  std::vector<UnloadedDriverFact> unloaded() {
    std::vector<UnloadedDriverFact> out;
    if (head_.unloaded_drivers_offset == 0) return out;
    const ByteView count = part(head_.unloaded_drivers_offset, 8, "the unloaded drivers");
    if (count.empty()) return out;
    le64 claimed;
    std::memcpy(&claimed, count.data(), sizeof claimed);
    for (const UnloadedDriver& driver :
         table<UnloadedDriver>(std::uint64_t{head_.unloaded_drivers_offset} + 8, claimed,
                               kMaxUnloaded, "the unloaded drivers")) {
      const std::size_t bytes = std::min<std::size_t>(driver.name_bytes, sizeof driver.name);
      const ByteView name = std::as_bytes(std::span(driver.name)).first(bytes);
      out.push_back({from_utf16(name), driver.begin, driver.end});
    }
    return out;
  }

  // Blobs that drivers add: a GUID names each kind.
  std::vector<SecondaryDataFact> secondary() {
    struct Blob {
      le32 header_size;
      unsigned char guid[16];
      le32 data_size, before, after;
    };
    std::vector<SecondaryDataFact> out;
    constexpr std::string_view kMark = "DumpBlob";
    std::uint64_t at = head_.size_of_dump;
    if (at >= file_.size() || file_.size() - at < 16) return out;
    if (to_string(ByteView(file_).subspan(at, kMark.size())) != kMark) return out;
    at += 16;
    while (file_.size() - at >= sizeof(Blob) && out.size() < kMaxUnloaded) {
      Blob blob;
      std::memcpy(&blob, file_.data() + at, sizeof blob);
      const std::uint64_t size =
          std::uint64_t{blob.before} + std::uint32_t{blob.data_size} + std::uint32_t{blob.after};
      if (blob.header_size != sizeof(Blob) || size > file_.size() - at - sizeof blob) break;
      out.push_back({hex_bytes(std::as_bytes(std::span(blob.guid))), blob.data_size});
      at += sizeof blob + size;
    }
    return out;
  }

  static constexpr int kMaxProblems = 16;
  const Bytes file_;
  Image& image_;
  TriageHeader head_{};
  int problems_ = 0;
};

}  // namespace

Result<void> read_triage(const std::shared_ptr<const ByteSource>& source, const Header64& header,
                         Image& image) {
  if (source->size() > kMaxFile)
    return Error{ErrorCode::kCorrupt,
                 "a triage dump of " + std::to_string(source->size()) + " bytes"};
  Bytes file = HVD_TRY(source->read(0, static_cast<std::size_t>(source->size())));
  return TriageReader(std::move(file), image).read(source, header);
}

}  // namespace hvd::windows
