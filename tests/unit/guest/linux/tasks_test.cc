// Tasks and modules by the kernel's lists, also when the guest has tied these into knots.
#include "guest/linux/tasks.h"

#include "guest/linux/list_walk.h"
#include "guest/linux/symbolizer.h"
#include "tests/support/linux_builder.h"
#include "tests/support/matchers.h"

namespace hvd::linux_guest {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

struct Machine {
  LinuxBuilder builder;
  Image image;
  std::unique_ptr<Kernel> kernel;
  std::vector<std::string> problems;

  void open() {
    builder.add_btf(kernel_btf());
    builder.add_kallsyms(KallsymsOrder::kSince64, false, true);
    image = builder.build();
    auto opened = Kernel::open(image);
    ASSERT_THAT(opened, Succeeds());
    kernel = std::move(*opened);
    EXPECT_THAT(kernel->problems(), IsEmpty());
  }
  std::vector<std::string> tasks() {
    if (!kernel) open();
    std::vector<std::string> out;
    for (const Task& task : read_tasks(*kernel, problems)) {
      out.push_back(std::to_string(task.pid) + "/" + std::to_string(task.tgid) + " " + task.comm +
                    " " + task.state);
    }
    return out;
  }
};

TEST(ListWalk, EndsOnLoopsLimitsAndHoles) {
  LinuxBuilder builder;
  const VirtAddr head = builder.place(16), a = builder.place(16), b = builder.place(16),
                 c = builder.place(16);
  const VirtualMemory memory(builder.memory(), builder.tables().tables());
  const auto walk = [&](std::size_t limit) {
    std::vector<VirtAddr> seen;
    auto done = walk_list(memory, head, limit, [&](VirtAddr node) {
      seen.push_back(node);
      return true;
    });
    return std::pair{seen, done};
  };
  builder.empty_list(head);
  EXPECT_THAT(walk(10).first, IsEmpty());
  builder.insert_before(head, a);
  builder.insert_before(head, b);
  builder.insert_before(head, c);
  EXPECT_THAT(walk(10).first, ElementsAre(a, b, c));
  EXPECT_THAT(walk(10).second, Succeeds());
  EXPECT_THAT(walk(2).second, FailsWith(ErrorCode::kCorrupt, "more than 2"));
  EXPECT_THAT(walk(2).first, ElementsAre(a, b));
  builder.write_u64(c, b.value);  // a ring without the head
  EXPECT_THAT(walk(1000).second, FailsWith(ErrorCode::kCorrupt, "loop"));
  EXPECT_THAT(walk(1000).first, ElementsAre(a, b, c));
  builder.write_u64(b, b.value);  // its own next
  EXPECT_THAT(walk(1000).second, FailsWith(ErrorCode::kCorrupt, "loop"));
  builder.write_u64(b, 0x1000);
  EXPECT_THAT(walk(1000).second, FailsWith(ErrorCode::kNotMapped, ""));
}

TEST(Tasks, AreListedByProcessWithTheirThreads) {
  Machine machine;
  machine.builder.add_task(0, "swapper/0", 0);
  const VirtAddr init = machine.builder.add_task(1, "systemd", 1);
  machine.builder.add_task(17, "worker", 2, init);
  machine.builder.add_task(42, "a name of fifteen", 4);
  EXPECT_THAT(machine.tasks(), ElementsAre("0/0 swapper/0 R", "1/1 systemd S", "17/1 worker D",
                                           "42/42 a name of fifte T"));
  EXPECT_THAT(machine.problems, IsEmpty());
}

TEST(Tasks, AProcessListTiedIntoALoopEnds) {
  Machine machine;
  machine.builder.add_task(0, "swapper/0", 0);
  const VirtAddr one = machine.builder.add_task(1, "one");
  const VirtAddr two = machine.builder.add_task(2, "two");
  machine.builder.write_u64(two + 16, (one + 16).value);
  EXPECT_THAT(machine.tasks(), SizeIs(3));
  EXPECT_THAT(machine.problems, Contains(HasSubstr("loop")));
}

TEST(Tasks, AThreadListThatLeadsNowhereKeepsTheRest) {
  Machine machine;
  machine.builder.add_task(0, "swapper/0", 0);
  const VirtAddr one = machine.builder.add_task(1, "one");
  machine.builder.write_u64(one + 72, 0xdead000000000100);  // LIST_POISON1
  machine.builder.add_task(2, "two");
  EXPECT_THAT(machine.tasks(), SizeIs(3));
  EXPECT_THAT(machine.problems, Contains(HasSubstr("threads")));
}

TEST(Tasks, ANameWithoutEndIsCut) {
  Machine machine;
  const VirtAddr first = machine.builder.add_task(0, "swapper/0", 0);
  machine.builder.write(first + 40, as_bytes("no-terminator-at-all"));
  const auto tasks = machine.tasks();
  ASSERT_THAT(tasks, SizeIs(1));
  EXPECT_THAT(tasks[0], HasSubstr("no-terminator-at "));
}

VirtAddr add_module(LinuxBuilder& builder, VirtAddr head, const std::string& name,
                    std::uint64_t base, std::uint32_t size) {
  const VirtAddr module = builder.place(256);
  builder.write(module + 24, as_bytes(name));
  builder.write_u64(module + 104, base);
  builder.write_u32(module + 112, size);
  builder.insert_before(head, module + 8);
  return module;
}

void add_module_symbol(LinuxBuilder& builder, VirtAddr module, const std::string& name,
                       std::uint64_t at, std::uint32_t claimed = 1) {
  const VirtAddr kallsyms = builder.place(32), symtab = builder.place(24),
                 strtab = builder.place(as_bytes(std::string(1, '\0') + name + '\0'));
  builder.write_u64(module + 160, kallsyms.value);
  builder.write_u64(kallsyms, symtab.value);
  builder.write_u32(kallsyms + 8, claimed);
  builder.write_u64(kallsyms + 16, strtab.value);
  builder.write(symtab, ByteWriter().u32(1).u8(2).u8(0).u16(1).u64(at).u64(16).view());
}

TEST(Modules, ListThemselvesAndTheirSymbols) {
  Machine machine;
  const VirtAddr head = machine.builder.place(16, "modules");
  machine.builder.empty_list(head);
  const std::uint64_t base = LinuxBuilder::kText + 0x1800000;
  const VirtAddr ext4 = add_module(machine.builder, head, "ext4", base, 0x1000);
  add_module_symbol(machine.builder, ext4, "ext4_mount", base + 0x40);
  const VirtAddr broken = add_module(machine.builder, head, "broken", base + 0x2000, 0x1000);
  machine.builder.write_u32(broken, 1);  // MODULE_STATE_COMING
  machine.open();
  const auto modules = read_modules(*machine.kernel, machine.problems);
  ASSERT_THAT(modules, SizeIs(2));
  EXPECT_EQ(modules[0].name, "ext4");
  EXPECT_TRUE(modules[0].live);
  EXPECT_FALSE(modules[1].live);
  EXPECT_EQ(modules[0].size(), 0x1000u);
  EXPECT_TRUE(modules[0].contains(VirtAddr{base + 0xfff}));
  EXPECT_FALSE(modules[0].contains(VirtAddr{base + 0x1000}));
  const Symbolizer symbols(*machine.kernel, modules);
  const auto at = symbols.at(VirtAddr{base + 0x48});
  ASSERT_TRUE(at);
  EXPECT_EQ(at->name, "ext4_mount");
  EXPECT_EQ(at->offset, 8u);
  EXPECT_EQ(at->module, "ext4");
  EXPECT_EQ(symbols.at(VirtAddr{base + 0x2008})->name, "") << "a module without symbols";
}

TEST(Modules, ClaimsThatLieAreBounded) {
  Machine machine;
  const VirtAddr head = machine.builder.place(16, "modules");
  machine.builder.empty_list(head);
  const std::uint64_t base = LinuxBuilder::kText + 0x1800000;
  const VirtAddr huge = add_module(machine.builder, head, "huge", base, 0xffffffff);
  add_module_symbol(machine.builder, huge, "x", base, 0xffffffff);
  const VirtAddr looped = add_module(machine.builder, head, "looped", base, 0x1000);
  machine.builder.write_u64(looped + 8, (huge + 8).value);
  machine.open();
  const auto modules = read_modules(*machine.kernel, machine.problems);
  ASSERT_THAT(modules, SizeIs(2));
  EXPECT_THAT(machine.problems, Contains(HasSubstr("loop")));
  EXPECT_EQ(modules[0].size(), 0u) << "larger than any module";
  EXPECT_THAT(read_module_symbols(*machine.kernel, modules[0]), IsEmpty());
}

TEST(Kernel, BitFieldsAreCutOutAndMayFillTheirWord) {
  Machine machine;
  const VirtAddr at = machine.builder.place(bytes_of(le64(0xfedcba9876543210)));
  machine.open();
  Member member;
  member.bit_offset = 4;
  member.bit_size = 8;
  EXPECT_EQ(machine.kernel->field(at, member).value(), 0x21u);
  member.bit_offset = 0;
  member.bit_size = 64;
  EXPECT_EQ(machine.kernel->field(at, member).value(), 0xfedcba9876543210u);
  member.bit_size = 255;
  EXPECT_THAT(machine.kernel->field(at, member), FailsWith(ErrorCode::kUnsupported, ""));
}

TEST(Kernel, AListThatEveryLeaderSharesIsWalkedOnce) {
  // 2^20 processes may each name one list of 2^20 threads: 2^40 steps. Here 3000 leaders share one
  // of 3000.
  Machine machine;
  machine.builder.add_task(0, "swapper/0", 0);
  const VirtAddr first = machine.builder.add_task(1, "one");
  const VirtAddr signal{machine.builder.read_u64(first + 64)};
  for (std::uint32_t i = 0; i < 3000; ++i) {
    const VirtAddr task = machine.builder.add_task(2 + i, "t");
    machine.builder.write_u64(task + 64, signal.value);
    machine.builder.insert_before(signal + 8, task + 72);
  }
  machine.open();
  const std::size_t before = machine.builder.memory().reads();
  EXPECT_THAT(machine.tasks(), SizeIs(3002));
  EXPECT_LT(machine.builder.memory().reads() - before, 1000000u);
}

}  // namespace
}  // namespace hvd::linux_guest
