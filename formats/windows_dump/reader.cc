#include "formats/windows_dump/reader.h"

#include <algorithm>
#include <cstring>

#include "base/json.h"
#include "base/text.h"
#include "formats/windows_dump/layout.h"
#include "formats/windows_dump/page_files.h"
#include "formats/windows_dump/triage_file.h"

namespace hvd::windows {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxPage = std::uint64_t{1} << 40;

template <WireStruct T>
Result<T> read_at(const ByteSource& source, std::uint64_t offset) {
  T out{};
  HVD_TRY(source.read(offset, MutableBytes(reinterpret_cast<std::byte*>(&out), sizeof out)));
  return out;
}

bool begins_with(const char* field, std::string_view text) {
  return std::memcmp(field, text.data(), text.size()) == 0;
}

// Consecutive in the file from `offset` on.
Result<std::vector<StoredRun>> stored_runs(const std::vector<PhysicalRun>& runs,
                                           std::uint64_t offset, const char* what) {
  std::vector<StoredRun> out;
  for (const PhysicalRun& run : runs) {
    const std::uint64_t first = run.first_page, count = run.page_count;
    if (first >= kMaxPage || count > kMaxPage - first)
      return Error{ErrorCode::kCorrupt, std::string(what) + " names a run of " +
                                            std::to_string(count) + " pages at page " + hex(first)};
    out.push_back({{PhysAddr{first * kPageSize}, count * kPageSize}, offset});
    if (count > (~std::uint64_t{0} - offset) / kPageSize)
      return Error{ErrorCode::kCorrupt,
                   std::string(what) + " names more pages than a file can hold"};
    offset += count * kPageSize;
  }
  return out;
}

// Those of the header's physical memory block; none when it is not filled in.
std::vector<PhysicalRun> header_runs(const Header64& header) {
  const std::uint32_t count = header.run_count;
  if (count > kMaxHeaderRuns) return {};
  return {header.runs, header.runs + count};
}

void tell_shortness(const ByteSource& source, std::uint64_t needed, Image& image) {
  if (source.size() >= needed) return;
  image.problems.push_back("the file ends early: " + std::to_string(source.size()) + " of " +
                           std::to_string(needed) + " bytes");
}

Result<void> full(const std::shared_ptr<const ByteSource>& source, const Header64& header,
                  Image& image) {
  const std::vector<PhysicalRun> runs = header_runs(header);
  if (runs.empty())
    return Error{ErrorCode::kCorrupt, "the physical memory block of a full dump has " +
                                          std::to_string(header.run_count) + " runs"};
  const auto stored = HVD_TRY(stored_runs(runs, sizeof(Header64), "the physical memory block"));
  tell_shortness(*source, stored.back().offset + stored.back().memory.size, image);
  image.memory = std::make_shared<RunMemory>(source, stored);
  return {};
}

Result<void> bitmap(const std::shared_ptr<const ByteSource>& source, const Header64& header,
                    Image& image) {
  constexpr std::uint64_t kAt = sizeof(Header64);
  const auto head = HVD_TRY(read_at<BitmapHeader>(*source, kAt));
  const bool known = begins_with(head.signature, "FDMP") || begins_with(head.signature, "SDMP");
  if (!known || !begins_with(head.valid, "DUMP"))
    return Error{ErrorCode::kCorrupt, "there is no bitmap header behind the dump's header"};
  const std::uint64_t pages = head.pages, first = head.first_page;
  const std::uint64_t bytes = pages / 8 + (pages % 8 != 0);
  if (pages > kMaxPage || bytes > source->size() - kAt - sizeof head)
    return Error{ErrorCode::kCorrupt, "the bitmap claims " + std::to_string(pages) +
                                          " pages, more than the file has room for"};
  if (first < kAt + sizeof head + bytes)
    return Error{ErrorCode::kCorrupt, "the first page is at " + hex(first) + ", in the bitmap"};
  Bytes bits = HVD_TRY(source->read(kAt + sizeof head, static_cast<std::size_t>(bytes)));
  std::vector<PhysRange> ranges;
  for (const PhysicalRun& run : header_runs(header)) {
    if (run.first_page < pages && run.page_count <= pages - run.first_page)
      ranges.push_back({PhysAddr{run.first_page * kPageSize}, run.page_count * kPageSize});
  }
  // Kernel dumps leave the memory block as it was or unused: then what memory there is is not
  // known.
  if (ranges.empty()) ranges.push_back({PhysAddr{0}, pages * kPageSize});
  auto memory =
      std::make_shared<BitmapMemory>(source, std::move(bits), pages, first, std::move(ranges));
  if (memory->present_pages() != head.present_pages) {
    image.problems.push_back("the bitmap has " + std::to_string(memory->present_pages()) +
                             " pages where its header says " + std::to_string(head.present_pages));
  }
  tell_shortness(*source, first + memory->present_pages() * kPageSize, image);
  image.memory = std::move(memory);
  return {};
}

Result<void> runs(const std::shared_ptr<const ByteSource>& source, Image& image) {
  constexpr std::uint64_t kAt = sizeof(Header64);
  const auto head = HVD_TRY(read_at<RunsHeader>(*source, kAt));
  if (!begins_with(head.signature, "RDMPDUMP"))
    return Error{ErrorCode::kCorrupt, "there is no RDMP header behind the dump's header"};
  const std::uint64_t first = head.first_page, begin = kAt + sizeof head;
  if (first < begin || first > source->size())
    return Error{ErrorCode::kCorrupt, "the first page is at " + hex(first) + " of " +
                                          std::to_string(source->size()) + " bytes"};
  std::vector<PhysicalRun> list(static_cast<std::size_t>((first - begin) / sizeof(PhysicalRun)));
  HVD_TRY(source->read(begin, std::as_writable_bytes(std::span(list))));
  // What is left over up to the first page is zero.
  std::erase_if(list, [](const PhysicalRun& run) { return run.page_count == 0; });
  const auto stored = HVD_TRY(stored_runs(list, first, "the list of runs"));
  if (!stored.empty())
    tell_shortness(*source, stored.back().offset + stored.back().memory.size, image);
  image.memory = std::make_shared<RunMemory>(source, stored);
  return {};
}

const char* kind_name(std::uint32_t type) {
  switch (static_cast<DumpType>(type)) {
    case DumpType::kFull: return "full";
    case DumpType::kTriage: return "triage";
    case DumpType::kBitmapFull: return "bitmap";
    case DumpType::kBitmapKernel: return "kernel";
    case DumpType::kAutomatic: return "automatic";
    case DumpType::kRunsKernel:
    case DumpType::kRunsKernelAndUser:
    case DumpType::kRunsFull: return "runs";
    default: return nullptr;
  }
}

}  // namespace

bool is_windows_dump(ByteView first_bytes) {
  const std::string text =
      to_string(first_bytes.first(std::min<std::size_t>(8, first_bytes.size())));
  return text == kHeaderSignature || text == "PAGEDUMP";
}

Result<Image> open_windows_dump(const std::shared_ptr<const ByteSource>& source,
                                const std::string& name) {
  std::array<std::byte, 8> magic{};
  HVD_TRY(source->read(0, magic));
  if (to_string(magic) == "PAGEDUMP")
    return Error{ErrorCode::kUnsupported, "a dump of 32-bit Windows; only 64-bit ones can be read"};
  const auto header = HVD_TRY(read_at<Header64>(*source, 0));
  if (!begins_with(header.signature, kHeaderSignature))
    return Error{ErrorCode::kUnsupported, "not a Windows kernel dump"};
  if (header.machine != kMachineAmd64 && header.machine != kMachineArm64)
    return Error{ErrorCode::kUnsupported,
                 "a dump of machine type " + hex(header.machine) + "; x64 and ARM64 can be read"};
  const std::uint32_t type = header.dump_type;
  const char* kind = kind_name(type);
  if (!kind)
    return Error{ErrorCode::kUnsupported,
                 "dumps of type " + std::to_string(type) + " hold no memory that can be read"};
  Image image;
  image.name = name;
  json facts{{"windows_dump", kind}};
  image.notes.push_back(
      {std::string(kHeaderNote), 0, Bytes(bytes_of(header).begin(), bytes_of(header).end())});
  if (header.machine == kMachineAmd64) {
    Context64 context{};
    std::memcpy(&context, header.context, sizeof context);
    Registers registers = registers_of(context);
    if (registers.knows(Reg::kRip)) image.registers.push_back(registers);
  }
  switch (static_cast<DumpType>(type)) {
    case DumpType::kFull: HVD_TRY(full(source, header, image)); break;
    case DumpType::kTriage: HVD_TRY(read_triage(source, header, image, facts)); break;
    case DumpType::kRunsKernel:
    case DumpType::kRunsKernelAndUser:
    case DumpType::kRunsFull: HVD_TRY(runs(source, image)); break;
    default: HVD_TRY(bitmap(source, header, image)); break;
  }
  image.facts = to_text(facts);
  return image;
}

}  // namespace hvd::windows
