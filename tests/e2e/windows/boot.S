# Where QEMU's -kernel begins (PVH, Xen's docs/misc/pvh.pandoc): 32-bit, no paging, %ebx leads to
# what there is. Goes on in boot_main with the first 4 GiB mapped to themselves.
  .section .note.pvh, "a", @note
  .long 4, 4, 18               # XEN_ELFNOTE_PHYS32_ENTRY
  .asciz "Xen"
  .long pvh_entry

  .section .bss
  .balign 4096
boot_tables: .skip 6 * 4096
  .balign 16
  .skip 65536
boot_stack:

  .section .rodata
  .balign 8
gdt: .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdtr: .word 3 * 8 - 1
  .long gdt

  .text
  .code32
  .globl pvh_entry
pvh_entry:
  mov $boot_stack, %esp
  # boot_tables: the root, one table of 1 GiB each, four of 2 MiB each.
  movl $boot_tables + 4096 + 3, boot_tables
  mov $4, %ecx
  mov $boot_tables + 2 * 4096 + 3, %eax
  mov $boot_tables + 4096, %edi
1:
  mov %eax, (%edi)
  add $4096, %eax
  add $8, %edi
  loop 1b
  mov $2048, %ecx
  mov $0x83, %eax
  mov $boot_tables + 2 * 4096, %edi
2:
  mov %eax, (%edi)
  add $0x200000, %eax
  add $8, %edi
  loop 2b
  mov $boot_tables, %eax
  mov %eax, %cr3
  mov $0x20, %eax              # PAE
  mov %eax, %cr4
  mov $0xc0000080, %ecx
  rdmsr
  or $0x100, %eax
  wrmsr
  mov %cr0, %eax
  or $0x80000001, %eax
  mov %eax, %cr0
  lgdt gdtr
  ljmp $8, $3f
  .code64
3:
  mov $0x10, %ax
  mov %ax, %ds
  mov %ax, %es
  mov %ax, %ss
  mov %ebx, %edi
  call boot_main

  .section .rodata
  .globl user_code, user_code_end
# What processes run: a system call if the kernel has left them a request (WORDS_AT of USER_PAGE).
user_code:
  movabs $0x00007ff712340ff0, %rsi
  mov (%rsi), %rdx
  mov $0x5a11ed, %ebx
  test %rdx, %rdx
  jz 4f
  syscall
  ud2
4:
  lock incq 8(%rsi)
5:
  pause
  jmp 5b
user_code_end:

  .balign 16
  .globl ntoskrnl, ntoskrnl_end, archive, archive_end, tapebus, tapebus_end
ntoskrnl: .incbin "ntoskrnl.exe"
ntoskrnl_end:
  .balign 16
archive: .incbin "archive.sys"
archive_end:
  .balign 16
tapebus: .incbin "tapebus.sys"
tapebus_end:
