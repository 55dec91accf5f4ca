/* What the boot program hands to the kernel, at an address that both have mapped. */
#pragma once

#include "machine.h"

enum { PROCESSORS = 4, IMAGES = 3, PROCESSES = 3, THREADS = 9, RUNS = 8 };

/* Options, on QEMU's -append. */
enum {
  ENCODED = 1, /* the debugger data block is kept encoded */
  NOTE = 2,    /* a driver gives QEMU a crash dump header */
  SHADOW = 4,  /* user mode has page tables without the kernel */
  LIVE = 8,    /* does not crash: one CPU, in user mode */
  STALL = 16,  /* a driver gives up, instead of touching what is not there */
};

typedef struct {
  u64 base, phys, size, entry;
  u32 timestamp;
} LOADED_IMAGE;

typedef struct {
  u64 page_tables, user_page_tables; /* with a shadow they differ */
  u64 user_page;                     /* physical; user mode has it at USER_PAGE */
  u64 kernel_view;                   /* where the kernel has the same page */
} ADDRESS_SPACE;

/* The code that other CPUs, and at last the first one, go to the kernel through. Offsets are those
 * of PROCESSOR_START_BLOCK; the code is start_block.S. */
typedef struct {
  u8 jump[8];
  u8 before[0x68];
  u64 target; /* 0x70: KiSystemStartup */
  u8 between[0x28];
  u64 cr3;      /* 0xa0 */
  u64 cr4;      /* 0xa8 */
  u64 stack;    /* 0xb0: what the CPU begins with, and */
  u64 argument; /* 0xb8: in rcx */
} START_BLOCK;

typedef struct {
  u64 options, seed;
  LOADED_IMAGE images[IMAGES];     /* the kernel first */
  ADDRESS_SPACE spaces[PROCESSES]; /* the first is System's */
  u64 stacks[THREADS];             /* ends of kernel stacks */
  u64 processors[PROCESSORS];      /* KPCRs with what else a CPU must have mapped in user mode */
  u64 pool;                        /* POOL_PAGES for objects */
  START_BLOCK* start_block;
  u64 local_apic;
  u64 buffer, buffer_phys; /* pages that are one piece in physical memory too */
  u64 pte_base;
  u64 run_count;
  struct {
    u64 page, count;
  } runs[RUNS];
} LOADER_BLOCK;

#define STACK_SIZE (6 * PAGE)
#define PROCESSOR_PAGES 16ull
#define POOL_PAGES 16ull
#define BUFFER_PAGES 4ull
#define START_BLOCK_AT 0x13000ull
#define SHARED_DATA 0xfffff78000000000ull
#define USER_PAGE 0x00007ff712340000ull
#define WORDS_AT 0xff0 /* in it: a request for the kernel, or 0, and a count of turns */
