// WindowsImageBuilder: memory and page tables, and in them images as Windows has loaded them:
// headers, exports, unwind data, the name of the PDB.
#pragma once

#include <cstring>

#include "base/byte_writer.h"
#include "base/image.h"
#include "base/windows_header.h"
#include "tests/support/page_table_builder.h"

namespace hvd {

class WindowsImageBuilder {
 public:
  static constexpr std::uint64_t kKernel = 0xfffff80612000000, kDriver = 0xfffff80655000000;
  static constexpr std::uint64_t kKernelPhys = 0x200000, kDriverPhys = 0x300000;
  static constexpr std::uint64_t kImageSize = 0x40000, kSize = 8u << 20;
  static constexpr std::uint64_t kShared = 0xfffff78000000000, kStack = 0xffffa00000010000;
  static constexpr PhysAddr kRoot{0x100000};
  // Functions of the kernel and of the driver, at these places in their images.
  static constexpr std::uint32_t kBugCheck = 0x1100, kWorker = 0x1200, kTrap = 0x1300,
                                 kFailing = 0x1100, kEntry = 0x1200;

  explicit WindowsImageBuilder(bool arm64)
      : arm64_(arm64), memory_(std::make_shared<FakeMemory>(kSize)), tables_(*memory_, kRoot) {}

  FakeMemory& memory() { return *memory_; }
  PageTableBuilder& tables() { return tables_; }
  void write(std::uint64_t at, ByteView bytes) { memory_->write(PhysAddr{physical(at)}, bytes); }
  void write_u64(std::uint64_t at, std::uint64_t value) { write(at, bytes_of(le64(value))); }
  void write_u32(std::uint64_t at, std::uint32_t value) { write(at, bytes_of(le32(value))); }
  std::uint64_t read_u64(std::uint64_t at) const {
    return memory_->read<le64>(PhysAddr{physical(at)}).value();
  }
  static std::uint64_t physical(std::uint64_t at) {
    if (at - kKernel < kImageSize) return at - kKernel + kKernelPhys;
    if (at - kDriver < kImageSize) return at - kDriver + kDriverPhys;
    if (at - kShared < 0x1000) return at - kShared + 0x180000;
    return at - 0xffffa00000010000 + 0x190000;
  }

 protected:
  using Exports = std::vector<std::pair<std::string, std::uint32_t>>;

  void map(std::uint64_t virt, std::uint64_t phys, std::uint64_t size) {
    for (std::uint64_t at = 0; at < size; at += kPageSize) {
      tables_.entry(virt + at, 1, (phys + at) | 3);
      memory_->write(PhysAddr{phys + at}, Bytes(kPageSize));
    }
  }

  /// An image in memory at `base`: its exports by place, and its functions' unwind data.
  void place_image(std::uint64_t base, const std::string& name, const std::string& pdb,
                   const Exports& exports, const std::vector<std::uint32_t>& functions) {
    headers(base, !exports.empty(), functions.size());
    export_directory(base, name, exports);
    for (std::uint32_t i = 0; i < functions.size(); ++i) {
      if (arm64_) arm64_function(base, i, functions[i]);
      else x64_function(base, i, functions[i]);
    }
    debug_directory(base, pdb);
  }

  const bool arm64_;
  std::shared_ptr<FakeMemory> memory_;
  PageTableBuilder tables_;  // an ARM64's tables have the same shape and the same low bits

 private:
  void headers(std::uint64_t base, bool has_exports, std::size_t function_count) {
    ByteWriter h;
    h.u16(0x5a4d).zeros(0x3c - 2).u32(0x80).zeros(0x80 - 0x40);
    h.u32(0x4550)
        .u16(arm64_ ? windows::kMachineArm64 : windows::kMachineAmd64)
        .u16(2)
        .u32(0x5f000000)
        .u32(0)
        .u32(0)
        .u16(240)
        .u16(0x22);
    h.u16(0x20b).u8(14).u8(0).zeros(12).u32(kEntry).u32(0x1000).u64(base).u32(0x1000).u32(0x200);
    h.zeros(12).u32(0).u32(kImageSize).u32(0x400).u32(0).u16(1).u16(0).zeros(32).u32(0).u32(16);
    const auto directory = [&h](std::uint32_t rva, std::uint32_t size) { h.u32(rva).u32(size); };
    directory(has_exports ? 0x4000 : 0, has_exports ? 0x200 : 0);
    directory(0, 0), directory(0, 0);
    directory(0x5000, static_cast<std::uint32_t>(function_count * (arm64_ ? 8 : 12)));
    directory(0, 0), directory(0, 0);
    directory(0x6000, 28);
    for (int i = 7; i < 16; ++i) directory(0, 0);
    const auto section = [&h](const char* title, std::uint32_t rva, std::uint32_t size,
                              std::uint32_t flags) {
      char text[8] = {};
      std::memcpy(text, title, std::strlen(title));
      h.put(std::as_bytes(std::span(text)))
          .u32(size)
          .u32(rva)
          .u32(size)
          .u32(rva)
          .zeros(12)
          .u32(flags);
    };
    section(".text", 0x1000, 0x2000, 0x60000020);
    section(".data", 0x4000, 0x20000, 0xc0000040);
    write(base, h.view());
  }

  void export_directory(std::uint64_t base, const std::string& name, const Exports& exports) {
    // An export directory: one name each.
    ByteWriter e;
    const auto count = static_cast<std::uint32_t>(exports.size());
    e.zeros(12).u32(0x4100).u32(1).u32(count).u32(count).u32(0x4040).u32(0x4060).u32(0x4080);
    write(base + 0x4000, e.view());
    write(base + 0x4100, as_bytes(name + '\0'));
    for (std::uint32_t i = 0; i < count; ++i) {
      write_u32(base + 0x4040 + i * 4, exports[i].second);
      write_u32(base + 0x4060 + i * 4, 0x4120 + i * 0x20);
      write(base + 0x4080 + i * 2, bytes_of(le16(static_cast<std::uint16_t>(i))));
      write(base + 0x4120 + i * 0x20, as_bytes(exports[i].first + '\0'));
    }
  }

  // Every function of ARM64: stp x19, x20, [sp, #-16]!; stp x29, x30, [sp, #-32]!; mov x29, sp;
  // 0x80 bytes long.
  void arm64_function(std::uint64_t base, std::uint32_t i, std::uint32_t function) {
    ByteWriter f;
    f.u32(function).u32(1 | 0x20 << 2 | 2 << 16 | 3 << 21 | 3u << 23);
    write(base + 0x5000 + i * 8, f.view());
  }

  // Every function of x64: push rbx; sub rsp, 0x20. The trap's begins with a machine frame.
  void x64_function(std::uint64_t base, std::uint32_t i, std::uint32_t function) {
    ByteWriter f;
    f.u32(function).u32(function + 0x80).u32(0x5800 + i * 0x20);
    write(base + 0x5000 + i * 12, f.view());
    ByteWriter u;
    const bool trap = base == kKernel && function == kTrap;
    u.u8(1).u8(5).u8(trap ? 3 : 2).u8(0);
    u.u8(5).u8(0x32);            // sub rsp, 0x20
    u.u8(1).u8(0x30);            // push rbx
    if (trap) u.u8(0).u8(0x0a);  // hardware pushed ss, rsp, rflags, cs, rip
    write(base + 0x5800 + i * 0x20, u.view());
    write(base + function, as_bytes("\x53\x48\x83\xec\x20\x90"));
  }

  // CodeView's "RSDS": where the PDB is, and which one.
  void debug_directory(std::uint64_t base, const std::string& pdb) {
    ByteWriter d;
    d.zeros(12).u32(2).u32(0x60).u32(0x6040).u32(0x6040);
    write(base + 0x6000, d.view());
    ByteWriter r;
    r.u32(0x53445352);
    for (std::uint8_t i = 0; i < 16; ++i) r.u8(i);
    r.u32(3).put(as_bytes("c:\\build\\" + pdb + '\0'));
    write(base + 0x6040, r.view());
  }
};

}  // namespace hvd
