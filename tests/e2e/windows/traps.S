# The kernel's assembly: entries and switches, with the unwind data that Windows' own have.
# Offsets are those of nt.h: KPCR.UserRsp 0x10, Prcb (0x180) CurrentThread +8, RspBase +0x28,
# KernelDirectoryTableBase +0x8e80, UserRspShadow +0x8e90; KTHREAD.KernelStack 0x58, Process 0x220,
# InitialStack 0x28; KPROCESS.DirectoryTableBase 0x28.
  .intel_syntax noprefix
  .text

# void KiSwapContext(rcx: thread that stops, rdx: thread that goes on). What SwapContext leaves on
# the stack that stops is a KSWITCH_FRAME.
  .globl KiSwapContext, KiSwapContextReturns
  .seh_proc KiSwapContext
KiSwapContext:
  sub rsp, 0x138
  .seh_stackalloc 0x138
  mov [rsp + 0x100], rbx
  .seh_savereg rbx, 0x100
  mov [rsp + 0x108], rdi
  .seh_savereg rdi, 0x108
  mov [rsp + 0x110], rsi
  .seh_savereg rsi, 0x110
  mov [rsp + 0x118], r12
  .seh_savereg r12, 0x118
  mov [rsp + 0x120], r13
  .seh_savereg r13, 0x120
  mov [rsp + 0x128], r14
  .seh_savereg r14, 0x128
  mov [rsp + 0x130], r15
  .seh_savereg r15, 0x130
  .seh_endprologue
  mov rbx, rcx
  mov rdi, rdx
  mov rcx, [rsp + 0x138]
  call TestReturnsTo
  lea rcx, [rip + KiSwapContextReturns]
  call TestReturnsTo
  mov rcx, rbx
  mov rdx, rdi
  call SwapContext
KiSwapContextReturns:
  mov rbx, [rsp + 0x100]
  mov rdi, [rsp + 0x108]
  mov rsi, [rsp + 0x110]
  mov r12, [rsp + 0x118]
  mov r13, [rsp + 0x120]
  mov r14, [rsp + 0x128]
  mov r15, [rsp + 0x130]
  add rsp, 0x138
  ret
  .seh_endproc

  .seh_proc SwapContext
SwapContext:
  push rbp
  .seh_pushreg rbp
  sub rsp, 0x30
  .seh_stackalloc 0x30
  .seh_endprologue
  mov [rcx + 0x58], rsp
  mov rax, [rdx + 0x220]
  mov rax, [rax + 0x28]
  mov cr3, rax
  mov rsp, [rdx + 0x58]
  mov gs:[0x188], rdx
  mov rax, [rdx + 0x28]
  mov gs:[0x1a8], rax
  add rsp, 0x30
  pop rbp
  ret
  .seh_endproc

# Where a new thread's first switch returns to: its stack has the start routine, its argument, and
# no return address, as if this had made room for them.
  .globl KiStartSystemThread
  .seh_proc KiStartSystemThread
KiStartSystemThread:
  .seh_stackalloc 0x28
  .seh_endprologue
  mov rcx, [rsp]
  mov rdx, [rsp + 8]
  call PspSystemThreadStartup
  ud2
  .seh_endproc

# A page fault: the CPU has pushed ss, rsp, rflags, cs, rip and an error code.
  .globl KiPageFault
  .seh_proc KiPageFault
KiPageFault:
  .seh_pushframe @code
  push rbp
  .seh_pushreg rbp
  sub rsp, 0x158
  .seh_stackalloc 0x158
  lea rbp, [rsp + 0x80]
  .seh_setframe rbp, 0x80
  .seh_endprologue
  mov rcx, [rbp + 0xe8]          # rip
  mov rdx, [rbp + 0xe0]          # error code
  sub rsp, 0x40                  # the frame register, not rsp, leads on from here
  call KiBugCheckDispatch
  ud2
  .seh_endproc

  .globl KiUnexpectedInterrupt
  .seh_proc KiUnexpectedInterrupt
KiUnexpectedInterrupt:
  .seh_pushframe
  sub rsp, 0x28
  .seh_stackalloc 0x28
  .seh_endprologue
  call KiUnexpected
  ud2
  .seh_endproc

# rcx: a GDTR, rdx: an IDTR. Goes on in segments 0x10 and 0x18.
  .globl KiLoadSegments
KiLoadSegments:
  lgdt [rcx]
  lidt [rdx]
  mov eax, 0x18
  mov ss, eax
  mov eax, 0x2b
  mov ds, eax
  mov es, eax
  pop rax
  push 0x10
  push rax
  retfq

# What is mapped in user mode too.
  .section KVASCODE, "xr"

  .macro system_call
  push 0x2b                      # as if an interrupt had come from user mode
  push gs:[0x10]
  push r11
  push 0x33
  push rcx
  push 0                         # where an error code would be
  push rbp
  sub rsp, 0x158
  lea rbp, [rsp + 0x80]
  mov rcx, rdx
  call KiSystemServiceHandler
  ud2
  .endm

  .macro describe_system_call
  .seh_pushframe @code
  .seh_pushreg rbp
  .seh_stackalloc 0x158
  .seh_setframe rbp, 0x80
  .seh_endprologue
  .endm

  .globl KiSystemCall64
  .seh_proc KiSystemCall64
KiSystemCall64:
  describe_system_call
  swapgs
  mov gs:[0x10], rsp
  mov rsp, gs:[0x1a8]
  system_call
  .seh_endproc

  .globl KiSystemCall64Shadow
  .seh_proc KiSystemCall64Shadow
KiSystemCall64Shadow:
  describe_system_call
  swapgs
  mov gs:[0x10], rsp
  mov rsp, gs:[0x9000]           # the kernel's own page tables
  mov cr3, rsp
  mov rsp, gs:[0x1a8]
  system_call
  .seh_endproc

# rcx: where user mode begins, rdx: its page tables.
  .globl KiExitToUser
KiExitToUser:
  cli
  mov rsp, gs:[0x18]             # the end of what user mode's page tables have of this CPU
  add rsp, 0x10000
  push 0x2b
  mov rax, 0x00007ff712340f00
  push rax
  push 0x2
  push 0x33
  push rcx
  swapgs
  mov cr3, rdx
  xor eax, eax
  xor ebp, ebp
  iretq
