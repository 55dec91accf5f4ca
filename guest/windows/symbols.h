// Names and structure layouts of one image, from wherever they come: its PDB, its exports.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "guest/windows/pe.h"

namespace hvd::windows {

struct NameAt {
  std::string name;
  std::uint32_t offset = 0;  // bytes into it
};

class ImageSymbols {
 public:
  virtual ~ImageSymbols() = default;
  /// The place of a symbol in the image; kNotFound.
  virtual Result<std::uint32_t> place_of(std::string_view name) const = 0;
  /// The last symbol that begins at or before `rva`.
  virtual std::optional<NameAt> at(std::uint32_t rva) const = 0;
  /// Offset of a member in bytes; kNotFound.
  virtual Result<std::uint32_t> member(std::string_view type, std::string_view name) const = 0;
};

/// Finds the symbols of the image that names this PDB; null when there are none.
using SymbolFinder = std::function<std::shared_ptr<const ImageSymbols>(const PdbId&)>;

}  // namespace hvd::windows
