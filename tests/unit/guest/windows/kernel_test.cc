// A Windows kernel is found whatever it hides, and what it says is believed only where it can be.
#include "guest/windows/kernel.h"

#include "guest/windows/processes.h"
#include "guest/windows/symbolizer.h"
#include "tests/support/matchers.h"
#include "tests/support/windows_builder.h"

namespace hvd::windows {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Builder = WindowsBuilder;

std::string how(const Kernel& kernel, const std::string& what) {
  for (const auto& [name, source] : kernel.found())
    if (name == what) return source;
  return {};
}

TEST(WindowsKernel, IsFoundByACpu) {
  Builder builder;
  const Image image = builder.build();
  const auto kernel = Kernel::open(image, {});
  ASSERT_THAT(kernel, Succeeds());
  EXPECT_EQ((*kernel)->base().value, Builder::kKernel);
  EXPECT_EQ((*kernel)->release(), "10.0.19041");
  EXPECT_THAT(how(**kernel, "page tables"), HasSubstr("CR3 of CPU 0"));
  EXPECT_THAT(how(**kernel, "kernel"), HasSubstr("interrupt's handler"));
  EXPECT_THAT(how(**kernel, "debugger data"), HasSubstr("in the clear"));
  ASSERT_TRUE((*kernel)->bugcheck());
  EXPECT_EQ((*kernel)->bugcheck()->code, 0xd1u);
  EXPECT_EQ((*kernel)->bugcheck()->parameters[3], Builder::kDriver + Builder::kFailing + 5);
  const auto pdb = (*kernel)->pe()->pdb((*kernel)->space());
  ASSERT_THAT(pdb, Succeeds());
  EXPECT_EQ(pdb->file, "ntkrnlmp.pdb");
  EXPECT_EQ(pdb->key(), "030201000504070608090A0B0C0D0E0F3");
  EXPECT_THAT((*kernel)->problems(), IsEmpty());
}

// Whatever the random keys are, and though they are nowhere to be found.
TEST(WindowsKernel, EncodedDebuggerDataIsDecodedWithoutKeys) {
  for (const std::uint64_t never : {0x8f3a11d2c4b5a697ul, 0x40ul, 0x3ful}) {
    Builder builder;
    builder.encode_debugger_data(never * 0x9e3779b97f4a7c15, 0xfedcba9876543210 ^ never);
    const Image image = builder.build();
    const auto kernel = Kernel::open(image, {});
    ASSERT_THAT(kernel, Succeeds());
    ASSERT_TRUE((*kernel)->debugger_data());
    EXPECT_THAT(how(**kernel, "debugger data"), HasSubstr("derived from the block"));
    EXPECT_TRUE((*kernel)->debugger_data()->encoded);
    EXPECT_EQ((*kernel)->debugger_data()->data.loaded_modules().value, Builder::kModules);
    EXPECT_EQ((*kernel)->debugger_data()->data.prcb_context(), 0x1c0u);
    EXPECT_EQ((*kernel)->bugcheck()->code, 0xd1u);
  }
}

TEST(WindowsKernel, WithoutDebuggerDataThatIsSaid) {
  Builder builder;
  builder.write(Builder::kDataBlock, Bytes(0x380));
  const Image image = builder.build();
  const auto kernel = Kernel::open(image, {});
  ASSERT_THAT(kernel, Succeeds());
  EXPECT_EQ((*kernel)->debugger_data(), nullptr);
  EXPECT_FALSE((*kernel)->bugcheck());
  EXPECT_THAT((*kernel)->problems(), ElementsAre(HasSubstr("no debugger data block")));
}

// With kernel page table isolation a CPU in user mode has page tables with the KPCR alone.
// Of a guest whose memory tells nothing of its crash, what it told the hypervisor: Hyper-V's five
// crash registers, as QEMU passes them on.
TEST(WindowsKernel, TheBugCheckMayBeWhatTheHypervisorWasTold) {
  Builder builder;
  builder.set_bugcheck(0, {});
  Image image = builder.build();
  image.facts =
      parse_facts(as_bytes(R"({"panic":[{"cpu":1,"information":null},{"cpu":0,"information":
      {"type":"hyper-v","arg1":80,"arg2":18446735277616529408,"arg3":2,"arg4":0,"arg5":16}}]})"))
          .value();
  const auto kernel = Kernel::open(image, {});
  ASSERT_THAT(kernel, Succeeds());
  ASSERT_TRUE((*kernel)->bugcheck());
  EXPECT_EQ((*kernel)->bugcheck()->code, 0x50u);
  EXPECT_THAT((*kernel)->bugcheck()->parameters, ElementsAre(0xfffff80000000000, 2, 0, 16));
  EXPECT_EQ((*kernel)->bugcheck()->source, "Hyper-V's crash registers");
  // QEMU has the registers also when only pvpanic was told: all of them are zero then.
  image.facts = parse_facts(as_bytes(R"({"panic":[{"cpu":0,"information":
      {"type":"hyper-v","arg1":0,"arg2":0,"arg3":0,"arg4":0,"arg5":0}}]})"))
                    .value();
  EXPECT_FALSE(Kernel::open(image, {}).value()->bugcheck());
}

TEST(WindowsKernel, IsFoundFromUserModesPageTables) {
  Builder builder;
  constexpr PhysAddr kUserRoot{0x400000};
  PageTableBuilder user(builder.memory(), kUserRoot);
  for (const std::uint64_t page : {Builder::kPcr, Builder::kPcr + 0x7000})
    user.entry(page / kPageSize * kPageSize, 1,
               Builder::physical(page) / kPageSize * kPageSize | 3);
  builder.write_u64(Builder::kPcr + 0x7000, Builder::kRoot.value | 2);
  Image image = builder.build();
  image.registers[0].set(Reg::kCr3, kUserRoot.value);
  image.registers[0].set(Reg::kGsBase, 0x7ff612340000);
  image.registers[0].set(Reg::kKernelGsBase, Builder::kPcr);
  const auto kernel = Kernel::open(image, {});
  ASSERT_THAT(kernel, Succeeds());
  EXPECT_THAT(how(**kernel, "page tables"), HasSubstr("KPCR"));
  EXPECT_EQ((*kernel)->cpus().front().registers, &image.registers[0]);
}

TEST(WindowsKernel, IsFoundByTheStartBlockOfOtherCpus) {
  Builder builder;
  builder.memory().write_u64(PhysAddr{0x3000}, 0x00000001000600e9);
  builder.memory().write_u64(PhysAddr{0x3070}, Builder::kKernel + Builder::kWorker);
  builder.memory().write_u64(PhysAddr{0x30a0}, Builder::kRoot.value);
  Image image = builder.build();
  image.registers.clear();
  const auto kernel = Kernel::open(image, {});
  ASSERT_THAT(kernel, Succeeds());
  EXPECT_THAT(how(**kernel, "kernel"), HasSubstr("entry point"));
  builder.memory().write_u64(PhysAddr{0x30a0}, 0);
  EXPECT_THAT(Kernel::open(image, {}), FailsWith(ErrorCode::kNotFound, "page tables"));
}

/// What the tests of lists and stacks begin with.
struct Opened {
  Image image;
  std::unique_ptr<Kernel> kernel;
  mutable std::vector<std::string> problems;
  std::vector<Module> modules;
  explicit Opened(const Builder& builder)
      : image(builder.build()),
        kernel(Kernel::open(image, {}).value()),
        modules(read_modules(*kernel, problems)) {}
  Unwinder unwinder() const { return {kernel->space(), modules}; }
};

TEST(WindowsModules, AndProcessesAreListed) {
  Builder builder;
  const Opened opened(builder);
  ASSERT_THAT(opened.modules, SizeIs(2));
  EXPECT_EQ(opened.modules[1].name, "mydriver.sys");
  EXPECT_EQ(opened.modules[1].timestamp, 0x5f000000u);
  EXPECT_EQ(opened.modules[1].pdb->file, "mydriver.pdb");
  const auto processes = read_processes(*opened.kernel, opened.problems);
  EXPECT_THAT(opened.problems, IsEmpty());
  ASSERT_THAT(processes, SizeIs(2));
  EXPECT_EQ(processes[0].name, "System");
  EXPECT_EQ(processes[1].name, "smss.exe");
  EXPECT_EQ(processes[1].parent, 4u);
  ASSERT_THAT(processes[0].threads, SizeIs(2));
  EXPECT_EQ(processes[0].threads[0].id, 400u);
  EXPECT_EQ(processes[0].threads[0].cpu, 0u);
  EXPECT_EQ(processes[0].threads[1].state, 5u);
  EXPECT_EQ(processes[1].threads.size(), 1u);
}

TEST(WindowsModules, ListsWithoutAnEndEnd) {
  Builder builder;
  builder.write_u64(Builder::kKernel + 0xa100,
                    Builder::kKernel + 0xa000);  // a ring without the head
  builder.write_u64(Builder::kSystem + 0x448, Builder::kSystem + 0x448);
  const Image image = builder.build();
  const auto kernel = Kernel::open(image, {});
  ASSERT_THAT(kernel, Succeeds());
  std::vector<std::string> problems;
  EXPECT_THAT(read_modules(**kernel, problems), SizeIs(2));
  EXPECT_THAT(read_processes(**kernel, problems), SizeIs(1));
  EXPECT_THAT(problems, ElementsAre(HasSubstr("loaded modules"), HasSubstr("list of processes")));
}

std::vector<std::uint64_t> addresses(const Stack& stack) {
  std::vector<std::uint64_t> out;
  for (const Frame& frame : stack.frames) out.push_back(frame.address.value);
  return out;
}

TEST(WindowsUnwinder, GoesThroughAMachineFrameToTheFirstFunction) {
  Builder builder;
  const Opened opened(builder);
  const Unwinder unwinder = opened.unwinder();
  const Stack stack = unwinder.from_cpu(opened.kernel->cpus()[0]);
  EXPECT_THAT(addresses(stack), ElementsAre(Builder::kKernel + Builder::kBugCheck + 0x20,
                                            Builder::kKernel + Builder::kTrap + 0x10,
                                            Builder::kDriver + Builder::kFailing + 5,
                                            Builder::kDriver + Builder::kEntry + 0x10,
                                            Builder::kKernel + Builder::kWorker + 0x10));
  EXPECT_TRUE(stack.complete) << stack.end_reason;
  EXPECT_TRUE(stack.frames[2].interrupted);
  const SymbolFinder none;
  const Symbolizer symbols(opened.kernel->space(), opened.modules, none);
  EXPECT_EQ(symbols.at(VirtAddr{Builder::kKernel + Builder::kBugCheck + 0x20}).symbol,
            "KeBugCheckEx");
  EXPECT_EQ(crashed_cpu(*opened.kernel, unwinder, symbols), 0u);
  // A thread that waits goes on where it was switched away from.
  EXPECT_THAT(addresses(unwinder.from_stack(VirtAddr{Builder::kStack + 0x3000})),
              testing::Contains(Builder::kKernel + Builder::kWorker + 0x10));
}

// In the middle of a prolog only what has run is undone; an epilog is run to its end.
TEST(WindowsUnwinder, PrologsAndEpilogs) {
  Builder builder;
  builder.write(Builder::kKernel + Builder::kWorker + 0x40,
                as_bytes("\x48\x83\xc4\x20\x5b\xc3"));  // add rsp, 0x20; pop rbx; ret
  const Opened opened(builder);
  const Unwinder unwinder = opened.unwinder();
  const std::uint64_t caller = Builder::kDriver + Builder::kEntry + 0x10;
  const std::uint64_t sp = Builder::kStack + 0x4000;
  const struct {
    std::uint32_t offset;      // in the function
    std::uint64_t returns_at;  // behind the stack pointer
  } cases[] = {{0, 0}, {1, 8}, {5, 0x28}, {0x10, 0x28}, {0x40, 0x28}, {0x44, 8}, {0x45, 0}};
  for (const auto& c : cases) {
    Registers cpu = opened.image.registers[0];
    cpu.set(Reg::kRip, Builder::kKernel + Builder::kWorker + c.offset);
    cpu.set(Reg::kRsp, sp);
    builder.write(sp, Bytes(0x60));
    builder.write_u64(sp + c.returns_at, caller);
    Cpu stopped;
    stopped.registers = &cpu;
    const Stack stack = unwinder.from_cpu(stopped);
    ASSERT_GE(stack.frames.size(), 2u) << c.offset;
    EXPECT_EQ(stack.frames[1].address.value, caller) << c.offset;
    EXPECT_TRUE(stack.frames[1].reliable) << c.offset;
  }
}

TEST(WindowsUnwinder, DamagedUnwindDataEndsInGuesses) {
  Builder builder;
  builder.write_u32(Builder::kKernel + 0x5800, 0x00020507);  // version 7
  const Opened opened(builder);
  const Stack stack = opened.unwinder().from_cpu(opened.kernel->cpus()[0]);
  EXPECT_FALSE(stack.complete);
  EXPECT_THAT(stack.end_reason, HasSubstr("version 7"));
  ASSERT_GE(stack.frames.size(), 2u);
  EXPECT_FALSE(stack.frames[1].reliable);
}

// Registers come with the header; what is behind page tables and unwind data of another kind is the
// same.
TEST(WindowsArm64, IsReadFromItsDump) {
  Builder builder(true);
  const Opened opened(builder);
  EXPECT_THAT(how(*opened.kernel, "page tables"), HasSubstr("header"));
  EXPECT_EQ(opened.kernel->base().value, Builder::kKernel);
  EXPECT_EQ(opened.kernel->bugcheck()->code, 0xd1u);
  ASSERT_THAT(opened.modules, SizeIs(2));
  EXPECT_EQ(opened.modules[1].name, "mydriver.sys");
  std::vector<std::string> problems;
  const std::vector<Process> processes = read_processes(*opened.kernel, problems);
  ASSERT_THAT(processes, SizeIs(2));
  EXPECT_EQ(processes[1].name, "smss.exe");
  EXPECT_THAT(processes[0].threads, SizeIs(2));
  ASSERT_THAT(opened.kernel->cpus(), SizeIs(1));
  const Cpu& cpu = opened.kernel->cpus()[0];
  ASSERT_TRUE(cpu.arm64);
  EXPECT_EQ(cpu.arm64->sp, Builder::kStack + 0x1000);
  EXPECT_TRUE(cpu.crashed);
  const Stack stack = opened.unwinder().from_cpu(cpu);
  EXPECT_THAT(addresses(stack), ElementsAre(Builder::kKernel + Builder::kBugCheck + 0x20,
                                            Builder::kDriver + Builder::kFailing + 0x10,
                                            Builder::kDriver + Builder::kEntry + 0x10,
                                            Builder::kKernel + Builder::kWorker + 0x10));
  EXPECT_TRUE(stack.complete) << stack.end_reason;
}

// A block of 2 MiB maps as its pages would.
TEST(WindowsArm64, BlocksAreFollowed) {
  Builder builder(true);
  constexpr std::uint64_t kVirt = 0xffffc00000000000;
  builder.tables().entry(kVirt, 2, 0x200000 | 1);
  const Opened opened(builder);
  EXPECT_EQ(opened.kernel->space().read_u64(VirtAddr{kVirt + 0x8018}).value(), Builder::kKernel);
  builder.tables().entry(kVirt + 0x200000, 1, 0x300000 | 1);  // a page without its second bit
  EXPECT_FALSE(opened.kernel->space().read_u64(VirtAddr{kVirt + 0x200000}).has_value());
}

}  // namespace
}  // namespace hvd::windows
