// Symbols of Windows images out of PDB files, through LLVM.
#pragma once

#include <string>
#include <vector>

#include "guest/windows/symbols.h"

namespace hvd {

/// The symbols of the PDB at `path`; kNotFound when it is another build's than `id` says,
/// kCorrupt when LLVM cannot read it.
Result<std::shared_ptr<const windows::ImageSymbols>> open_pdb(const std::string& path,
                                                              const windows::PdbId& id);

/// Looks for PDBs in `places`, each a file, a folder, or a symbol store (FILE.pdb/KEY/FILE.pdb),
/// and in what _NT_SYMBOL_PATH names: local folders, and stores as in "srv*CACHE*STORE". What was
/// found once is kept.
windows::SymbolFinder find_pdbs(const std::vector<std::string>& places);

}  // namespace hvd
