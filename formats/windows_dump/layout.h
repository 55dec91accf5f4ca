// Windows crash dump files behind their header (base/windows_header.h): constants and wire structs.
//
// After Microsoft's mindumpdef.h as far as published, and what kdmp-parser, LeechCore and rizin
// read; checked against real files.
#pragma once

#include "base/windows_header.h"

namespace hvd::windows {

enum class DumpType : std::uint32_t {
  kFull = 1,
  kSummary = 2,
  kHeader = 3,
  kTriage = 4,
  kBitmapFull = 5,
  kBitmapKernel = 6,
  kAutomatic = 7,
  kRunsKernel = 8,  // "RDMP": kernel, and kernel with user memory
  kRunsKernelAndUser = 9,
  kRunsFull = 10,
};

/// Behind the header of kinds 5, 6 and 7; the bitmap follows.
struct BitmapHeader {
  char signature[4];  // "FDMP" or "SDMP"
  char valid[4];      // "DUMP"
  unsigned char unused[0x18];
  le64 first_page;  // file offset
  le64 present_pages;
  le64 pages;  // bits
};
static_assert(sizeof(BitmapHeader) == 0x38);

/// Behind the header of kinds 8 to 10; PhysicalRuns follow up to the first page.
struct RunsHeader {
  le32 size;          // 0x40
  char signature[8];  // "RDMPDUMP"
  le32 unused;
  le64 metadata_size;
  le64 first_page;  // file offset
  unsigned char unused2[0x10];
};
static_assert(sizeof(RunsHeader) == 0x30);

/// TRIAGE_DUMP64, behind the header of kind 4. Offsets are from the beginning of the file.
struct TriageHeader {
  le32 service_pack_build, size_of_dump, valid_offset, context_offset, exception_offset, mm_offset;
  le32 unloaded_drivers_offset, prcb_offset, process_offset, thread_offset;
  le32 call_stack_offset, call_stack_size, driver_list_offset, driver_count;
  le32 string_pool_offset, string_pool_size, broken_driver_offset, triage_options;
  le64 top_of_stack;
  unsigned char unused[16];
  le64 data_page_address;
  le32 data_page_offset, data_page_size;
  le32 debugger_data_offset, debugger_data_size;
  le32 data_blocks_offset, data_blocks_count;
};
static_assert(sizeof(TriageHeader) == 0x80);
static_assert(offsetof(TriageHeader, data_page_address) == 0x60);

/// A driver of a triage dump: where its name is, and a KLDR_DATA_TABLE_ENTRY.
struct TriageDriver {
  le32 name_offset, unused;
  unsigned char links[0x30];
  le64 base, entry_point;
  le32 size_of_image, unused2;
  unsigned char names[0x20];
  unsigned char flags[0x10];
  le32 checksum, unused3;
  le32 timestamp, unused4;
};
static_assert(sizeof(TriageDriver) == 0x90);
static_assert(offsetof(TriageDriver, base) == 0x38 &&
              offsetof(TriageDriver, size_of_image) == 0x48);
static_assert(offsetof(TriageDriver, checksum) == 0x80 &&
              offsetof(TriageDriver, timestamp) == 0x88);

/// DUMP_UNLOADED_DRIVERS64: of a count and these. The name is at most 12 characters of UTF-16.
struct UnloadedDriver {
  le16 name_bytes, name_capacity;
  le32 unused;
  le64 buffer;
  le16 name[12];
  le64 begin, end;
};
static_assert(sizeof(UnloadedDriver) == 0x38);

struct DataBlock {
  le64 address;
  le32 offset, size;
};
static_assert(sizeof(DataBlock) == 0x10);

inline constexpr std::string_view kTriageEnd = "TRGD";

}  // namespace hvd::windows
