#include "guest/windows/pe.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "base/windows_header.h"

namespace hvd::windows {
namespace {

constexpr std::uint16_t kDosMagic = 0x5a4d, kPe32Plus = 0x20b;  // "MZ"
constexpr std::uint32_t kPeMagic = 0x4550;                      // "PE\0\0"
constexpr std::size_t kMaxSections = 96;                        // the loader's own limit
constexpr std::uint32_t kMaxImage = 512u << 20;
constexpr std::size_t kMaxExports = 65536;
constexpr std::uint32_t kCodeView = 2, kRsds = 0x53445352;

struct FileHeader {
  le32 signature;
  le16 machine, sections;
  le32 timestamp, symbols, symbol_count;
  le16 optional_size, characteristics;
};
static_assert(sizeof(FileHeader) == 24);

struct OptionalHeader {
  le16 magic;
  unsigned char linker[2];
  le32 code, data, bss, entry_point, base_of_code;
  le64 image_base;
  le32 section_alignment, file_alignment;
  le16 versions[6];
  le32 win32_version, size_of_image, size_of_headers, checksum;
  le16 subsystem, dll_characteristics;
  le64 stack_and_heap[4];
  le32 loader_flags, directory_count;
};
static_assert(sizeof(OptionalHeader) == 112);

struct SectionHeader {
  char name[8];
  le32 virtual_size, rva, raw_size, raw_offset, relocations, lines;
  le16 relocation_count, line_count;
  le32 characteristics;
};
static_assert(sizeof(SectionHeader) == 40);
constexpr std::uint32_t kExecutable = 0x20000000, kWritable = 0x80000000;

struct DebugEntry {
  le32 characteristics, timestamp;
  le16 major, minor;
  le32 type, size, rva, offset;
};
static_assert(sizeof(DebugEntry) == 28);

struct ExportDirectory {
  le32 characteristics, timestamp;
  le16 major, minor;
  le32 name, ordinal_base, function_count, name_count, functions, names, ordinals;
};
static_assert(sizeof(ExportDirectory) == 40);

}  // namespace

std::string PdbId::key() const {
  if (guid.size() != 16) return {};
  // The first three fields of a GUID are numbers.
  constexpr std::array<std::size_t, 16> kOrder{3, 2, 1,  0,  5,  4,  7,  6,
                                               8, 9, 10, 11, 12, 13, 14, 15};
  Bytes ordered;
  for (const std::size_t at : kOrder) ordered.push_back(guid[at]);
  std::string out = hex_bytes(ordered);
  char number[16];
  std::snprintf(number, sizeof number, "%x", age);
  out += number;
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return out;
}

Result<PeImage> PeImage::open(const AddressSpace& space, VirtAddr base) {
  const std::uint64_t magic = HVD_TRY(space.read_u16(base));
  if (magic != kDosMagic) return Error{ErrorCode::kNotFound, "no image at " + hex(base.value)};
  const std::uint64_t at = HVD_TRY(space.read_u32(base + 0x3c));
  if (at > kPageSize - sizeof(FileHeader))
    return Error{ErrorCode::kCorrupt, "the image at " + hex(base.value) + " has no PE header"};
  const FileHeader file = HVD_TRY(space.read<FileHeader>(base + at));
  const auto optional = HVD_TRY(space.read<OptionalHeader>(base + at + sizeof file));
  const bool known = file.machine == kMachineAmd64 || file.machine == kMachineArm64;
  if (file.signature != kPeMagic || optional.magic != kPe32Plus || !known)
    return Error{ErrorCode::kCorrupt, "the image at " + hex(base.value) + " is no 64-bit PE image"};
  PeImage out;
  out.base_ = base;
  out.size_ = optional.size_of_image;
  out.timestamp_ = file.timestamp;
  out.machine_ = file.machine;
  if (out.size_ == 0 || out.size_ > kMaxImage || file.sections > kMaxSections)
    return Error{ErrorCode::kCorrupt, "the image at " + hex(base.value) + " claims " +
                                          std::to_string(out.size_) + " bytes in " +
                                          std::to_string(file.sections) + " sections"};
  const VirtAddr directories = base + at + sizeof file + sizeof optional;
  const auto count = std::min<std::size_t>(optional.directory_count, kDirectories);
  for (std::size_t i = 0; i < count; ++i) {
    const auto rva = HVD_TRY(space.read<le32>(directories + i * 8));
    const auto size = HVD_TRY(space.read<le32>(directories + i * 8 + 4));
    // Those outside the image (the certificates' offset is one of the file) are as good as none.
    if (rva <= out.size_ && size <= out.size_ - rva) out.directories_[i] = {rva, size};
  }
  const VirtAddr table = base + at + sizeof file + std::uint16_t{file.optional_size};
  for (std::size_t i = 0; i < file.sections; ++i) {
    const auto header = space.read<SectionHeader>(table + i * sizeof(SectionHeader));
    if (!header) break;
    PeSection section;
    section.name.assign(header->name, ::strnlen(header->name, sizeof header->name));
    section.rva = header->rva, section.size = header->virtual_size;
    section.executable = (header->characteristics & kExecutable) != 0;
    section.writable = (header->characteristics & kWritable) != 0;
    if (section.rva <= out.size_ && section.size <= out.size_ - section.rva)
      out.sections_.push_back(std::move(section));
  }
  return out;
}

Result<PdbId> PeImage::pdb(const AddressSpace& space) const {
  const Directory& debug = directories_[kDebug];
  for (std::uint32_t at = 0; at + sizeof(DebugEntry) <= std::min(debug.size, 4096u);
       at += sizeof(DebugEntry)) {
    const auto entry = HVD_TRY(space.read<DebugEntry>(base_ + debug.rva + at));
    if (entry.type != kCodeView || entry.rva >= size_) continue;
    const std::uint64_t magic = HVD_TRY(space.read_u32(base_ + entry.rva));
    if (magic != kRsds) continue;
    PdbId out;
    out.guid = HVD_TRY(space.read_bytes(base_ + entry.rva + 4, 16));
    const std::uint64_t age = HVD_TRY(space.read_u32(base_ + entry.rva + 20));
    out.age = static_cast<std::uint32_t>(age);
    out.file = HVD_TRY(space.read_string(base_ + entry.rva + 24, 512));
    // Drivers are built with a whole path.
    out.file = out.file.substr(out.file.find_last_of("\\/") + 1);
    return out;
  }
  return Error{ErrorCode::kNotFound, "the image at " + hex(base_.value) + " names no PDB"};
}

Result<std::string> PeImage::export_name(const AddressSpace& space) const {
  const Directory& exports = directories_[kExport];
  if (exports.size == 0) return Error{ErrorCode::kNotFound, "the image exports nothing"};
  const auto directory = HVD_TRY(space.read<ExportDirectory>(base_ + exports.rva));
  if (directory.name >= size_) return Error{ErrorCode::kCorrupt, "the export directory is damaged"};
  return space.read_string(base_ + directory.name, 256);
}

std::multimap<std::uint32_t, std::string> PeImage::exports(const AddressSpace& space) const {
  std::multimap<std::uint32_t, std::string> out;
  const Directory& exports = directories_[kExport];
  if (exports.size == 0) return out;
  const auto directory = space.read<ExportDirectory>(base_ + exports.rva);
  if (!directory) return out;
  const std::size_t names = std::min<std::size_t>(directory->name_count, kMaxExports);
  const Bytes name_rvas = space.read_up_to(base_ + directory->names, names * 4);
  const Bytes ordinals = space.read_up_to(base_ + directory->ordinals, names * 2);
  const std::size_t functions = std::min<std::size_t>(directory->function_count, kMaxExports);
  const Bytes function_rvas = space.read_up_to(base_ + directory->functions, functions * 4);
  const auto u32_at = [](const Bytes& bytes, std::size_t i) {
    le32 value;
    std::memcpy(&value, bytes.data() + i * 4, sizeof value);
    return std::uint32_t{value};
  };
  for (std::size_t i = 0; i < name_rvas.size() / 4 && i < ordinals.size() / 2; ++i) {
    le16 ordinal;
    std::memcpy(&ordinal, ordinals.data() + i * 2, sizeof ordinal);
    if (ordinal >= function_rvas.size() / 4) continue;
    const std::uint32_t rva = u32_at(function_rvas, ordinal);
    // Within the directory it is the name of another module's function.
    if (rva >= size_ || rva - exports.rva < exports.size) continue;
    if (auto name = space.read_string(base_ + u32_at(name_rvas, i), 512))
      out.emplace(rva, std::move(*name));
  }
  return out;
}

Result<std::string> PeImage::version(const AddressSpace& space) const {
  // The structure is found by its signature: the tree of resources above it leads nowhere else.
  constexpr std::array<std::byte, 4> kSignature{std::byte{0xbd}, std::byte{0x04}, std::byte{0xef},
                                                std::byte{0xfe}};
  constexpr std::size_t kMostBytes = 256u << 10;
  const Directory& resources = directories_[kResource];
  const Bytes bytes =
      space.read_up_to(base_ + resources.rva, std::min<std::size_t>(resources.size, kMostBytes));
  const auto at = std::search(bytes.begin(), bytes.end(), kSignature.begin(), kSignature.end());
  if (bytes.end() - at < 16) return Error{ErrorCode::kNotFound, "the image has no version"};
  const auto half = [&](std::size_t offset) {
    le16 value;
    std::memcpy(&value, &*at + offset, sizeof value);
    return std::to_string(std::uint16_t{value});
  };
  return half(10) + "." + half(8) + "." + half(14) + "." + half(12);
}

}  // namespace hvd::windows
