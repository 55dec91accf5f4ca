// Unwinding by ORC tables of both generations.
#include "guest/linux/unwind.h"

#include "tests/support/linux_builder.h"
#include "tests/support/matchers.h"

namespace hvd::linux_guest {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

enum class Orc { kOld, kNew };

/// A kernel of four functions, 0x100 bytes each: leaf, middle, entry and interrupt, with unwind
/// entries for each.
struct Machine {
  LinuxBuilder builder;
  Image image;
  std::unique_ptr<Kernel> kernel;
  std::vector<Module> modules;
  std::optional<Symbolizer> symbols;
  std::optional<OrcTables> orc;
  VirtAddr stack;
  static constexpr std::uint64_t kLeaf = LinuxBuilder::kText + 0x1000, kMiddle = kLeaf + 0x100,
                                 kEntry = kLeaf + 0x200, kInterrupt = kLeaf + 0x300,
                                 kEnd = kLeaf + 0x400;

  static Bytes entry(int sp_offset, int bp_offset, unsigned sp_reg, unsigned bp_reg, unsigned type,
                     bool signal_or_end, Orc orc) {
    const unsigned third =
        orc == Orc::kOld ? type | (signal_or_end ? 4u : 0u) : type | (signal_or_end ? 8u : 0u);
    return ByteWriter()
        .u16(static_cast<std::uint16_t>(sp_offset))
        .u16(static_cast<std::uint16_t>(bp_offset))
        .u8(static_cast<std::uint8_t>(sp_reg | bp_reg << 4))
        .u8(static_cast<std::uint8_t>(third))
        .take();
  }

  explicit Machine(Orc generation) {
    for (const auto& [name, at] : {std::pair{"leaf", kLeaf},
                                   {"middle", kMiddle},
                                   {"entry", kEntry},
                                   {"interrupt", kInterrupt},
                                   {"end", kEnd}}) {
      builder.symbol(name, VirtAddr{at});
    }
    const bool old = generation == Orc::kOld;
    const unsigned call = old ? 0 : 2, regs = old ? 1 : 3, end_type = old ? 0 : 1;
    ByteWriter ips, entries;
    const VirtAddr ips_at = builder.place(5 * 4, "__start_orc_unwind_ip");
    std::uint64_t index = 0;
    const auto add = [&](std::uint64_t at, const Bytes& bytes) {
      ips.u32(static_cast<std::uint32_t>(at - (ips_at.value + 4 * index++)));
      entries.put(ByteView(bytes));
    };
    add(kLeaf, entry(8, 0, 5, 0, call, false, generation));       // sp+8
    add(kMiddle, entry(16, -16, 4, 1, call, false, generation));  // bp+16, bp saved at cfa-16
    add(kEntry, entry(0, 0, 0, 0, end_type, old, generation));    // the end
    add(kInterrupt, entry(0, 0, 5, 0, regs, !old, generation));   // pt_regs at sp
    add(kEnd, entry(0, 0, 0, 0, 0, false, generation));           // no unwind information
    builder.symbol("__stop_orc_unwind_ip", ips_at + ips.size(), 'D');
    builder.write(ips_at, ips.view());
    builder.place(entries.view(), "__start_orc_unwind");
    stack = builder.place(4096, "", 4096);
    builder.add_btf(kernel_btf(old));
    builder.add_kallsyms(KallsymsOrder::kSince64, false, true);
  }

  void open() {
    image = builder.build();
    kernel = Kernel::open(image).value();
    EXPECT_THAT(kernel->problems(), IsEmpty());
    symbols.emplace(*kernel, modules);
    auto tables = OrcTables::open(*kernel, modules);
    ASSERT_THAT(tables, Succeeds());
    orc = std::move(*tables);
  }
  std::vector<std::string> unwind(std::uint64_t rip, VirtAddr rsp, std::uint64_t rbp,
                                  Stack* out = nullptr) {
    if (!kernel) open();
    Registers cpu;
    cpu.set(Reg::kRip, rip);
    cpu.set(Reg::kRsp, rsp.value);
    cpu.set(Reg::kRbp, rbp);
    cpu.set(Reg::kCs, 0x10);
    const Stack result = Unwinder(*kernel, &*orc, *symbols).from_registers(cpu);
    std::vector<std::string> names;
    for (const Frame& frame : result.frames) {
      const auto symbol = symbols->at(frame.lookup);
      names.push_back((symbol ? symbol->name : "?") + (frame.reliable ? "" : "?"));
    }
    if (out) *out = result;
    return names;
  }
};

class Unwind : public testing::TestWithParam<Orc> {};
INSTANTIATE_TEST_SUITE_P(BothNumberings, Unwind, testing::Values(Orc::kOld, Orc::kNew),
                         [](const auto& generation) {
                           return generation.param == Orc::kOld ? "Old" : "New";
                         });

TEST_P(Unwind, EntriesDecode) {
  Machine machine(GetParam());
  machine.open();
  const auto leaf = machine.orc->find(VirtAddr{Machine::kLeaf + 0x50});
  ASSERT_THAT(leaf, Succeeds());
  EXPECT_EQ(leaf->type, OrcEntry::Type::kCall);
  EXPECT_EQ(leaf->sp_base, OrcEntry::Base::kSp);
  EXPECT_EQ(leaf->sp_offset, 8);
  const auto middle = machine.orc->find(VirtAddr{Machine::kMiddle});
  EXPECT_EQ(middle->sp_base, OrcEntry::Base::kBp);
  EXPECT_EQ(middle->bp_base, OrcEntry::Base::kPrevSp);
  EXPECT_EQ(middle->bp_offset, -16);
  EXPECT_EQ(machine.orc->find(VirtAddr{Machine::kEntry})->type, OrcEntry::Type::kEndOfStack);
  EXPECT_EQ(machine.orc->find(VirtAddr{Machine::kEnd})->type, OrcEntry::Type::kUndefined);
  const auto interrupt = machine.orc->find(VirtAddr{Machine::kInterrupt});
  EXPECT_EQ(interrupt->type, OrcEntry::Type::kRegs);
  EXPECT_TRUE(interrupt->signal);
  EXPECT_THAT(machine.orc->find(VirtAddr{Machine::kLeaf - 1}),
              FailsWith(ErrorCode::kNotFound, "ORC"));
}

TEST_P(Unwind, GoesFromLeafToTheEnd) {
  Machine machine(GetParam());
  const VirtAddr sp = machine.stack + 0x800;
  machine.builder.write_u64(sp, Machine::kMiddle + 0x20);  // leaf's return address
  const VirtAddr bp = sp + 0x20;  // middle's frame: saved bp, return address
  machine.builder.write_u64(bp, 0x1234);
  machine.builder.write_u64(bp + 8, Machine::kEntry + 0x10);
  Stack stack;
  EXPECT_THAT(machine.unwind(Machine::kLeaf + 5, sp, bp.value, &stack),
              ElementsAre("leaf", "middle", "entry"));
  EXPECT_TRUE(stack.complete) << stack.end_reason;
}

TEST_P(Unwind, ACallAtTheEndOfAFunctionBelongsToIt) {
  Machine machine(GetParam());
  const VirtAddr sp = machine.stack + 0x800;
  machine.builder.write_u64(
      sp, Machine::kInterrupt);  // returns right behind entry, which ended in a call
  EXPECT_THAT(machine.unwind(Machine::kLeaf, sp, 0), ElementsAre("leaf", "entry"));
}

TEST_P(Unwind, GoesThroughAnInterruptWithItsExactAddress) {
  Machine machine(GetParam());
  const VirtAddr sp = machine.stack + 0x400;            // struct pt_regs
  machine.builder.write_u64(sp + 128, Machine::kLeaf);  // ip: the very first instruction
  machine.builder.write_u64(sp + 136, 0x10);            // cs
  machine.builder.write_u64(sp + 152, (machine.stack + 0x800).value);
  machine.builder.write_u64(machine.stack + 0x800, Machine::kEntry + 1);
  Stack stack;
  EXPECT_THAT(machine.unwind(Machine::kInterrupt + 3, sp, 0, &stack),
              ElementsAre("interrupt", "leaf", "entry"));
  EXPECT_TRUE(stack.frames[1].interrupted);
  EXPECT_TRUE(stack.complete);
}

TEST_P(Unwind, WithoutRipThereIsNoFrame) {
  Machine machine(GetParam());
  Registers cpu;
  cpu.set(Reg::kRsp, (machine.stack + 0x400).value);
  machine.builder.write_u64(machine.stack + 0x400, Machine::kEntry + 1);
  machine.unwind(Machine::kLeaf, machine.stack, 0);  // makes the kernel
  const Stack stack =
      Unwinder(*machine.kernel, &*machine.orc, *machine.symbols).from_registers(cpu);
  EXPECT_THAT(stack.frames, testing::IsEmpty());
  EXPECT_FALSE(stack.complete);
  EXPECT_EQ(stack.end_reason, "rip is not known");
}

TEST_P(Unwind, EndsWellInUserMode) {
  Machine machine(GetParam());
  const VirtAddr sp = machine.stack + 0x400;
  machine.builder.write_u64(sp + 128, 0x401000);
  machine.builder.write_u64(sp + 136, 0x33);
  Stack stack;
  EXPECT_THAT(machine.unwind(Machine::kInterrupt, sp, 0, &stack), ElementsAre("interrupt"));
  EXPECT_TRUE(stack.complete);
}

TEST_P(Unwind, WithoutInformationTheRestIsMarkedUnreliable) {
  Machine machine(GetParam());
  const VirtAddr sp = machine.stack + 0x800;
  machine.builder.write_u64(sp, LinuxBuilder::kText + 0x80001);  // a function behind the last entry
  machine.builder.write_u64(sp + 0x18, Machine::kEntry + 0x10);
  Stack stack;
  const auto names = machine.unwind(Machine::kLeaf, sp, 0, &stack);
  ASSERT_GE(names.size(), 3u);
  EXPECT_EQ(names[0], "leaf");
  EXPECT_EQ(names[1], "filler_0");
  EXPECT_EQ(names.back(), "entry?");
  EXPECT_FALSE(stack.complete);
  EXPECT_THAT(stack.end_reason, testing::HasSubstr("no unwind information"));
}

/// A direct call at `at`; returns the address behind it.
std::uint64_t write_call(Machine& machine, std::uint64_t at, std::uint64_t target) {
  const std::uint64_t back = at + 5;
  ByteWriter code;
  code.u8(0xe8).u32(static_cast<std::uint32_t>(target - back));
  machine.builder.write(VirtAddr{at}, code.view());
  return back;
}

TEST_P(Unwind, AFunctionWithoutInformationIsLeftByTheCallOfIt) {
  Machine machine(GetParam());
  const VirtAddr sp = machine.stack + 0x800;
  machine.builder.write_u64(sp, Machine::kLeaf + 0x60);  // stale: no call stands before it
  machine.builder.write_u64(sp + 8, write_call(machine, Machine::kLeaf + 0x40, Machine::kMiddle));
  machine.builder.write_u64(sp + 16, write_call(machine, Machine::kLeaf + 0x20, Machine::kEnd));
  machine.builder.write_u64(sp + 24, Machine::kEntry + 0x10);
  Stack stack;
  EXPECT_THAT(machine.unwind(Machine::kEnd + 0x30, sp, 0, &stack),
              ElementsAre("end", "leaf", "entry"));
  EXPECT_TRUE(stack.complete) << stack.end_reason;
}

TEST_P(Unwind, SuchACallThatLeadsNowhereIsMarkedUnreliable) {
  Machine machine(GetParam());
  const VirtAddr sp = machine.stack + 0x800;
  machine.builder.write_u64(sp, write_call(machine, Machine::kLeaf + 0x20, Machine::kEnd));
  machine.builder.write_u64(sp + 8, 0x1234);  // the caller's return address is none
  Stack stack;
  EXPECT_THAT(machine.unwind(Machine::kEnd + 0x30, sp, 0, &stack), ElementsAre("end", "leaf?"));
  EXPECT_FALSE(stack.complete);
}

TEST_P(Unwind, AStackThatNamesItselfEnds) {
  // Interrupt frames are the only ones that may go backwards; one that leads to itself must not go
  // on for ever.
  Machine machine(GetParam());
  const VirtAddr sp = machine.stack + 0x400;
  machine.builder.write_u64(sp + 128, Machine::kInterrupt + 4);
  machine.builder.write_u64(sp + 136, 0x10);
  machine.builder.write_u64(sp + 152, sp.value);
  Stack stack;
  machine.unwind(Machine::kInterrupt, sp, 0, &stack);
  EXPECT_FALSE(stack.complete);
  EXPECT_LE(stack.frames.size(), 600u);
  EXPECT_NE(stack.end_reason, "");
}

TEST(OrcTables, ALayoutThatDoesNotFitItsEntryIsRefused) {
  for (const BtfBuilder::Field& type : std::initializer_list<BtfBuilder::Field>{
           {"type", "u64", 4}, {"type", "u32", 100, 0, 3}, {"type", "u32", 0, 46, 3}}) {
    BtfBuilder btf;
    btf.structure(
        "orc_entry", 6,
        {{"sp_offset", "u16", 0}, {"sp_reg", "u32", 0, 32, 4}, {"bp_reg", "u32", 0, 36, 4}, type});
    LinuxBuilder builder;
    builder.place(8, "__start_orc_unwind_ip");
    builder.place(8, "__stop_orc_unwind_ip");
    builder.place(8, "__start_orc_unwind");
    builder.add_btf(btf.build());
    builder.add_kallsyms(KallsymsOrder::kSince64, false, true);
    const Image image = builder.build();
    const auto kernel = Kernel::open(image).value();
    const std::vector<Module> modules;
    EXPECT_THAT(OrcTables::open(*kernel, modules), FailsWith(ErrorCode::kUnsupported, "orc_entry"))
        << type.offset;
  }
}

TEST_P(Unwind, AWildCallIsTracedToItsCaller) {
  Machine machine(GetParam());
  const VirtAddr sp = machine.stack + 0x800;
  machine.builder.write_u64(sp, Machine::kEntry + 9);
  EXPECT_THAT(machine.unwind(0x10, sp, 0), ElementsAre("?", "entry"));
}

}  // namespace
}  // namespace hvd::linux_guest
