// Symbol stores in the manner of Windows' debuggers: folders FILE/KEY/FILE, local or behind HTTP.
#pragma once

#include <string>
#include <vector>

#include "guest/windows/pe.h"

namespace hvd {

struct SymbolStore {
  std::vector<std::string> folders;  // plain ones, or stores; what is fetched goes to the first
  std::vector<std::string> urls;     // asked in this order when none of the folders has the file
};

/// What _NT_SYMBOL_PATH says: "FOLDER;srv*CACHE*http://SERVER/PATH;cache*FOLDER". A server without
/// a folder before it has one under the user's cache.
std::vector<SymbolStore> parse_symbol_path(const std::string& text);

/// Where the PDB may be: `folder` itself, `folder`/FILE, `folder`/FILE/KEY/FILE.
std::vector<std::string> candidates_in(const std::string& folder, const windows::PdbId& id);

/// A guest's memory says what its PDBs are called. Whether that is fit to be part of a path here,
/// and of what another machine is asked for.
bool is_file_name(const std::string& file);
bool is_plain_name(const std::string& file);

/// Fetches a PDB from `url` into `folder`, and returns its path there. kNotFound when the
/// server does not have it, kIo when it cannot be asked or the file not be kept. Nobody sees half a
/// file.
Result<std::string> fetch_pdb(const std::string& url, const std::string& folder,
                              const windows::PdbId& id);

/// The address without a name and password in it, for messages.
std::string without_password(const std::string& url);

}  // namespace hvd
