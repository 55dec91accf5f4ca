// What LLVM reads out of a PDB. It does not survive every damaged file: pdb_symbols.cc has it in a
// process of its own.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "guest/windows/pe.h"

namespace hvd {

class PdbReader {
 public:
  /// kNotFound when the file is another build's than `id` says, kCorrupt when LLVM cannot read it.
  static Result<std::unique_ptr<PdbReader>> open(const std::string& path, const windows::PdbId& id);
  ~PdbReader();

  /// Functions and variables by their place in the image.
  const std::map<std::uint32_t, std::string>& names() const { return names_; }
  /// The offsets of a structure's members in bytes; empty when there is no such structure.
  std::map<std::string, std::uint32_t> members_of(const std::string& type) const;

 private:
  class Session;
  PdbReader();
  std::unique_ptr<Session> session_;
  std::map<std::uint32_t, std::string> names_;
};

}  // namespace hvd
