// Looking for PDBs in files, folders and symbol stores.
#include <filesystem>
#include <map>

#include "guest/debuginfo/pdb_symbols.h"
#include "guest/debuginfo/symbol_store.h"

namespace hvd {
namespace {

// Asks stores one after another, and remembers what came of it.
class PdbFinder {
 public:
  PdbFinder(std::vector<SymbolStore> stores, std::function<void(const std::string&)> tell)
      : stores_(std::move(stores)), tell_(std::move(tell)) {}

  std::shared_ptr<const windows::ImageSymbols> find(const windows::PdbId& id) {
    const auto [entry, is_new] = kept_.try_emplace(id.key());
    if (!is_new || !is_file_name(id.file)) return entry->second;
    for (SymbolStore& store : stores_) {
      entry->second = in_folders(store, id);
      if (!entry->second && is_plain_name(id.file)) entry->second = over_network(store, id);
      if (entry->second) break;
    }
    return entry->second;
  }

 private:
  static std::shared_ptr<const windows::ImageSymbols> in_folders(const SymbolStore& store,
                                                                 const windows::PdbId& id) {
    for (const std::string& folder : store.folders) {
      for (const std::string& path : candidates_in(folder, id)) {
        std::error_code ignored;
        if (!std::filesystem::is_regular_file(path, ignored)) continue;
        if (auto symbols = open_pdb(path, id)) return *symbols;
      }
    }
    return nullptr;
  }

  std::shared_ptr<const windows::ImageSymbols> over_network(SymbolStore& store,
                                                            const windows::PdbId& id) {
    for (auto url = store.urls.begin(); url != store.urls.end();) {
      const auto path = fetch_pdb(*url, store.folders.front(), id);
      if (path) {
        auto symbols = open_pdb(*path, id);
        if (symbols) return *symbols;
        tell(without_password(*url) + ": " + symbols.error().message);
        std::error_code ignored;
        std::filesystem::remove(*path, ignored);
      } else if (path.error().code != ErrorCode::kNotFound) {
        tell(path.error().message);
        url = store.urls.erase(url);  // is not asked again
        continue;
      }
      ++url;
    }
    return nullptr;
  }

  void tell(const std::string& problem) const {
    if (tell_) tell_(problem);
  }

  std::vector<SymbolStore> stores_;
  std::function<void(const std::string&)> tell_;
  std::map<std::string, std::shared_ptr<const windows::ImageSymbols>> kept_;
};

}  // namespace

windows::SymbolFinder find_pdbs(const std::vector<std::string>& places,
                                std::function<void(const std::string&)> tell) {
  std::vector<SymbolStore> stores;
  for (const std::string& place : places) stores.push_back({{place}, {}});
  const char* path = std::getenv("_NT_SYMBOL_PATH");
  for (SymbolStore& store : parse_symbol_path(path ? path : "")) stores.push_back(std::move(store));
  if (stores.empty()) return {};
  auto finder = std::make_shared<PdbFinder>(std::move(stores), std::move(tell));
  return [finder](const windows::PdbId& id) { return finder->find(id); };
}

}  // namespace hvd
