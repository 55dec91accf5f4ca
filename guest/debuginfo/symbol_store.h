// Symbol stores in the manner of Windows' debuggers: folders FILE/KEY/FILE, local or behind HTTP.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "guest/windows/pe.h"

namespace hvd {

struct SymbolStore {
  std::vector<std::string> folders;  // plain ones, or stores; what is fetched goes to the first
  std::string url;                   // asked when none of the folders has the file; may be empty
};

/// What _NT_SYMBOL_PATH says: "FOLDER;srv*CACHE*http://SERVER/PATH;cache*FOLDER". A server without
/// a folder before it has one under the user's cache.
std::vector<SymbolStore> parse_symbol_path(const std::string& text);

/// The first of `folder`/FILE, `folder`/FILE/KEY/FILE that is a file, in the order of preference.
std::vector<std::string> candidates_in(const std::string& folder, const windows::PdbId& id);

/// Whether it is fit to be part of a path or an address: a guest's memory says what it is.
bool is_plain_name(const std::string& file);

/// Fetches a PDB into the store's first folder, and returns its path there. kNotFound when the
/// server does not have it, kIo when it cannot be asked or the file not be kept. Nobody sees half a
/// file.
Result<std::string> fetch_pdb(const SymbolStore& store, const windows::PdbId& id);

}  // namespace hvd
