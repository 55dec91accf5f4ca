#include "formats/windows_dump/triage_writer.h"

#include <algorithm>
#include <cstring>

#include "base/byte_writer.h"

namespace hvd::windows {
namespace {

constexpr std::uint32_t kMmAt = 0x2080;        // what memory management says of itself: not kept
constexpr std::uint32_t kUnloadedAt = 0x20d0;  // where Windows puts it
constexpr std::size_t kMostBytes = 1u << 30;

// Names of drivers are ASCII but for what nobody writes.
Bytes to_utf16(const std::string& text) {
  Bytes out;
  for (const char c : text) {
    out.push_back(static_cast<std::byte>(c));
    out.push_back(std::byte{0});
  }
  return out;
}

class Layout {
 public:
  explicit Layout(std::size_t begin) { bytes_.resize(begin); }
  std::uint32_t here() const { return static_cast<std::uint32_t>(bytes_.size()); }
  std::uint32_t add(ByteView bytes) {
    bytes_.resize((bytes_.size() + 7) / 8 * 8);
    const std::uint32_t at = here();
    append(bytes_, bytes);
    return at;
  }
  Bytes& bytes() { return bytes_; }

 private:
  Bytes bytes_;
};

void add_unloaded(const TriagePlan& plan, Layout& out, TriageHeader& head) {
  ByteWriter table;
  table.put(le64(plan.unloaded.size()));
  for (const TriagePlan::Unloaded& driver : plan.unloaded) {
    UnloadedDriver entry{};
    const Bytes name = to_utf16(driver.name);
    const std::size_t bytes = std::min(name.size(), sizeof entry.name);
    entry.name_bytes = entry.name_capacity = static_cast<std::uint16_t>(bytes);
    if (bytes > 0) std::memcpy(entry.name, name.data(), bytes);
    entry.begin = driver.begin.value, entry.end = driver.end.value;
    table.put(entry);
  }
  head.unloaded_drivers_offset = out.add(table.view());
}

void add_drivers(const TriagePlan& plan, Layout& out, TriageHeader& head) {
  // The names follow the drivers, so where each is depends on how many there are.
  ByteWriter names;
  const std::uint32_t list = (out.here() + 7) / 8 * 8;
  const auto pool = static_cast<std::uint32_t>(list + plan.drivers.size() * sizeof(TriageDriver));
  ByteWriter drivers;
  for (const TriagePlan::Driver& driver : plan.drivers) {
    TriageDriver entry{};
    entry.name_offset = pool + static_cast<std::uint32_t>(names.size());
    entry.base = driver.base.value;
    entry.size_of_image = driver.size;
    entry.checksum = driver.checksum;
    entry.timestamp = driver.timestamp;
    drivers.put(entry);
    const Bytes name = to_utf16(driver.name);
    names.put(le32(static_cast<std::uint32_t>(driver.name.size()))).put(ByteView(name));
    names.put(le16(0));
    while (names.size() % 8 != 0) names.u8(0);
  }
  head.driver_list_offset = out.add(drivers.view());
  head.driver_count = static_cast<std::uint32_t>(plan.drivers.size());
  head.string_pool_offset = out.add(names.view());
  head.string_pool_size = static_cast<std::uint32_t>(names.size());
}

void add_blocks(const TriagePlan& plan, Layout& out, TriageHeader& head) {
  std::uint32_t data =
      (out.here() + 7) / 8 * 8 + static_cast<std::uint32_t>(plan.blocks.size() * sizeof(DataBlock));
  ByteWriter table, contents;
  for (const TriagePlan::Block& block : plan.blocks) {
    table.put(DataBlock{block.at.value, data, static_cast<std::uint32_t>(block.bytes.size())});
    contents.put(ByteView(block.bytes));
    data += static_cast<std::uint32_t>(block.bytes.size());
  }
  head.data_blocks_offset = out.add(table.view());
  head.data_blocks_count = static_cast<std::uint32_t>(plan.blocks.size());
  append(out.bytes(), contents.view());
}

}  // namespace

Result<Bytes> triage_dump(const TriagePlan& plan) {
  std::size_t size = plan.stack.size() + plan.prcb.size();
  for (const TriagePlan::Block& block : plan.blocks) size += block.bytes.size();
  if (size > kMostBytes)
    return Error{ErrorCode::kInvalidArgument,
                 "a triage dump of " + std::to_string(size) + " bytes cannot be"};
  TriageHeader head{};
  Layout out(kUnloadedAt);
  head.context_offset = offsetof(Header64, context);
  head.exception_offset = offsetof(Header64, exception);
  head.mm_offset = kMmAt;
  add_unloaded(plan, out, head);
  head.prcb_offset = out.add(plan.prcb);
  head.process_offset = out.add(plan.process);
  head.thread_offset = out.add(plan.thread);
  head.call_stack_offset = out.add(plan.stack);
  head.call_stack_size = static_cast<std::uint32_t>(plan.stack.size());
  head.top_of_stack = plan.stack_at.value;
  head.debugger_data_offset = out.add(plan.debugger_data);
  head.debugger_data_size = static_cast<std::uint32_t>(plan.debugger_data.size());
  add_drivers(plan, out, head);
  add_blocks(plan, out, head);
  while (out.bytes().size() % 4 != 0) out.bytes().push_back(std::byte{0});
  head.valid_offset = out.here();
  append(out.bytes(), as_bytes(kTriageEnd));
  head.size_of_dump = out.here();
  head.triage_options = ~std::uint32_t{0};

  Header64 header = plan.header;
  header.dump_type = static_cast<std::uint32_t>(DumpType::kTriage);
  header.required_space = out.bytes().size();
  std::memcpy(out.bytes().data(), &header, sizeof header);
  std::memcpy(out.bytes().data() + sizeof header, &head, sizeof head);
  return std::move(out.bytes());
}

}  // namespace hvd::windows
