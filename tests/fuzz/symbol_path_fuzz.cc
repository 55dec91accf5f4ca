// _NT_SYMBOL_PATH, and the names that a guest's memory gives its PDBs.
#include "guest/debuginfo/symbol_store.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const SymbolStore& store : parse_symbol_path(text)) {
    fuzz::require(!store.folders.empty());
    for (const std::string& url : store.urls)
      fuzz::require(without_password(url).size() <= url.size());
  }
  windows::PdbId id;
  id.file = text;
  id.guid = Bytes(16);
  // What may be asked for, or opened, stays in its folder.
  if (is_plain_name(text)) fuzz::require(is_file_name(text));
  if (is_file_name(text)) {
    for (const std::string& place : candidates_in("/store", id))
      fuzz::require(place.starts_with("/store") && place.find("/../") == std::string::npos);
  }
  return 0;
}
