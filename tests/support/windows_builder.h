// WindowsBuilder: the memory of a small Windows that never ran: page tables, a kernel image with
// unwind data and exports, a driver, debugger data, lists of modules, processes and threads.
//
// Offsets in structures are what its own debugger data block says; those that no block tells are
// chosen at will, as another build's would be.
#pragma once

#include <bit>
#include <cstring>

#include "base/image.h"
#include "base/windows_header.h"
#include "tests/support/windows_image_builder.h"

namespace hvd {

class WindowsBuilder : public WindowsImageBuilder {
 public:
  static constexpr std::uint64_t kDataBlock = kKernel + 0x8000, kListHead = kKernel + 0x8800;
  static constexpr std::uint64_t kModules = kKernel + 0x8810, kProcesses = kKernel + 0x8820,
                                 kBugData = kKernel + 0x8840, kBlock = kKernel + 0x8880,
                                 kLab = kKernel + 0x8900;
  static constexpr std::uint64_t kPcr = kKernel + 0xc000, kPrcb = kPcr + 0x180;
  static constexpr std::uint64_t kContext = kKernel + 0xd000, kIdt = kKernel + 0xe000;
  static constexpr std::uint64_t kSystem = 0xffffa00000020040, kThread = 0xffffa00000021000,
                                 kWaiting = 0xffffa00000022000;

  /// Of an ARM64 system only what its dump has: no CPU but the header's.
  explicit WindowsBuilder(bool arm64 = false) : WindowsImageBuilder(arm64) {
    map(kKernel, kKernelPhys, kImageSize);
    map(kDriver, kDriverPhys, kImageSize);
    map(kShared, 0x180000, 0x1000);
    map(0xffffa00000010000, 0x190000, 0x20000);
    memory_->write(PhysAddr{0x180000}, Bytes(kPageSize));
    write_u32(kShared + 0x264, 1), write_u32(kShared + 0x26c, 10);
    write_u64(kShared + 0x14, 0x1d707f23dbb3399), write_u64(kShared + 8, 37470690);
    place_image(kKernel, "ntoskrnl.exe", "ntkrnlmp.pdb", {{"KeBugCheckEx", kBugCheck}},
                {kBugCheck, kWorker, kTrap});
    place_image(kDriver, "mydriver.sys", "mydriver.pdb", {}, {kFailing, kEntry});
    debugger_data();
    module_list();
    process_list();
    write_u64(kBlock, kPrcb);
    write_u64(kPcr + 0x108, kKernel + 0x8700);          // KdVersionBlock
    write_u64(kKernel + 0x8700 + 0x20, kListHead + 8);  // DebuggerDataList
    write_u64(kListHead + 8, kDataBlock);
    write_u64(kPrcb + 8, kThread);
    write_u64(kPrcb + 0x1c0, kContext);
    const std::uint64_t handler = kKernel + kTrap;
    write_u64(kIdt, (handler & 0xffff) | 0x10ull << 16 | 0x8e00ull << 32 |
                        (handler >> 16 & 0xffff) << 48);
    write_u64(kIdt + 8, handler >> 32);
    set_bugcheck(0xd1, {0xfffff80600000000, 2, 1, kDriver + kFailing + 5});
    if (arm64_) arm64_stack();
    else stack();
  }

  void set_bugcheck(std::uint64_t code, std::array<std::uint64_t, 4> parameters) {
    write_u64(kBugData, code);
    for (std::size_t i = 0; i < 4; ++i) write_u64(kBugData + 8 + i * 8, parameters[i]);
  }

  /// As a kernel without a debugger has it; the keys are nowhere in memory.
  void encode_debugger_data(std::uint64_t never = 0x8f3a11d2c4b5a697,
                            std::uint64_t always = 0x1234567890abcdef,
                            std::uint64_t encoded_at = kKernel + 0x9000) {
    for (std::uint64_t at = 0; at < 0x380; at += 8) {
      const std::uint64_t plain = read_u64(kDataBlock + at);
      const std::uint64_t x = __builtin_bswap64(plain ^ always) ^ encoded_at;
      write_u64(kDataBlock + at, std::rotr(x, static_cast<int>(never & 63)) ^ never);
    }
  }

  /// The CPU is in KeBugCheckEx, called by the driver's failing function, and so on.
  Registers cpu() const {
    Registers out;
    out.set(Reg::kRip, kKernel + kBugCheck + 0x20);
    out.set(Reg::kRsp, kStack + 0x1000);
    out.set(Reg::kRbp, 0);
    out.set(Reg::kCs, 0x10);
    out.set(Reg::kSs, 0x18);
    out.set(Reg::kCr3, kRoot.value);
    out.set(Reg::kCr4, 0x20);
    out.set(Reg::kGsBase, kPcr);
    out.set(Reg::kKernelGsBase, 0);
    out.set(Reg::kIdtrBase, kIdt);
    return out;
  }

  Image build() const {
    Image image;
    image.name = "windows";
    image.memory = memory_;
    if (!arm64_) {
      image.registers = {cpu()};
      return image;
    }
    const windows::Header64 header = dump_header();
    const ByteView bytes = bytes_of(header);
    image.notes.push_back(
        {std::string(windows::kHeaderNote), 0, Bytes(bytes.begin(), bytes.end())});
    return image;
  }

  /// Of the ARM64 system, as Windows itself would write it.
  windows::Header64 dump_header() const {
    windows::Header64 out{};
    std::memcpy(out.signature, windows::kHeaderSignature.data(), sizeof out.signature);
    out.build = 19041;
    out.machine = windows::kMachineArm64;
    out.processors = 1;
    out.directory_table_base = kRoot.value;
    out.loaded_modules = kModules, out.active_processes = kProcesses;
    out.debugger_data = kDataBlock;
    out.bugcheck_code = 0xd1;
    windows::ContextArm64 context{};
    context.flags = windows::kContextArm64 | 1;
    context.cpsr = 0x60000005;  // EL1h
    context.x[29] = context.sp = kStack + 0x1000;
    context.x[30] = 0xbad;
    context.pc = kKernel + kBugCheck + 0x20;
    std::memcpy(out.context, &context, sizeof context);
    return out;
  }

 private:
  void debugger_data() {
    Bytes block(0x380);
    const auto put64 = [&](std::size_t at, std::uint64_t value) {
      const le64 word = value;
      std::memcpy(block.data() + at, &word, sizeof word);
    };
    const auto put16 = [&](std::size_t at, std::uint16_t value) {
      const le16 word = value;
      std::memcpy(block.data() + at, &word, sizeof word);
    };
    put64(0, kListHead + 8), put64(8, kListHead + 8), put64(0x10, 0x38000000000 | 0x4742444b);
    put64(0x18, kKernel), put64(0x48, kModules), put64(0x50, kProcesses), put64(0x88, kBugData);
    put64(0xc0, kKernel + 0x8a00), put64(0x208, kLab), put64(0x218, kBlock);
    put64(0x220, kKernel + 0x8a10);
    put16(0x29c, 0x58), put16(0x29e, 0x28), put16(0x2a0, 0xb8), put16(0x2a2, 0x184);
    put16(0x2a8, 0x700), put16(0x2ac, 0x540), put16(0x2ae, 0x28), put16(0x2b0, 0x700);
    put16(0x2b4, 8), put16(0x2bc, 0xf0), put16(0x2be, 0x24), put16(0x2c0, 0x600);
    put16(0x2e6, 0x180), put16(0x338, 0x1c0);
    write(kDataBlock, block);
    write(kLab, as_bytes(std::string("19041.1.amd64fre.test") + '\0'));
  }

  void unicode(std::uint64_t at, std::uint64_t text_at, const std::string& text) {
    ByteWriter w;
    for (const char c : text) w.u16(static_cast<std::uint8_t>(c));
    write(text_at, w.view());
    const auto size = static_cast<std::uint32_t>(text.size() * 2);
    write_u32(at, size | (size + 2) << 16);
    write_u64(at + 8, text_at);
  }

  void link(std::uint64_t head, const std::vector<std::uint64_t>& nodes) {
    std::uint64_t before = head;
    for (const std::uint64_t node : nodes) {
      write_u64(before, node), write_u64(node + 8, before);
      before = node;
    }
    write_u64(before, head), write_u64(head + 8, before);
  }

  void module_list() {
    const std::uint64_t first = kKernel + 0xa000, second = kKernel + 0xa100;
    link(kModules, {first, second});
    write_u64(first + 0x30, kKernel), write_u32(first + 0x40, kImageSize);
    write_u64(second + 0x30, kDriver), write_u32(second + 0x40, kImageSize);
    unicode(first + 0x58, kKernel + 0xa200, "ntoskrnl.exe");
    unicode(second + 0x58, kKernel + 0xa240, "mydriver.sys");
  }

  // Where a process keeps what is nobody's business but its build's.
  static constexpr std::uint64_t kLinks = 0x448, kName = 0x5a8, kThreadLinks = 0x2f8,
                                 kClient = 0x478;

  void process(std::uint64_t at, std::uint64_t id, const std::string& name,
               const std::vector<std::uint64_t>& threads) {
    write_u32(at, 3);
    write_u64(at + 0x28, kRoot.value);
    write_u64(at + kLinks - 8, id);
    write(at + kName, as_bytes(name + '\0'));
    std::vector<std::uint64_t> nodes;
    for (std::uint64_t i = 0; i < threads.size(); ++i) {
      const std::uint64_t thread = threads[i];
      nodes.push_back(thread + kThreadLinks);
      write_u32(thread, 6);
      write_u64(thread + 0xb8, at);
      write_u64(thread + kClient, id), write_u64(thread + kClient + 8, id * 100 + i * 4);
      write_u64(thread + 0x184, i == 0 ? 2 : 5);
    }
    link(at + 0x30, nodes);
  }

  void process_list() {
    const std::uint64_t other = 0xffffa00000024040, its = 0xffffa00000025000;
    process(kSystem, 4, "System", {kThread, kWaiting});
    process(other, 400, "smss.exe", {its});
    write_u64(other + 0x540, 4);
    link(kProcesses, {kSystem + kLinks, other + kLinks});
    // The waiting thread: SwapContext returns into the worker, and that to nowhere.
    write_u64(kWaiting + 0x58, kStack + 0x3000);
    write_u64(kStack + 0x3038, kKernel + kWorker + 0x10);
  }

  void stack() {
    // KeBugCheckEx <- trap <- (interrupted) driver's failing function <- its entry <- worker <- 0.
    std::uint64_t sp = kStack + 0x1000;
    const auto frame = [&](std::uint64_t returns_to) {
      write_u64(sp + 0x20, 0);  // rbx
      write_u64(sp + 0x28, returns_to);
      sp += 0x30;
    };
    frame(kKernel + kTrap + 0x10);
    sp += 0x28;  // the trap's own frame ends where the hardware's begins
    write_u64(sp, kDriver + kFailing + 5), write_u64(sp + 8, 0x10);
    write_u64(sp + 24, sp + 0x40);
    sp += 0x40;
    frame(kDriver + kEntry + 0x10);
    frame(kKernel + kWorker + 0x10);
    frame(0);
  }

  void arm64_stack() {
    // KeBugCheckEx <- the driver's failing function <- its entry <- worker <- 0.
    std::uint64_t fp = kStack + 0x1000;
    for (const std::uint64_t returns_to :
         {kDriver + kFailing + 0x10, kDriver + kEntry + 0x10, kKernel + kWorker + 0x10, 0ul}) {
      write_u64(fp, fp + 0x30), write_u64(fp + 8, returns_to);
      fp += 0x30;
    }
  }
};

}  // namespace hvd
