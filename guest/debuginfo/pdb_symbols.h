// Symbols of Windows images out of PDB files, through LLVM.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "guest/windows/symbols.h"

namespace hvd {

/// The symbols of the PDB at `path`; kNotFound when it is another build's than `id` says,
/// kCorrupt when LLVM cannot read it.
Result<std::shared_ptr<const windows::ImageSymbols>> open_pdb(const std::string& path,
                                                              const windows::PdbId& id);

/// Looks for PDBs in `places`, each a file, a folder, or a symbol store, and in what
/// _NT_SYMBOL_PATH names (symbol_store.h). What was found once is kept. `tell` is called with what
/// kept a server from answering, once for each, and with files of its that are no such PDB.
windows::SymbolFinder find_pdbs(const std::vector<std::string>& places,
                                std::function<void(const std::string&)> tell);

}  // namespace hvd
