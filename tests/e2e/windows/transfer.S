# The part of tapebus.sys whose unwind data no C compiler makes: a function of which a part that is
# described by chained unwind data calls a function that has none, and faults.
  .intel_syntax noprefix
  .text
  .globl TapeTransfer
  .seh_proc TapeTransfer
TapeTransfer:
  push rsi
  .seh_pushreg rsi
  sub rsp, 0x40
  .seh_stackalloc 0x40
  .seh_endprologue
  mov rsi, rdx
  test rcx, rcx
  jz 1f
  .seh_startchained
  mov [rsp + 0x30], rbx
  .seh_savereg rbx, 0x30
  .seh_endprologue
  mov rcx, [rsp + 0x48]
  call [rip + __imp_TestReturnsTo]
  lea rcx, [rip + TapeTransferReturns]
  call [rip + __imp_TestReturnsTo]
  mov rbx, 0xfffff8a0deadb000
  call TapeCopyBlock
  .globl TapeTransferReturns
TapeTransferReturns:
  mov rbx, [rsp + 0x30]
  .seh_endchained
1:
  add rsp, 0x40
  pop rsi
  ret
  .seh_endproc

  .globl TapeCopyBlock
  .def TapeCopyBlock
  .scl 2
  .type 32
  .endef
TapeCopyBlock:
  mov rax, [rbx + 0x18]
  mov [rsi], rax
  ret
