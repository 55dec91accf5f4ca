// PE images as they are loaded in memory (Microsoft's PE format specification): headers, debug
// directory, exports, unwind data.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "guest/windows/spaces.h"

namespace hvd::windows {

struct PeSection {
  std::string name;
  std::uint32_t rva = 0, size = 0;
  bool executable = false, writable = false;
};

/// The PDB that belongs to an image: "ntkrnlmp.pdb", and what tells its builds apart.
struct PdbId {
  std::string file;
  Bytes guid;  // 16 bytes as they lie in the file
  std::uint32_t age = 0;
  /// As symbol stores name the folder: the GUID's digits and the age, upper-case hexadecimal.
  std::string key() const;
};

class PeImage {
 public:
  /// The image at `base`; kCorrupt or kNotFound when none is there. Reads the headers only.
  static Result<PeImage> open(const AddressSpace& space, VirtAddr base);

  VirtAddr base() const { return base_; }
  std::uint32_t size() const { return size_; }
  std::uint16_t machine() const { return machine_; }  // kMachineAmd64 or kMachineArm64
  std::uint32_t timestamp() const { return timestamp_; }
  const std::vector<PeSection>& sections() const { return sections_; }
  bool contains(VirtAddr at) const { return at.value - base_.value < size_; }

  /// Out of the debug directory; kNotFound when it has no CodeView entry.
  Result<PdbId> pdb(const AddressSpace& space) const;
  /// The name it was linked under, out of its export directory.
  Result<std::string> export_name(const AddressSpace& space) const;
  /// Exported names by their place in the image.
  std::multimap<std::uint32_t, std::string> exports(const AddressSpace& space) const;
  /// "10.0.19041.1" out of its resources (VS_FIXEDFILEINFO).
  Result<std::string> version(const AddressSpace& space) const;

  /// Place and size of the table of RUNTIME_FUNCTIONs.
  struct Directory {
    std::uint32_t rva = 0, size = 0;
  };
  Directory unwind_table() const { return directories_[kException]; }

 private:
  static constexpr std::size_t kExport = 0, kResource = 2, kException = 3, kDebug = 6,
                               kDirectories = 16;
  VirtAddr base_;
  std::uint32_t size_ = 0, timestamp_ = 0;
  std::uint16_t machine_ = 0;
  std::vector<PeSection> sections_;
  std::array<Directory, kDirectories> directories_{};
};

}  // namespace hvd::windows
