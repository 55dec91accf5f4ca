#include "base/registers.h"

#include <gtest/gtest.h>
#include <sys/user.h>

#include <cstring>

namespace hvd {
namespace {

TEST(Registers, UserOrderIsTheSystemsOwn) {
  user_regs_struct in{};
  std::array<std::uint64_t, kUserOrder.size()> words{};
  static_assert(sizeof in == sizeof words);
  for (std::size_t i = 0; i < words.size(); ++i)
    words[i] = static_cast<std::uint64_t>(kUserOrder[i]);
  std::memcpy(&in, words.data(), sizeof in);
  const std::pair<Reg, std::uint64_t> places[] = {{Reg::kRax, in.rax},
                                                  {Reg::kRbx, in.rbx},
                                                  {Reg::kRcx, in.rcx},
                                                  {Reg::kRdx, in.rdx},
                                                  {Reg::kRsi, in.rsi},
                                                  {Reg::kRdi, in.rdi},
                                                  {Reg::kRbp, in.rbp},
                                                  {Reg::kRsp, in.rsp},
                                                  {Reg::kR8, in.r8},
                                                  {Reg::kR9, in.r9},
                                                  {Reg::kR10, in.r10},
                                                  {Reg::kR11, in.r11},
                                                  {Reg::kR12, in.r12},
                                                  {Reg::kR13, in.r13},
                                                  {Reg::kR14, in.r14},
                                                  {Reg::kR15, in.r15},
                                                  {Reg::kRip, in.rip},
                                                  {Reg::kRflags, in.eflags},
                                                  {Reg::kOrigRax, in.orig_rax},
                                                  {Reg::kCs, in.cs},
                                                  {Reg::kSs, in.ss},
                                                  {Reg::kDs, in.ds},
                                                  {Reg::kEs, in.es},
                                                  {Reg::kFs, in.fs},
                                                  {Reg::kGs, in.gs},
                                                  {Reg::kFsBase, in.fs_base},
                                                  {Reg::kGsBase, in.gs_base}};
  static_assert(std::size(places) == kUserOrder.size());
  for (const auto& [reg, found] : places) EXPECT_EQ(name_of(static_cast<Reg>(found)), name_of(reg));
}

TEST(Registers, EachHasAName) {
  EXPECT_EQ(name_of(Reg::kRax), "rax");
  EXPECT_EQ(name_of(Reg::kRip), "rip");
  EXPECT_EQ(name_of(Reg::kCr8), "cr8");
  EXPECT_EQ(name_of(Reg::kKernelGsBase), "kernel_gs_base");
  EXPECT_EQ(name_of(Reg::kTrBase), "tr_base");
  EXPECT_EQ(name_of(Reg::kIdtrLimit), "idtr_limit");
}

}  // namespace
}  // namespace hvd
