// Functions with every kind of prolog, whose unwind data LLVM's assembler writes, some packed in a
// word. arm64_functions.h has what it made of them; anew with:
//   clang-19 --target=aarch64-pc-windows-msvc -c arm64_functions.S -o f.obj
//   lld-link-19 /dll /noentry /nodefaultlib /machine:arm64 /base:0x180000000 /timestamp:0 \
//    /out:f.dll f.obj /export:first
// Each calls nobody in truth: the walk over its instructions only follows the stack.
  .macro call
  nop
  .endm

  .text
  .globl first
first:

// Integer registers, an odd number of them, and a frame chain.
  .seh_proc chained
chained:
  stp x19, x20, [sp, #-0x30]!
  .seh_save_regp_x x19, 0x30
  stp x21, x22, [sp, #0x10]
  .seh_save_regp x21, 0x10
  str x23, [sp, #0x20]
  .seh_save_reg x23, 0x20
  stp x29, x30, [sp, #-0x40]!
  .seh_save_fplr_x 0x40
  mov x29, sp
  .seh_set_fp
  .seh_endprologue
  call
  .seh_startepilogue
  ldp x29, x30, [sp], #0x40
  .seh_save_fplr_x 0x40
  ldr x23, [sp, #0x20]
  .seh_save_reg x23, 0x20
  ldp x21, x22, [sp, #0x10]
  .seh_save_regp x21, 0x10
  ldp x19, x20, [sp], #0x30
  .seh_save_regp_x x19, 0x30
  .seh_endepilogue
  ret
  .seh_endproc

// More than 512 bytes of locals below the chain.
  .seh_proc roomy
roomy:
  stp x19, x20, [sp, #-0x10]!
  .seh_save_regp_x x19, 0x10
  sub sp, sp, #0x410
  .seh_stackalloc 0x410
  stp x29, x30, [sp]
  .seh_save_fplr 0
  mov x29, sp
  .seh_set_fp
  .seh_endprologue
  call
  .seh_startepilogue
  ldp x29, x30, [sp]
  .seh_save_fplr 0
  add sp, sp, #0x410
  .seh_stackalloc 0x410
  ldp x19, x20, [sp], #0x10
  .seh_save_regp_x x19, 0x10
  .seh_endepilogue
  ret
  .seh_endproc

// No chain: the link register among the others, once in a pair and once by itself.
  .seh_proc odd_and_link
odd_and_link:
  stp x19, x20, [sp, #-0x20]!
  .seh_save_regp_x x19, 0x20
  stp x21, x30, [sp, #0x10]
  .seh_save_lrpair x21, 0x10
  sub sp, sp, #0x50
  .seh_stackalloc 0x50
  .seh_endprologue
  call
  .seh_startepilogue
  add sp, sp, #0x50
  .seh_stackalloc 0x50
  ldp x21, x30, [sp, #0x10]
  .seh_save_lrpair x21, 0x10
  ldp x19, x20, [sp], #0x20
  .seh_save_regp_x x19, 0x20
  .seh_endepilogue
  ret
  .seh_endproc

  .seh_proc even_and_link
even_and_link:
  stp x19, x20, [sp, #-0x20]!
  .seh_save_regp_x x19, 0x20
  str x30, [sp, #0x10]
  .seh_save_reg x30, 0x10
  .seh_endprologue
  call
  .seh_startepilogue
  ldr x30, [sp, #0x10]
  .seh_save_reg x30, 0x10
  ldp x19, x20, [sp], #0x20
  .seh_save_regp_x x19, 0x20
  .seh_endepilogue
  ret
  .seh_endproc

  .seh_proc only_link
only_link:
  str x30, [sp, #-0x10]!
  .seh_save_reg_x x30, 0x10
  .seh_endprologue
  call
  .seh_startepilogue
  ldr x30, [sp], #0x10
  .seh_save_reg_x x30, 0x10
  .seh_endepilogue
  ret
  .seh_endproc

// Floating-point registers, alone and after others.
  .seh_proc floats
floats:
  stp d8, d9, [sp, #-0x20]!
  .seh_save_fregp_x d8, 0x20
  str d10, [sp, #0x10]
  .seh_save_freg d10, 0x10
  stp x29, x30, [sp, #-0x20]!
  .seh_save_fplr_x 0x20
  mov x29, sp
  .seh_set_fp
  .seh_endprologue
  call
  .seh_startepilogue
  ldp x29, x30, [sp], #0x20
  .seh_save_fplr_x 0x20
  ldr d10, [sp, #0x10]
  .seh_save_freg d10, 0x10
  ldp d8, d9, [sp], #0x20
  .seh_save_fregp_x d8, 0x20
  .seh_endepilogue
  ret
  .seh_endproc

  .seh_proc mixed
mixed:
  str x19, [sp, #-0x20]!
  .seh_save_reg_x x19, 0x20
  stp d8, d9, [sp, #0x8]
  .seh_save_fregp d8, 0x8
  stp x29, x30, [sp, #-0x10]!
  .seh_save_fplr_x 0x10
  mov x29, sp
  .seh_set_fp
  .seh_endprologue
  call
  .seh_startepilogue
  ldp x29, x30, [sp], #0x10
  .seh_save_fplr_x 0x10
  ldp d8, d9, [sp, #0x8]
  .seh_save_fregp d8, 0x8
  ldr x19, [sp], #0x20
  .seh_save_reg_x x19, 0x20
  .seh_endepilogue
  ret
  .seh_endproc

// A signed return address.
  .seh_proc signed_return
signed_return:
  pacibsp
  .seh_pac_sign_lr
  stp x19, x20, [sp, #-0x10]!
  .seh_save_regp_x x19, 0x10
  stp x29, x30, [sp, #-0x20]!
  .seh_save_fplr_x 0x20
  mov x29, sp
  .seh_set_fp
  .seh_endprologue
  call
  .seh_startepilogue
  ldp x29, x30, [sp], #0x20
  .seh_save_fplr_x 0x20
  ldp x19, x20, [sp], #0x10
  .seh_save_regp_x x19, 0x10
  autibsp
  .seh_pac_sign_lr
  .seh_endepilogue
  ret
  .seh_endproc

// Not of the usual form: a large frame, a frame pointer in its middle, runs of pairs, two ends.
  .seh_proc unusual
unusual:
  stp x29, x30, [sp, #-0x70]!
  .seh_save_fplr_x 0x70
  stp x19, x20, [sp, #0x10]
  .seh_save_regp x19, 0x10
  stp x21, x22, [sp, #0x20]
  .seh_save_next
  stp x23, x24, [sp, #0x30]
  .seh_save_next
  stp d8, d9, [sp, #0x40]
  .seh_save_fregp d8, 0x40
  nop
  .seh_nop
  add x29, sp, #0x50
  .seh_add_fp 0x50
  sub sp, sp, #0x2, lsl #12
  .seh_stackalloc 0x2000
  sub sp, sp, #0x320
  .seh_stackalloc 0x320
  .seh_endprologue
  call
  .seh_startepilogue
  sub sp, x29, #0x50
  .seh_add_fp 0x50
  ldp d8, d9, [sp, #0x40]
  .seh_save_fregp d8, 0x40
  ldp x23, x24, [sp, #0x30]
  .seh_save_next
  ldp x21, x22, [sp, #0x20]
  .seh_save_next
  ldp x19, x20, [sp, #0x10]
  .seh_save_regp x19, 0x10
  ldp x29, x30, [sp], #0x70
  .seh_save_fplr_x 0x70
  .seh_endepilogue
  ret
  .seh_endproc

  .seh_proc short_codes
short_codes:
  stp x19, x20, [sp, #-0x20]!
  .seh_save_r19r20_x 0x20
  str x21, [sp, #-0x20]!
  .seh_save_reg_x x21, 0x20
  str d8, [sp, #-0x10]!
  .seh_save_freg_x d8, 0x10
  stp x29, x30, [sp, #-0x20]!
  .seh_save_any_reg_px x29, 0x20
  sub sp, sp, #0x1f0
  .seh_stackalloc 0x1f0
  .seh_endprologue
  call
  .seh_startepilogue
  add sp, sp, #0x1f0
  .seh_stackalloc 0x1f0
  ldp x29, x30, [sp], #0x20
  .seh_save_any_reg_px x29, 0x20
  ldr d8, [sp], #0x10
  .seh_save_freg_x d8, 0x10
  ldr x21, [sp], #0x20
  .seh_save_reg_x x21, 0x20
  ldp x19, x20, [sp], #0x20
  .seh_save_r19r20_x 0x20
  .seh_endepilogue
  ret
  .seh_endproc
