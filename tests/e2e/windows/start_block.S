# PROCESSOR_START_BLOCK: a page below 1 MiB through which CPUs get to the kernel: from real mode, as
# a startup interrupt leaves them, or, at `protected`, from 32-bit code with or without paging.
# Code as if at START_BLOCK; boot.c copies it there and fills in the words (loader.h).
#define START_BLOCK 0x13000
#define AT(label) (START_BLOCK + (label) - start_block)

  .section .rodata
  .globl start_block, start_block_end
  .balign 16
start_block:
  .code16
  .byte 0xe9, 0xfd, 0x06       # jmp real; readers of raw memory know the block by these bytes
  .byte 0, 1, 0, 0, 0
  .org start_block + 0x70
  .quad 0                      # target
  .org start_block + 0xa0
  .quad 0, 0, 0, 0             # cr3, cr4, stack, argument
  .org start_block + 0x200
gdt:
  .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff, 0x00af9a000000ffff
start_block_gdtr:
  .word 4 * 8 - 1
  .quad AT(gdt)
  .org start_block + 0x700
real:
  cli
  mov %cs, %ax
  mov %ax, %ds
  lgdtl start_block_gdtr - start_block
  mov %cr0, %eax
  or $1, %eax
  mov %eax, %cr0
  ljmpl $8, $AT(start_block_protected)
  .code32
start_block_protected:
  mov $0x10, %ax
  mov %ax, %ds
  mov %ax, %es
  mov %ax, %ss
  mov %cr0, %eax
  and $0x7fffffff, %eax        # the number of levels of page tables can only change without paging
  mov %eax, %cr0
  mov START_BLOCK + 0xa8, %eax
  mov %eax, %cr4
  mov START_BLOCK + 0xa0, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx        # EFER: system calls, long mode, no-execute
  rdmsr
  or $0x901, %eax
  wrmsr
  mov %cr0, %eax
  or $0x80010001, %eax         # paging, write protection
  mov %eax, %cr0
  ljmp $0x18, $AT(long)
  .code64
long:
  mov START_BLOCK + 0xb0, %rsp
  mov START_BLOCK + 0xb8, %rcx
  pushq $0                     # the first function returns to nowhere
  jmp *START_BLOCK + 0x70
start_block_end:

# Leaves long mode, for `protected`; does not return.
  .text
  .globl enter_start_block
enter_start_block:
  lgdt AT(start_block_gdtr)
  pushq $8
  pushq $AT(start_block_protected)
  lretq
