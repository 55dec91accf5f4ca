// Every instruction of every function of arm64_functions.S: stopped there, the unwinder finds the
// state that the caller had. What the instructions do to the stack the test works out by itself.
#include "guest/windows/function_table.h"
#include "guest/windows/unwind.h"
#include "guest/windows/unwind_steps.h"
#include "tests/support/arm64_functions.h"
#include "tests/support/matchers.h"
#include "tests/support/written_space.h"

namespace hvd::windows {
namespace {

constexpr VirtAddr kImage{0xfffff80180000000}, kStack{0xffffa00000100000};
constexpr std::uint64_t kCaller = 0xfffff80180001004;

// The stack's part of an Arm machine: what prologs and epilogs consist of.
class Machine {
 public:
  Machine(WrittenSpace& memory, Arm64Registers start) : memory_(memory), r(start) {}

  // False when the instruction is none that it knows.
  bool run(std::uint32_t word) {
    const unsigned rn = word >> 5 & 31, rt = word & 31, rt2 = word >> 10 & 31;
    if (word == 0xd503201f) return true;                                 // nop
    if (word == 0xd503237f || word == 0xd50323ff) {                      // pacibsp, autibsp
      constexpr std::uint64_t kSignature = std::uint64_t{0x0025} << 48;  // not the sign
      r.x[30] ^= kSignature;
      return true;
    }
    if ((word & 0x7f800000) == 0x11000000 || (word & 0x7f800000) == 0x51000000) {  // add, sub
      const std::uint64_t amount = std::uint64_t{word >> 10 & 0xfff} << (word >> 22 & 1 ? 12 : 0);
      const std::uint64_t from = at(rn);
      at(rt) = word >> 30 & 1 ? from - amount : from + amount;
      return true;
    }
    const bool load = (word >> 22 & 1) != 0, floating = (word >> 26 & 1) != 0;
    if ((word & 0x3a000000) == 0x28000000) {  // stp, ldp
      const auto offset =
          static_cast<std::int64_t>(static_cast<std::int32_t>(word << 10) >> 25) * 8;
      const unsigned mode = word >> 23 & 3;  // 1 post-index, 2 offset, 3 pre-index
      const std::uint64_t place = mode == 1 ? r.sp : r.sp + static_cast<std::uint64_t>(offset);
      move(load, floating, rt, place);
      move(load, floating, rt2, place + 8);
      if (mode != 2) r.sp += static_cast<std::uint64_t>(offset);
      return rn == 31;
    }
    if ((word & 0x3b000000) == 0x39000000) {  // str, ldr with an offset
      move(load, floating, rt, r.sp + (word >> 10 & 0xfff) * std::uint64_t{8});
      return rn == 31;
    }
    if ((word & 0x3b200000) == 0x38000000) {  // before or after
      const auto offset = static_cast<std::uint64_t>(
          static_cast<std::int64_t>(static_cast<std::int32_t>(word << 11) >> 23));
      const bool before = (word >> 10 & 3) == 3;
      move(load, floating, rt, before ? r.sp + offset : r.sp);
      r.sp += offset;
      return rn == 31;
    }
    return false;
  }

 private:
  std::uint64_t& at(unsigned reg) { return reg == 31 ? r.sp : r.x[reg]; }
  void move(bool load, bool floating, unsigned reg, std::uint64_t place) {
    if (!load) memory_.write_u64(place, floating ? 0xf10a7 : r.x[reg]);
    else if (!floating) r.x[reg] = *memory_.read_u64(VirtAddr{place});
  }
  WrittenSpace& memory_;

 public:
  Arm64Registers r;
};

class Arm64Unwinding : public testing::Test {
 protected:
  Arm64Unwinding() {
    load_arm64_functions(memory_, kImage);
    image_ = PeImage::open(memory_, kImage).value();
    for (std::size_t i = 0; i < start_.x.size(); ++i) start_.x[i] = 0x1111 * (i + 1);
    start_.x[30] = kCaller;
    start_.sp = kStack.value;
  }

  std::vector<Function> functions() const {
    std::vector<Function> out;
    std::optional<Function> found;
    for (std::uint32_t rva = 0x1000;; rva = found->end) {
      found = find_function(memory_, image_, rva).value();
      if (!found) break;
      out.push_back(*found);
    }
    return out;
  }

  WrittenSpace memory_;
  PeImage image_;
  Arm64Registers start_;
};

TEST_F(Arm64Unwinding, FromEveryInstruction) {
  const std::vector<Function> all = functions();
  ASSERT_THAT(all, testing::SizeIs(10));
  std::size_t packed = 0, steps = 0;
  for (const Function& function : all) {
    packed += (function.info & 3) != 0;
    Machine machine(memory_, start_);
    for (std::uint32_t rva = function.begin; rva < function.end; rva += 4) {
      Arm64State state;
      state.registers = machine.r;
      state.registers.pc = (kImage + rva).value;
      ASSERT_THAT(step(memory_, image_, state), Succeeds()) << std::hex << rva;
      EXPECT_EQ(state.registers.pc, kCaller) << std::hex << rva;
      EXPECT_EQ(state.sp(), kStack.value) << std::hex << rva;
      EXPECT_FALSE(state.exact);
      for (unsigned reg = 19; reg < 30; ++reg)
        EXPECT_EQ(state.registers.x[reg], start_.x[reg]) << std::hex << rva << " x" << reg;
      ++steps;
      const std::uint64_t word = *memory_.read_u32(kImage + rva);
      if (word == 0xd65f03c0) break;  // ret
      ASSERT_TRUE(machine.run(static_cast<std::uint32_t>(word))) << std::hex << rva;
      // In the body registers are anything.
      if (word == 0xd503201f && rva + 4 < function.end)
        for (unsigned reg = 0; reg < 19; ++reg) machine.r.x[reg] = 0xbad;
    }
    EXPECT_EQ(machine.r.sp, kStack.value);
  }
  EXPECT_EQ(packed, 8u);
  EXPECT_EQ(steps, 94u);
}

// A return address is behind its call, even where nothing follows it.
TEST_F(Arm64Unwinding, FromAReturnAddress) {
  const Function chained = functions().front();
  Machine machine(memory_, start_);
  for (std::uint32_t rva = chained.begin; rva < chained.begin + 20; rva += 4)
    ASSERT_TRUE(machine.run(static_cast<std::uint32_t>(*memory_.read_u32(kImage + rva))));
  Arm64State state;
  state.registers = machine.r;
  state.registers.pc = (kImage + chained.begin + 24).value;
  state.exact = false;
  ASSERT_THAT(step(memory_, image_, state), Succeeds());
  EXPECT_EQ(state.registers.pc, kCaller);
  EXPECT_EQ(state.sp(), kStack.value);
}

// What exceptions leave on the stack, as the kernel's own assembly describes it: such codes are no
// instructions, so the first one of the function is already behind its prolog.
TEST_F(Arm64Unwinding, FramesOfExceptionsLeadToWhatTheyInterrupted) {
  const Function unusual = functions()[8];
  const auto describe = [&](std::uint32_t codes) {
    // 17 words of code, one epilog at the end with the codes from the second on, one word of codes.
    memory_.write(kImage + unusual.info, bytes_of(le32(17 | 1 << 21 | 1 << 22 | 1u << 27)));
    memory_.write(kImage + unusual.info + 4, bytes_of(le32(codes)));
  };
  constexpr std::uint64_t kFrame = kStack.value - 0x400, kInterrupted = 0xfffff80180001234;
  for (std::uint64_t at = 0; at < 0x150; at += 8) memory_.write_u64(kFrame + at, 0x1000 + at);
  memory_.write_u64(kFrame + 0x98, kStack.value);
  memory_.write_u64(kFrame + 0x148, kInterrupted);
  Arm64State state;
  state.registers = start_;
  state.registers.sp = kFrame;
  state.registers.pc = (kImage + unusual.begin + 4).value;
  const Arm64State before = state;
  describe(0xe3e3e4e8);  // trap frame, end
  ASSERT_THAT(step(memory_, image_, state), Succeeds());
  EXPECT_TRUE(state.exact);
  EXPECT_EQ(state.registers.pc, kInterrupted);
  EXPECT_EQ(state.sp(), kStack.value);
  EXPECT_EQ(state.registers.x[18], 0x1000u + 0xa0 + 18 * 8);
  EXPECT_EQ(state.registers.x[29], 0x1140u);
  EXPECT_EQ(state.registers.x[30], 0x1138u);

  state = before;
  memory_.write_u64(kFrame, kStack.value);
  memory_.write_u64(kFrame + 8, kInterrupted);
  describe(0xe3e3e4e9);  // machine frame: the stack pointer, then where
  ASSERT_THAT(step(memory_, image_, state), Succeeds());
  EXPECT_TRUE(state.exact);
  EXPECT_EQ(state.registers.pc, kInterrupted);
  EXPECT_EQ(state.sp(), kStack.value);

  state = before;
  describe(0xe3e3e4ec);  // the caller did not call
  ASSERT_THAT(step(memory_, image_, state), Succeeds());
  EXPECT_TRUE(state.exact);
  EXPECT_EQ(state.registers.pc, kCaller);
}

TEST_F(Arm64Unwinding, DamagedDataAreAnError) {
  const Function unusual = functions()[8];
  for (const std::uint32_t head : {0x000c0011u, 0xffffffffu}) {
    memory_.write(kImage + unusual.info, bytes_of(le32(head)));
    Arm64State state;
    state.registers = start_;
    state.registers.pc = (kImage + unusual.begin + 0x24).value;
    EXPECT_THAT(step(memory_, image_, state), testing::Not(Succeeds()));
  }
}

}  // namespace
}  // namespace hvd::windows
