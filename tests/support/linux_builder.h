// LinuxBuilder: the memory of a small Linux kernel that never ran: page tables, VMCOREINFO,
// symbols, types, log, tasks and modules, each where a test puts it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/byte_writer.h"
#include "base/image.h"
#include "guest/linux/vmcoreinfo.h"
#include "tests/support/btf_builder.h"
#include "tests/support/fake_memory.h"
#include "tests/support/page_table_builder.h"

namespace hvd {

enum class KallsymsOrder { kUntil63, kSince64 };

class LinuxBuilder {
 public:
  static constexpr std::uint64_t kText = linux_guest::kKernelTextMap + 0x200000;  // where _stext is
  static constexpr std::uint64_t kSize = 8u << 20;  // bytes of guest memory

  LinuxBuilder()
      : memory_(std::make_shared<FakeMemory>(kSize)), tables_(*memory_, PhysAddr{kRoot}) {
    for (std::uint64_t at = 0; at < kSize; at += 2u << 20) {
      tables_.map(hex(linux_guest::kKernelTextMap + at).substr(2) + " -> " + hex(at).substr(2) +
                  " 2M rwx");
    }
    symbol("_stext", VirtAddr{kText}, 'T');
    symbol("_etext", VirtAddr{kText + 0x100000}, 'T');
    const VirtAddr uts = place(400, "init_uts_ns");
    write(uts + 8 + 2 * 65, as_bytes(kRelease));
    line("OSRELEASE=" + kRelease);
    line("BUILD-ID=00112233445566778899aabbccddeeff00112233");
    line("SYMBOL(init_uts_ns)=" + hex(uts.value).substr(2));
    line("OFFSET(uts_namespace.name)=8");
    line("SYMBOL(swapper_pg_dir)=" + hex(linux_guest::kKernelTextMap + kRoot).substr(2));
    line("SYMBOL(_stext)=" + hex(kText).substr(2));
    line("NUMBER(phys_base)=0");
    line("NUMBER(pgtable_l5_enabled)=0");
    line("KERNELOFFSET=0");
  }

  const std::string kRelease = "6.6.6-test";

  FakeMemory& memory() { return *memory_; }
  PageTableBuilder& tables() { return tables_; }
  static PhysAddr physical(VirtAddr at) { return PhysAddr{at.value - linux_guest::kKernelTextMap}; }

  /// Room in the image's data; with a name it becomes a symbol.
  VirtAddr place(std::uint64_t size, const std::string& name = {}, std::uint64_t alignment = 8) {
    next_ = (next_ + alignment - 1) / alignment * alignment;
    const VirtAddr at{next_};
    next_ += size;
    EXPECT_LT(next_, linux_guest::kKernelTextMap + kSize - (1u << 20));
    if (!name.empty()) symbol(name, at, 'D');
    return at;
  }
  VirtAddr place(ByteView bytes, const std::string& name = {}) {
    const VirtAddr at = place(bytes.size(), name);
    write(at, bytes);
    return at;
  }
  void write(VirtAddr at, ByteView bytes) { memory_->write(physical(at), bytes); }
  void write_u64(VirtAddr at, std::uint64_t value) { memory_->write_u64(physical(at), value); }
  void write_u32(VirtAddr at, std::uint32_t value) { memory_->write_u32(physical(at), value); }

  void symbol(const std::string& name, VirtAddr at, char type = 'T') {
    symbols_.push_back({name, at.value, type});
  }
  void line(const std::string& text) { vmcoreinfo_ += text + "\n"; }
  std::string& vmcoreinfo() { return vmcoreinfo_; }

  void add_btf(const Bytes& btf) {
    const VirtAddr at = place(btf, "__start_BTF");
    symbol("__stop_BTF", at + btf.size(), 'D');
  }

  /// Writes the symbol tables, with enough other symbols that they have four markers; VMCOREINFO
  /// names them when asked.
  linux_guest::VmcoreInfo add_kallsyms(KallsymsOrder order, bool absolute_percpu,
                                       bool named_by_vmcoreinfo) {
    for (int i = 0; i < 900; ++i)
      symbol("filler_" + std::to_string(i),
             VirtAddr{kText + 0x80000 + 16 * static_cast<std::uint64_t>(i)}, 't');
    std::stable_sort(symbols_.begin(), symbols_.end(),
                     [](const Symbol& a, const Symbol& b) { return a.at < b.at; });
    // Tokens: each character is its own, and two are worth more.
    std::map<std::string, std::uint8_t> long_tokens{{"init_", 0x80}, {"filler_", 0x81}};
    std::vector<std::string> tokens;
    for (int i = 0; i < 256; ++i)
      tokens.push_back(i >= 33 && i < 127 ? std::string(1, static_cast<char>(i)) : "?");
    for (const auto& [text, token] : long_tokens) tokens[token] = text;
    ByteWriter names, markers, table, index, offsets;
    const std::uint64_t base = kText;
    for (std::size_t i = 0; i < symbols_.size(); ++i) {
      if (i % 256 == 0) markers.u32(static_cast<std::uint32_t>(names.size()));
      std::string rest = symbols_[i].type + symbols_[i].name, encoded;
      while (!rest.empty()) {
        std::size_t used = 1;
        char token = rest[0];
        for (const auto& [text, number] : long_tokens) {
          if (rest.starts_with(text)) used = text.size(), token = static_cast<char>(number);
        }
        encoded += token;
        rest.erase(0, used);
      }
      if (encoded.size() > 127)
        names.u8(static_cast<std::uint8_t>(0x80 | (encoded.size() & 0x7f)))
            .u8(static_cast<std::uint8_t>(encoded.size() >> 7));
      else names.u8(static_cast<std::uint8_t>(encoded.size()));
      names.put(as_bytes(encoded));
      if (!absolute_percpu) offsets.u32(static_cast<std::uint32_t>(symbols_[i].at - base));
      else if (symbols_[i].at < base) offsets.u32(static_cast<std::uint32_t>(symbols_[i].at));
      else offsets.u32(static_cast<std::uint32_t>(base - 1 - symbols_[i].at));
    }
    for (const std::string& token : tokens) {
      index.u16(static_cast<std::uint16_t>(table.size()));
      table.put(as_bytes(token)).u8(0);
    }
    const auto count = static_cast<std::uint32_t>(symbols_.size());
    const auto place_all = [&] {
      if (order == KallsymsOrder::kUntil63) {
        offsets_at_ = place(offsets.view());
        base_at_ = place(bytes_of(le64(base)));
      }
      count_at_ = place(bytes_of(le32(count)));
      names_at_ = place(names.view());
      place(markers.view());
      table_at_ = place(table.view());
      index_at_ = place(index.view());
      if (order == KallsymsOrder::kSince64) {
        offsets_at_ = place(offsets.view());
        base_at_ = place(bytes_of(le64(base)));
      }
    };
    next_ = (next_ + 4095) & ~std::uint64_t{4095};
    place_all();
    if (named_by_vmcoreinfo) {
      for (const auto& [name, at] : {std::pair{"kallsyms_names", names_at_},
                                     {"kallsyms_num_syms", count_at_},
                                     {"kallsyms_token_table", table_at_},
                                     {"kallsyms_token_index", index_at_},
                                     {"kallsyms_offsets", offsets_at_},
                                     {"kallsyms_relative_base", base_at_}}) {
        line("SYMBOL(" + std::string(name) + ")=" + hex(at.value).substr(2));
      }
    }
    return linux_guest::VmcoreInfo::parse(vmcoreinfo_).value();
  }

  /// The log buffer, as struct printk_ringbuffer lies in memory.
  struct LogLine {
    std::uint64_t time_ns;
    unsigned level;
    std::string text;
  };
  struct LogPlaces {
    VirtAddr ring, descs, infos, data;
  };
  static constexpr std::uint64_t kDescSize = 24, kInfoSize = 88;
  LogPlaces add_log(const std::vector<LogLine>& lines, unsigned count_bits = 5,
                    unsigned size_bits = 10, std::uint64_t first_id = 100) {
    for (const char* text :
         {"OFFSET(printk_ringbuffer.desc_ring)=0", "OFFSET(printk_ringbuffer.text_data_ring)=48",
          "OFFSET(prb_desc_ring.count_bits)=0", "OFFSET(prb_desc_ring.descs)=8",
          "OFFSET(prb_desc_ring.infos)=16", "OFFSET(prb_desc_ring.head_id)=24",
          "OFFSET(prb_desc_ring.tail_id)=32", "OFFSET(prb_desc.state_var)=0",
          "OFFSET(prb_desc.text_blk_lpos)=8", "OFFSET(prb_data_blk_lpos.begin)=0",
          "OFFSET(prb_data_blk_lpos.next)=8", "OFFSET(printk_info.ts_nsec)=8",
          "OFFSET(printk_info.text_len)=16", "OFFSET(prb_data_ring.size_bits)=0",
          "OFFSET(prb_data_ring.data)=8", "SIZE(prb_desc)=24", "SIZE(printk_info)=88"}) {
      line(text);
    }
    const std::uint64_t count = std::uint64_t{1} << count_bits,
                        bytes = std::uint64_t{1} << size_bits;
    LogPlaces out{place(80), place(count * kDescSize), place(count * kInfoSize), place(bytes)};
    const VirtAddr prb = place(8, "prb");
    line("SYMBOL(prb)=" + hex(prb.value).substr(2));
    write_u64(prb, out.ring.value);
    write_u32(out.ring, count_bits);
    write_u64(out.ring + 8, out.descs.value);
    write_u64(out.ring + 16, out.infos.value);
    write_u64(out.ring + 24, first_id + lines.size() - 1);
    write_u64(out.ring + 32,
              first_id + lines.size() - std::min<std::uint64_t>(lines.size(), count));
    write_u32(out.ring + 48, size_bits);
    write_u64(out.ring + 56, out.data.value);
    std::uint64_t lpos = 0;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const std::uint64_t id = first_id + i, slot = id & (count - 1);
      const VirtAddr desc = out.descs + slot * kDescSize, info = out.infos + slot * kInfoSize;
      const std::uint64_t size = (8 + lines[i].text.size() + 7) / 8 * 8;
      std::uint64_t begin = lpos, next = lpos + size;
      if (lines[i].text.empty()) {
        begin = next = 1;  // no data block
      } else {
        // A block does not lie across the end: it begins anew at the start.
        std::uint64_t data_at = begin % bytes;
        if (begin / bytes != (next - 1) / bytes) {
          data_at = 0;
          next = (begin / bytes + 1) * bytes + size;
        }
        write_u64(out.data + data_at, id);
        write(out.data + data_at + 8, as_bytes(lines[i].text));
        lpos = next;
      }
      write_u64(desc, id | std::uint64_t{2} << 62);
      write_u64(desc + 8, begin);
      write_u64(desc + 16, next);
      write_u64(info, id);
      write_u64(info + 8, lines[i].time_ns);
      write_u32(info + 16, static_cast<std::uint32_t>(lines[i].text.size()) |
                               static_cast<std::uint32_t>(lines[i].level) << 29);
    }
    return out;
  }

  /// A task; the first one is init_task. `leader` null: a process of its own.
  VirtAddr add_task(std::uint32_t pid, const std::string& comm, std::uint32_t state = 1,
                    std::optional<VirtAddr> leader = std::nullopt) {
    const bool first = tasks_.empty();
    const VirtAddr task = place(160, first ? "init_task" : "");
    write_u32(task + 8, state);
    write_u32(task + 32, pid);
    write_u32(task + 36, leader ? tgid_of(*leader) : pid);
    write(task + 40, as_bytes(comm.substr(0, 15)));
    if (leader) {
      const VirtAddr head = signal_of(*leader) + 8;
      write_u64(task + 64, signal_of(*leader).value);
      insert_before(head, task + 72);
      return task;
    }
    const VirtAddr signal = place(24);
    write_u64(task + 64, signal.value);
    empty_list(signal + 8);
    insert_before(signal + 8, task + 72);
    if (first) empty_list(task + 16);
    else insert_before(tasks_.front() + 16, task + 16);
    tasks_.push_back(task);
    return task;
  }

  void empty_list(VirtAddr head) {
    write_u64(head, head.value);
    write_u64(head + 8, head.value);
  }
  void insert_before(VirtAddr head, VirtAddr node) {
    const VirtAddr last{read_u64(head + 8)};
    write_u64(last, node.value);
    write_u64(node, head.value);
    write_u64(node + 8, last.value);
    write_u64(head + 8, node.value);
  }
  std::uint64_t read_u64(VirtAddr at) const { return memory_->read<le64>(physical(at)).value(); }

  /// The machine: call last. VMCOREINFO goes into a note and, page-aligned, into memory.
  Image build(bool with_note = true) {
    Image image;
    image.name = "guest";
    const VirtAddr page = place(kPageSize, "", kPageSize);
    write(page, as_bytes(vmcoreinfo_.substr(0, kPageSize - 1)));
    if (with_note)
      image.notes.push_back(
          {"VMCOREINFO", 0, Bytes(as_bytes(vmcoreinfo_).begin(), as_bytes(vmcoreinfo_).end())});
    image.memory = memory_;
    return image;
  }

 private:
  static constexpr std::uint64_t kRoot = 0x10000;
  struct Symbol {
    std::string name;
    std::uint64_t at;
    char type;
  };
  std::uint32_t tgid_of(VirtAddr task) const {
    return static_cast<std::uint32_t>(memory_->read<le32>(physical(task + 36)).value());
  }
  VirtAddr signal_of(VirtAddr task) const { return VirtAddr{read_u64(task + 64)}; }

  std::shared_ptr<FakeMemory> memory_;
  PageTableBuilder tables_;
  std::vector<Symbol> symbols_;
  std::string vmcoreinfo_;
  std::uint64_t next_ = kText + 0x200000;
  std::vector<VirtAddr> tasks_;
  VirtAddr offsets_at_, base_at_, count_at_, names_at_, table_at_, index_at_;
};

}  // namespace hvd
