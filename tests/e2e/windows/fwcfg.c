/* What the guest driver for QEMU's vmcoreinfo device does: it hands over a crash dump header, as the
 * kernel itself initialises one, in the guise of an ELF note (QEMU's docs/specs/vmcoreinfo and
 * docs/specs/fw_cfg). */
#include "kernel.h"

enum { SELECTOR = 0x510, DATA = 0x511, DMA = 0x514, DIRECTORY = 0x19, NAME_AT = 8, ENTRY = 64 };

typedef struct {
  u32 control, length;
  u64 address;
} __attribute__((packed)) FW_CFG_DMA;

typedef struct {
  u16 host_format, guest_format;
  u32 size;
  u64 address;
} __attribute__((packed)) VMCOREINFO;

typedef struct {
  u32 name_size, size, type;
  char name[12];
  u8 header[0x2000];
  VMCOREINFO info;
  FW_CFG_DMA dma;
} BUFFER; /* the loader's */

static int FindFile(const char* name) {
  outw(SELECTOR, DIRECTORY);
  u32 files = 0;
  for (int i = 0; i < 4; ++i) files = files << 8 | inb(DATA);
  while (files--) {
    u8 entry[ENTRY];
    for (int i = 0; i < ENTRY; ++i) entry[i] = inb(DATA);
    int same = 0;
    while (name[same] && name[same] == (char)entry[NAME_AT + same]) ++same;
    if (!name[same] && !entry[NAME_AT + same]) return entry[4] << 8 | entry[5];
  }
  return -1;
}

static void put32(u8* at, u32 value) { memcpy(at, &value, sizeof value); }
static void put64(u8* at, u64 value) { memcpy(at, &value, sizeof value); }

static void FillHeader(u8* header, const KDDEBUGGER_DATA64* decoded) {
  for (u32 at = 0; at < 0x2000; at += 4) put32(header + at, 0x45474150);
  put32(header + 4, 0x34365544); /* PAGEDU64 */
  put32(header + 8, 15), put32(header + 0xc, 19041);
  put64(header + 0x10, read_cr3());
  put64(header + 0x18, (u64)&MmPfnDatabase);
  put64(header + 0x20, (u64)&PsLoadedModuleList), put64(header + 0x28, (u64)&PsActiveProcessHead);
  put32(header + 0x30, 0x8664), put32(header + 0x34, PROCESSORS);
  put32(header + 0x38, 0);
  put64(header + 0x40, (u64)decoded); /* where QEMU looks for a decoded block */
  put64(header + 0x48, 0), put64(header + 0x50, 0), put64(header + 0x58, 0);
  put64(header + 0x80, (u64)&KdDebuggerDataBlock);
  u64 pages = 0;
  for (u64 i = 0; i < KeLoaderBlock->run_count; ++i) {
    put64(header + 0x98 + 16 * i, KeLoaderBlock->runs[i].page);
    put64(header + 0xa0 + 16 * i, KeLoaderBlock->runs[i].count);
    pages += KeLoaderBlock->runs[i].count;
  }
  put32(header + 0x88, (u32)KeLoaderBlock->run_count), put64(header + 0x90, pages);
  put32(header + 0xf98, 1), put64(header + 0xfa0, 0x2000 + pages * PAGE);
  put32(header + 0x1040, 3), put32(header + 0x1044, 0x110);
}

void FwCfgSendHeader(const KDDEBUGGER_DATA64* decoded) {
  const int selector = FindFile("etc/vmcoreinfo");
  if (selector < 0) {
    put_text("no vmcoreinfo device\n");
    return;
  }
  BUFFER* buffer = (BUFFER*)KeLoaderBlock->buffer;
  const u64 phys = KeLoaderBlock->buffer_phys;
  buffer->name_size = 11, buffer->size = sizeof buffer->header;
  memcpy(buffer->name, "VMCOREINFO", 11);
  FillHeader(buffer->header, decoded);
  buffer->info.guest_format = 1;
  buffer->info.size = __builtin_offsetof(BUFFER, info);
  buffer->info.address = phys;
  buffer->dma.control = __builtin_bswap32((u32)selector << 16 | 0x18); /* select, write */
  buffer->dma.length = __builtin_bswap32(sizeof buffer->info);
  buffer->dma.address = __builtin_bswap64(phys + __builtin_offsetof(BUFFER, info));
  const u64 at = __builtin_bswap64(phys + __builtin_offsetof(BUFFER, dma));
  outl(DMA, (u32)at);
  outl(DMA + 4, (u32)(at >> 32));
}
