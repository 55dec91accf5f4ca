#include "guest/linux/log.h"

#include <cstring>

#include "base/text.h"

namespace hvd::linux_guest {
namespace {

constexpr std::uint64_t kMaxRecordBits = 24;
constexpr std::uint64_t kMaxDataBits = 31;
constexpr std::uint64_t kMaxArray = 256u << 20;
constexpr std::uint64_t kIdMask =
    ~(std::uint64_t{3} << 62);  // DESC_ID_MASK; the two top bits are the state
enum DescriptorState : unsigned { kReserved = 0, kCommitted = 1, kFinalized = 2, kReusable = 3 };

struct Layout {
  std::uint64_t desc_ring, text_ring;
  std::uint64_t count_bits, descs, infos, head_id, tail_id;
  std::uint64_t desc_size, state_var, lpos, lpos_begin, lpos_next;
  std::uint64_t info_size, ts_nsec, text_len;
  std::uint64_t size_bits, data;

  static Result<Layout> from(const VmcoreInfo& info) {
    Layout out{};
    const std::pair<std::uint64_t*, const char*> offsets[] = {
        {&out.desc_ring, "printk_ringbuffer.desc_ring"},
        {&out.text_ring, "printk_ringbuffer.text_data_ring"},
        {&out.count_bits, "prb_desc_ring.count_bits"},
        {&out.descs, "prb_desc_ring.descs"},
        {&out.infos, "prb_desc_ring.infos"},
        {&out.head_id, "prb_desc_ring.head_id"},
        {&out.tail_id, "prb_desc_ring.tail_id"},
        {&out.state_var, "prb_desc.state_var"},
        {&out.lpos, "prb_desc.text_blk_lpos"},
        {&out.lpos_begin, "prb_data_blk_lpos.begin"},
        {&out.lpos_next, "prb_data_blk_lpos.next"},
        {&out.ts_nsec, "printk_info.ts_nsec"},
        {&out.text_len, "printk_info.text_len"},
        {&out.size_bits, "prb_data_ring.size_bits"},
        {&out.data, "prb_data_ring.data"}};
    for (const auto& [target, name] : offsets) {
      const auto offset = info.offset(name);
      if (!offset)
        return Error{ErrorCode::kNotFound, std::string("VMCOREINFO does not describe ") + name};
      *target = *offset;
    }
    const auto desc_size = info.size("prb_desc"), info_size = info.size("printk_info");
    if (!desc_size || !info_size || *desc_size > 4096 || *info_size > 4096) {
      return Error{ErrorCode::kNotFound, "VMCOREINFO does not size the log's descriptors"};
    }
    out.desc_size = *desc_size;
    out.info_size = *info_size;
    return out;
  }
};

template <WireStruct T>
std::uint64_t value_at(ByteView bytes, std::uint64_t at) {
  if (at > bytes.size() || sizeof(T) > bytes.size() - at) return 0;
  T out;
  std::memcpy(&out, bytes.data() + at, sizeof out);
  return out;
}

// All arrays of the buffer, read once: they are megabytes and records are many.
struct Ring {
  Layout layout;
  std::uint64_t count_bits = 0, size_bits = 0, head = 0, tail = 0;
  Bytes descs, infos, data;
};

Result<Ring> read_ring(const Kernel& kernel) {
  const VirtualMemory& memory = kernel.memory();
  Ring ring;
  ring.layout = HVD_TRY(Layout::from(kernel.info()));
  auto prb = kernel.info().symbol("prb");
  if (!prb) prb = HVD_TRY(kernel.symbol("prb"));
  const VirtAddr buffer{HVD_TRY(memory.read_u64(*prb))};
  const VirtAddr desc_ring = buffer + ring.layout.desc_ring,
                 text_ring = buffer + ring.layout.text_ring;
  ring.count_bits = HVD_TRY(memory.read_u32(desc_ring + ring.layout.count_bits));
  ring.size_bits = HVD_TRY(memory.read_u32(text_ring + ring.layout.size_bits));
  if (ring.count_bits > kMaxRecordBits || ring.size_bits > kMaxDataBits) {
    return Error{ErrorCode::kCorrupt, "the log buffer claims 2^" + std::to_string(ring.count_bits) +
                                          " records and 2^" + std::to_string(ring.size_bits) +
                                          " bytes"};
  }
  ring.head = HVD_TRY(memory.read_u64(desc_ring + ring.layout.head_id)) & kIdMask;
  ring.tail = HVD_TRY(memory.read_u64(desc_ring + ring.layout.tail_id)) & kIdMask;
  const VirtAddr descs{HVD_TRY(memory.read_u64(desc_ring + ring.layout.descs))};
  const VirtAddr infos{HVD_TRY(memory.read_u64(desc_ring + ring.layout.infos))};
  const VirtAddr data{HVD_TRY(memory.read_u64(text_ring + ring.layout.data))};
  const std::uint64_t count = std::uint64_t{1} << ring.count_bits;
  // Proven to exist page by page before anything of that size is allocated.
  for (const auto& [at, size] : {std::pair{descs, count * ring.layout.desc_size},
                                 std::pair{infos, count * ring.layout.info_size},
                                 std::pair{data, std::uint64_t{1} << ring.size_bits}}) {
    // log_buf_len is at most 2^31 (kernel/printk/printk.c), and no kernel is booted with a
    // hundredth of that.
    if (size > kMaxArray)
      return Error{ErrorCode::kCorrupt, "the log buffer claims an array of " + human_size(size)};
    HVD_TRY(with_context(kernel.memory().tables().translate(at), "the log buffer"));
    HVD_TRY(with_context(kernel.memory().tables().translate(at + (size - 1)), "the log buffer"));
  }
  ring.descs = HVD_TRY(memory.read_bytes(descs, count * ring.layout.desc_size));
  ring.infos = HVD_TRY(memory.read_bytes(infos, count * ring.layout.info_size));
  ring.data = HVD_TRY(memory.read_bytes(data, std::uint64_t{1} << ring.size_bits));
  return ring;
}

// The text of a record, or nothing when it has none or it does not fit its own description.
std::optional<std::string> text_of(const Ring& ring, std::uint64_t id, std::uint64_t index) {
  const Layout& layout = ring.layout;
  const std::uint64_t lpos = index * layout.desc_size + layout.lpos;
  const std::uint64_t begin = value_at<le64>(ring.descs, lpos + layout.lpos_begin);
  const std::uint64_t next = value_at<le64>(ring.descs, lpos + layout.lpos_next);
  if (begin & 1) return std::string();  // a record without data (BLK_DATALESS)
  const std::uint64_t mask = ring.data.size() - 1;
  std::uint64_t at = begin & mask;
  std::uint64_t end = next & mask;
  // Did not fit at the end: begins anew at the start. Since v6.18 one that ends exactly at the end
  // does fit.
  if (begin >> ring.size_bits != (next - 1) >> ring.size_bits) at = 0;
  if (end == 0 && at != 0) end = ring.data.size();
  if (at + 8 > end) return std::nullopt;
  // A data block begins with the id of its record.
  if ((value_at<le64>(ring.data, at) & kIdMask) != id) return std::nullopt;
  const std::uint64_t length =
      value_at<le16>(ring.infos, index * layout.info_size + layout.text_len);
  return to_string(ByteView(ring.data).subspan(at + 8, std::min(length, end - at - 8)));
}

}  // namespace

Result<std::vector<LogRecord>> read_log(const Kernel& kernel, std::vector<std::string>& problems) {
  const Ring ring = HVD_TRY(read_ring(kernel));
  const std::uint64_t count = std::uint64_t{1} << ring.count_bits;
  std::vector<LogRecord> records;
  std::uint64_t damaged = 0;
  for (std::uint64_t id = ring.tail, i = 0; i < count; ++i, id = (id + 1) & kIdMask) {
    const std::uint64_t index = id & (count - 1);
    const std::uint64_t state_var =
        value_at<le64>(ring.descs, index * ring.layout.desc_size + ring.layout.state_var);
    const auto state = static_cast<unsigned>(state_var >> 62);
    if ((state_var & kIdMask) == id && (state == kCommitted || state == kFinalized)) {
      LogRecord record;
      const std::uint64_t info = index * ring.layout.info_size;
      record.time_ns = value_at<le64>(ring.infos, info + ring.layout.ts_nsec);
      // struct printk_info: text_len is followed by the facility and by flags:5, level:3.
      const std::uint64_t flags = value_at<le16>(ring.infos, info + ring.layout.text_len + 2) >> 8;
      record.level = static_cast<unsigned>(flags >> 5);
      if (auto text = text_of(ring, id, index)) {
        record.text = std::move(*text);
        records.push_back(std::move(record));
      } else {
        ++damaged;
      }
    }
    if (id == ring.head) break;
  }
  if (damaged > 0) problems.push_back(std::to_string(damaged) + " log records are damaged");
  return records;
}

}  // namespace hvd::linux_guest
