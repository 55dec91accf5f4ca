/* Loads the kernel and its drivers as Windows' boot loader does: PE images at the addresses that the
 * options name, relocated and bound to each other, kernel stacks with unmapped pages between them,
 * page tables that map themselves, and an address space for each process. */
#include "loader.h"

DEFINE_MEMORY_FUNCTIONS

extern const u8 ntoskrnl[], archive[], tapebus[];
extern const u8 start_block[], start_block_end[], user_code[], user_code_end[], boot_end[];
__attribute__((noreturn)) void enter_start_block(void);

enum { PRESENT = 1, WRITE = 2, USER = 4, LARGE = 0x80, NO_CACHE = 0x10 };
static const u64 kFrame = 0x000ffffffffff000, kLargePage = 2u << 20;

/* hvm_start_info and its memory map, version 1. */
typedef struct {
  u32 magic, version, flags, modules;
  u64 module_list, command_line, rsdp, memory_map;
  u32 memory_map_entries, reserved;
} START_INFO;
typedef struct {
  u64 base, size;
  u32 type, reserved;
} MEMORY_MAP_ENTRY;

static __attribute__((noreturn)) void fail(const char* text) {
  put_text("boot: ");
  put_text(text);
  put_char('\n');
  for (;;) __asm__ volatile("cli; hlt");
}

/* ---- options: "name=hex" or "name", separated by blanks ---- */

static const char* command_line;

static const char* find_option(const char* name) {
  for (const char* at = command_line; *at;) {
    const char* n = name;
    while (*n && *at == *n) ++at, ++n;
    if (!*n && (*at == '=' || *at == ' ' || !*at)) return at;
    while (*at && *at != ' ') ++at;
    while (*at == ' ') ++at;
  }
  return 0;
}

static u64 option(const char* name, u64 otherwise) {
  const char* at = find_option(name);
  if (!at || *at++ != '=') return otherwise;
  u64 value = 0;
  for (; *at && *at != ' '; ++at) value = value << 4 | (u64)(*at <= '9' ? *at - '0' : *at - 'a' + 10);
  return value;
}

/* ---- physical memory: pages from the top down, so that what is one in virtual memory is scattered;
 * large pages from the bottom up ---- */

static u64 top_page, next_large;

static u64 new_page(void) {
  top_page -= PAGE;
  memset((void*)top_page, 0, PAGE);
  return top_page;
}

static u64 new_large_page(void) {
  const u64 at = next_large;
  next_large += kLargePage;
  memset((void*)at, 0, kLargePage);
  return at;
}

/* ---- page tables ---- */

static int levels;

static u64* entry(u64 root, u64 virt, int level) {
  u64* table = (u64*)root;
  for (int at = levels; at > level; --at) {
    u64* next = &table[virt >> (12 + 9 * (at - 1)) & 511];
    if (!(*next & PRESENT)) *next = new_page() | PRESENT | WRITE | (virt >> 63 ? 0 : USER);
    table = (u64*)(*next & kFrame);
  }
  return &table[virt >> (12 + 9 * (level - 1)) & 511];
}

static void map(u64 root, u64 virt, u64 phys, u64 flags) { *entry(root, virt, 1) = phys | flags | PRESENT; }

static void* mapped(u64 root, u64 virt) {
  const u64 large = *entry(root, virt, 2);
  if (large & LARGE) return (void*)((large & kFrame) + virt % kLargePage);
  return (void*)((*entry(root, virt, 1) & kFrame) + virt % PAGE);
}

static void map_new(u64 root, u64 virt, u64 pages) {
  for (u64 i = 0; i < pages; ++i) map(root, virt + i * PAGE, new_page(), WRITE);
}

/* ---- PE images ---- */

static u32 get32(const u8* at) { return *(const u32*)at; }
static const u8* optional_header(const u8* file) { return file + get32(file + 0x3c) + 24; }
static u32 directory(const u8* file, int index) { return get32(optional_header(file) + 112 + 8 * index); }
static u32 directory_size(const u8* file, int index) { return get32(optional_header(file) + 116 + 8 * index); }

static void copy_to(u64 root, u64 virt, const u8* from, u64 size) {
  while (size) {
    const u64 room = PAGE - virt % PAGE, step = size < room ? size : room;
    memcpy(mapped(root, virt), from, step);
    virt += step, from += step, size -= step;
  }
}

static void load(u64 root, LOADED_IMAGE* image, const u8* file, u64 base, int large) {
  const u8* header = optional_header(file);
  image->base = base;
  image->size = get32(header + 56);
  image->entry = base + get32(header + 16);
  image->timestamp = get32(file + get32(file + 0x3c) + 8);
  if (large) {
    for (u64 at = 0; at < image->size; at += kLargePage)
      *entry(root, base + at, 2) = new_large_page() | LARGE | WRITE | PRESENT;
  } else {
    map_new(root, base, (image->size + PAGE - 1) / PAGE);
  }
  copy_to(root, base, file, get32(header + 60));
  const u8* pe = file + get32(file + 0x3c);
  const u8* section = header + *(const u16*)(pe + 20);
  for (int left = *(const u16*)(pe + 6); left > 0; --left, section += 40) {
    const u32 wanted = get32(section + 8), stored = get32(section + 16);
    copy_to(root, base + get32(section + 12), file + get32(section + 20), stored < wanted ? stored : wanted);
  }
  /* Base relocations: blocks of a page's address, a size, and 4 bits of type with 12 of offset. */
  const u64 moved = base - *(const u64*)(header + 24);
  u64 at = base + directory(file, 5);
  for (const u64 end = at + directory_size(file, 5); at < end;) {
    const u32 page = *(u32*)mapped(root, at), size = *(u32*)mapped(root, at + 4);
    for (u32 i = 8; i < size; i += 2) {
      const u16 fixup = *(u16*)mapped(root, at + i);
      if (fixup >> 12 == 10) *(u64*)mapped(root, base + page + (fixup & 0xfff)) += moved;
    }
    at += size;
  }
}

static int same(const char* a, const char* b) {
  while (*a && *a == *b) ++a, ++b;
  return *a == *b;
}

/* Names may cross pages, so they are read from the file, where they are in the section that holds them. */
static const u8* in_file(const u8* file, u32 rva) {
  const u8* pe = file + get32(file + 0x3c);
  const u8* section = optional_header(file) + *(const u16*)(pe + 20);
  for (int left = *(const u16*)(pe + 6); left > 0; --left, section += 40) {
    if (rva - get32(section + 12) < get32(section + 16)) return file + get32(section + 20) + rva - get32(section + 12);
  }
  fail("an address is in no section");
}

static u32 exported(const u8* file, const char* name) {
  const u8* table = in_file(file, directory(file, 0));
  for (u32 i = 0; i < get32(table + 24); ++i) {
    const char* its = (const char*)in_file(file, get32(in_file(file, get32(table + 32)) + 4 * i));
    if (!same(its, name)) continue;
    const u16 ordinal = *(const u16*)(in_file(file, get32(table + 36)) + 2 * i);
    return get32(in_file(file, get32(table + 28)) + 4 * ordinal);
  }
  put_text(name);
  fail(": is not exported");
}

static void bind(u64 root, const LOADED_IMAGE* image, const u8* file, const u8* const files[],
                 const LOADED_IMAGE* images) {
  for (const u8* import = in_file(file, directory(file, 1)); get32(import + 12); import += 20) {
    const char* library = (const char*)in_file(file, get32(import + 12));
    const int from = same(library, "ntoskrnl.exe") ? 0 : same(library, "tapebus.sys") ? 2 : -1;
    if (from < 0) fail("an import is of an unknown image");
    for (u32 i = 0;; ++i) {
      const u64 hint = *(const u64*)(in_file(file, get32(import)) + 8 * i);
      if (!hint) break;
      const char* name = (const char*)in_file(file, (u32)hint + 2);
      *(u64*)mapped(root, image->base + get32(import + 16) + 8 * i) =
          images[from].base + exported(files[from], name);
    }
  }
}

/* ---- the whole ---- */

static LOADER_BLOCK block __attribute__((aligned(4096)));

static void map_shadow(u64 root, u64 shadow, u64 virt, u64 pages) {
  for (u64 i = 0; i < pages; ++i) map(shadow, virt + i * PAGE, (u64)mapped(root, virt + i * PAGE), WRITE);
}

/* The kernel's code that enters and leaves user mode is in a section by itself. */
static void map_transition(u64 root, u64 shadow, const u8* file, u64 base) {
  const u8* pe = file + get32(file + 0x3c);
  const u8* section = optional_header(file) + *(const u16*)(pe + 20);
  for (int left = *(const u16*)(pe + 6); left > 0; --left, section += 40) {
    if (*(const u64*)section == 0x45444f435341564bull) /* "KVASCODE" */
      map_shadow(root, shadow, base + get32(section + 12), (get32(section + 8) + PAGE - 1) / PAGE);
  }
}

static void address_spaces(u64 root, const u8* file) {
  for (u64 i = 0; i < PROCESSES; ++i) {
    ADDRESS_SPACE* space = &block.spaces[i];
    space->page_tables = space->user_page_tables = root;
    if (i == 0) continue;
    u64* own = (u64*)(space->page_tables = new_page());
    for (int k = 256; k < 512; ++k) own[k] = ((u64*)root)[k];
    own[block.pte_base >> (levels == 5 ? 48 : 39) & 511] = (u64)own | PRESENT | WRITE;
    space->user_page = new_page();
    memcpy((void*)space->user_page, user_code, (u64)(user_code_end - user_code));
    /* A page that the kernel has not mapped for itself: no dump of the kernel may hold it. */
    u64* secret = (u64*)new_page();
    map(space->page_tables, USER_PAGE + PAGE, (u64)secret, USER | WRITE);
    secret[0] = 0x5453455743455355ull, secret[1] = block.seed, secret[2] = i;
    map(space->page_tables, USER_PAGE, space->user_page, USER | WRITE);
    map(root, space->kernel_view, space->user_page, WRITE);
    space->user_page_tables = space->page_tables;
    if (!(block.options & SHADOW)) continue;
    const u64 shadow = space->user_page_tables = new_page();
    map(shadow, USER_PAGE, space->user_page, USER | WRITE);
    map_transition(root, shadow, file, block.images[0].base);
    for (int cpu = 0; cpu < PROCESSORS; ++cpu) map_shadow(root, shadow, block.processors[cpu], PROCESSOR_PAGES);
  }
}

void boot_main(const START_INFO* info) {
  command_line = (const char*)info->command_line;
  block.options = (find_option("encoded") ? ENCODED : 0u) | (find_option("note") ? NOTE : 0u) |
                  (find_option("shadow") ? SHADOW : 0u) | (find_option("live") ? LIVE : 0u) |
                  (find_option("stall") ? STALL : 0u);
  block.seed = option("seed", 1);
  levels = find_option("la57") ? 5 : 4;
  const MEMORY_MAP_ENTRY* entries = (const MEMORY_MAP_ENTRY*)info->memory_map;
  for (u32 i = 0; i < info->memory_map_entries; ++i) {
    const u64 begin = (entries[i].base + PAGE - 1) / PAGE, end = (entries[i].base + entries[i].size) / PAGE;
    if (entries[i].type != 1 || end <= begin || block.run_count == RUNS) continue;
    block.runs[block.run_count].page = begin;
    block.runs[block.run_count++].count = end - begin;
    if (end * PAGE > top_page && end * PAGE < 1ull << 32) top_page = end * PAGE;
  }
  /* Something for captures to compress: half of it, page by page, is noise. */
  next_large = ((u64)boot_end + kLargePage - 1) / kLargePage * kLargePage;
  const u64 fill = next_large + 8 * kLargePage;
  u64 noise = block.seed | 1;
  for (u64 at = fill, end = fill + option("fill", 0); at < end; at += 8) {
    noise ^= noise << 13, noise ^= noise >> 7, noise ^= noise << 17;
    *(u64*)at = at / PAGE % 2 ? noise : at / PAGE;
  }

  const u64 root = new_page();
  /* Every top-level entry of the kernel's half, before address spaces are copied from it. */
  block.pte_base = option("pte", 0xffffed8000000000);
  if (levels == 4) ((u64*)root)[block.pte_base >> 39 & 511] = root | PRESENT | WRITE;
  else ((u64*)root)[block.pte_base >> 48 & 511] = root | PRESENT | WRITE;
  const u8* const files[IMAGES] = {ntoskrnl, archive, tapebus};
  load(root, &block.images[0], ntoskrnl, option("kernel", 0xfffff80002000000), find_option("large") != 0);
  load(root, &block.images[1], archive, option("archive", 0xfffff80010000000), 0);
  load(root, &block.images[2], tapebus, option("tapebus", 0xfffff80011000000), 0);
  for (int i = 0; i < IMAGES; ++i)
    if (directory(files[i], 1)) bind(root, &block.images[i], files[i], files, block.images);
  const u64 region = 0xffffb00000000000 + (block.seed << 24 & 0xffff000000);
  for (u64 i = 0; i < THREADS; ++i) {
    const u64 stack = region + i * (STACK_SIZE + PAGE);
    map_new(root, stack, STACK_SIZE / PAGE);
    block.stacks[i] = stack + STACK_SIZE;
  }
  for (u64 i = 0; i < PROCESSORS; ++i) {
    block.processors[i] = region + (1 + i) * 0x100000;
    map_new(root, block.processors[i], PROCESSOR_PAGES);
  }
  block.pool = region + 0x1000000;
  map_new(root, block.pool, POOL_PAGES);
  map_new(root, SHARED_DATA, 1);
  block.buffer = region + 0x1800000;
  for (u64 i = BUFFER_PAGES; i-- > 0;) map(root, block.buffer + i * PAGE, block.buffer_phys = new_page(), WRITE);
  block.local_apic = region + 0x2000000;
  map(root, block.local_apic, 0xfee00000, WRITE | NO_CACHE);
  for (u64 i = 1; i < PROCESSES; ++i) block.spaces[i].kernel_view = region + 0x3000000 + i * PAGE;
  address_spaces(root, ntoskrnl);

  map(root, START_BLOCK_AT, START_BLOCK_AT, WRITE);
  START_BLOCK* start = (START_BLOCK*)START_BLOCK_AT;
  memcpy(start, start_block, (u64)(start_block_end - start_block));
  start->target = block.images[0].entry;
  start->cr3 = root;
  start->cr4 = levels == 5 ? 0x10a0 : 0xa0; /* LA57, global pages, PAE */
  start->stack = block.stacks[0] - 0x40;
  block.start_block = (START_BLOCK*)(region + 0x4000000);
  map(root, (u64)block.start_block, START_BLOCK_AT, WRITE);
  const u64 handed = region + 0x5000000;
  map_new(root, handed, 1);
  memcpy(mapped(root, handed), &block, sizeof block);
  start->argument = handed;
  enter_start_block();
}
