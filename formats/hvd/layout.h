// The .hvd byte layout and nothing else: constants and wire structs. SPEC.md is normative; the
// section that defines each part is named beside it.
#pragma once

#include <array>
#include <cstdint>

#include "base/endian.h"

namespace hvd::format {

// SPEC.md, "File header".
inline constexpr std::array<unsigned char, 8> kFileMagic{0x89, 'H', 'V', 'D', 'U', 'M', 'P', '\n'};
inline constexpr std::uint16_t kVersionMajor = 1;
inline constexpr std::uint16_t kVersionMinor = 0;
inline constexpr std::uint32_t kSuite = 1;  // AES-256-GCM and BLAKE3

struct FileHeader {
  unsigned char magic[8];
  le16 version_major;
  le16 version_minor;
  le32 header_size;
  unsigned char dump_id[16];
  unsigned char signer[32];  // Ed25519 public key
  le64 created_ns;           // since 1970-01-01T00:00:00Z
  le32 suite;                // of ciphers and hashes
  unsigned char reserved[36];
  unsigned char check[16];
};
static_assert(sizeof(FileHeader) == 128 && WireStruct<FileHeader>);

// SPEC.md, "Records".
inline constexpr std::array<unsigned char, 4> kRecordMagic{'H', 'V', 'D', 'R'};
inline constexpr std::uint32_t kNoPartition = 0xffffffff;
inline constexpr std::uint32_t kMaxPayload = 16u << 20;
inline constexpr std::size_t kAlignment = 8;

inline constexpr std::uint16_t kFlagCritical =
    1;  // a reader that does not know the type must refuse the dump
inline constexpr std::uint16_t kFlagSealed = 2;
inline constexpr std::uint16_t kKnownFlags = kFlagCritical | kFlagSealed;

enum class RecordType : std::uint16_t {
  kDump = 1,
  kPartition = 2,
  kKeySlot = 3,
  kFacts = 4,
  kNote = 5,
  kRegisters = 6,
  kChunk = 7,
  kMap = 8,
  kMapIndex = 9,
  kSummary = 10,
  kPartitionEnd = 11,
  kCheckpoint = 12,
  kIndex = 13,
  kFooter = 14,
};
inline constexpr std::uint16_t kLastRecordType = 14;

struct RecordHeader {
  unsigned char magic[4];
  le16 type;
  le16 flags;
  le32 partition;
  le32 payload_size;
  le64 number;    // position among the file's records, from 0
  le64 sequence;  // meaning depends on the type; (partition, type, sequence) is unique in a dump
  unsigned char check[16];
};
static_assert(sizeof(RecordHeader) == 48 && WireStruct<RecordHeader>);
inline constexpr std::size_t kHashedHeaderBytes = 32;  // all but `check`

/// What a record takes in the file: its header, its payload and the padding behind it.
constexpr std::uint64_t record_bytes(std::uint64_t payload_size) {
  return sizeof(RecordHeader) + (payload_size + kAlignment - 1) / kAlignment * kAlignment;
}

// SPEC.md, "Packed blocks".
enum class Codec : std::uint8_t { kNone = 0, kLz4 = 1, kZstd = 2 };
struct PackedHeader {
  unsigned char codec;
  unsigned char reserved[3];
  le32 raw_size;
};
static_assert(sizeof(PackedHeader) == 8 && WireStruct<PackedHeader>);
inline constexpr std::uint32_t kMaxRaw = 16u << 20;

// SPEC.md, "Segments and chunks".
inline constexpr std::uint64_t kPageBytes = 4096;
inline constexpr std::uint32_t kSegmentPages = 16384;
inline constexpr std::uint64_t kSegmentBytes = kSegmentPages * kPageBytes;
inline constexpr std::uint32_t kMaxChunkPages = 256;
inline constexpr std::uint32_t kChunkPages = 64;  // what our writer uses

struct ChunkHeader {
  le32 descriptor_size;  // as stored, the tag of a sealed one included
  le32 reserved;
};
static_assert(sizeof(ChunkHeader) == 8 && WireStruct<ChunkHeader>);

struct ChunkDescriptor {  // followed by page_count le16 page numbers within the segment, strictly
                          // increasing
  le32 segment;
  unsigned char page_class;
  unsigned char codec;
  le16 page_count;
};
static_assert(sizeof(ChunkDescriptor) == 8 && WireStruct<ChunkDescriptor>);

// SPEC.md, "MAP".
struct MapHeader {  // followed by the chunk entries, the repeats, and kSegmentPages state bytes
  le32 segment;
  le32 chunk_count;
  le32 repeat_count;
  le32 reserved;
};
static_assert(sizeof(MapHeader) == 16 && WireStruct<MapHeader>);

struct MapChunk {
  le64 file_offset;
  unsigned char page_class;
  unsigned char reserved;
  le16 page_count;
  le32 ordinal;  // the low 16 bits of the chunk's sequence
};
static_assert(sizeof(MapChunk) == 16 && WireStruct<MapChunk>);

struct MapRepeat {
  le16 page;
  le16 source;
};
static_assert(sizeof(MapRepeat) == 4 && WireStruct<MapRepeat>);

inline constexpr std::uint8_t kStateHole = 0x00;
inline constexpr std::uint8_t kStateRepeat = 0x01;
inline constexpr std::uint8_t kStateAbsent = 0x10;  // + Absence
inline constexpr std::uint8_t kStateStored = 0x80;  // + PageClass

// SPEC.md, "MAP_INDEX".
struct MapIndexEntry {
  le32 segment;
  le32 reserved;
  le64 file_offset;
};
static_assert(sizeof(MapIndexEntry) == 16 && WireStruct<MapIndexEntry>);
inline constexpr std::size_t kMapIndexEntries = 4096;

// SPEC.md, "REGISTERS".
inline constexpr std::uint16_t kMachineX86_64 = 62;  // EM_X86_64
struct RegistersHeader {                             // followed by register_count le64 values
  le32 id;
  le16 machine;  // an ELF e_machine
  le16 register_count;
  le64 known;
};
static_assert(sizeof(RegistersHeader) == 16 && WireStruct<RegistersHeader>);

// SPEC.md, "NOTE".
struct NoteHeader {  // followed by the name and the contents
  le32 type;
  le16 name_size;
  le16 reserved;
};
static_assert(sizeof(NoteHeader) == 8 && WireStruct<NoteHeader>);

// SPEC.md, "CHECKPOINT".
struct CheckpointHeader {  // followed by count leaves of 32 bytes and the signature
  le64 first_record;
  le32 count;
  le32 reserved;
  unsigned char previous[32];
};
static_assert(sizeof(CheckpointHeader) == 48 && WireStruct<CheckpointHeader>);
inline constexpr std::size_t kCheckpointEvery = 1024;
inline constexpr std::size_t kMaxCheckpointLeaves = 65536;

// SPEC.md, "INDEX".
struct IndexEntry {
  le16 type;
  le16 reserved;
  le32 partition;
  le64 sequence;
  le64 file_offset;
};
static_assert(sizeof(IndexEntry) == 24 && WireStruct<IndexEntry>);

// SPEC.md, "FOOTER".
struct Footer {
  le64 index_offset;
  le64 checkpoint_offset;
  le64 record_count;  // the footer included
  le64 file_size;
  unsigned char node[32];
  unsigned char signature[64];
};
static_assert(sizeof(Footer) == 128 && WireStruct<Footer>);
inline constexpr std::size_t kFooterRecordBytes = sizeof(RecordHeader) + sizeof(Footer);

/// The note in which the partition of a dead host says what was kept, blanked and left out, as JSON
/// (SPEC.md, "NOTE").
inline constexpr const char* kLedgerNote = "HVDUMP";
inline constexpr std::uint32_t kLedgerType = 2;

}  // namespace hvd::format
