#include "guest/debuginfo/pdb_symbols.h"

#include <llvm/DebugInfo/CodeView/CVTypeVisitor.h>
#include <llvm/DebugInfo/CodeView/SymbolDeserializer.h>
#include <llvm/DebugInfo/CodeView/TypeDeserializer.h>
#include <llvm/DebugInfo/CodeView/TypeRecordHelpers.h>
#include <llvm/DebugInfo/CodeView/TypeVisitorCallbackPipeline.h>
#include <llvm/DebugInfo/MSF/MappedBlockStream.h>
#include <llvm/DebugInfo/PDB/Native/DbiModuleDescriptor.h>
#include <llvm/DebugInfo/PDB/Native/DbiModuleList.h>
#include <llvm/DebugInfo/PDB/Native/DbiStream.h>
#include <llvm/DebugInfo/PDB/Native/InfoStream.h>
#include <llvm/DebugInfo/PDB/Native/ModuleDebugStream.h>
#include <llvm/DebugInfo/PDB/Native/NativeSession.h>
#include <llvm/DebugInfo/PDB/Native/PDBFile.h>
#include <llvm/DebugInfo/PDB/Native/PublicsStream.h>
#include <llvm/DebugInfo/PDB/Native/RawTypes.h>
#include <llvm/DebugInfo/PDB/Native/SymbolStream.h>
#include <llvm/DebugInfo/PDB/Native/TpiStream.h>
#include <llvm/Object/COFF.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <unordered_map>

#include "guest/debuginfo/symbol_store.h"

namespace hvd {
namespace {

using llvm::codeview::SymbolDeserializer;
using llvm::codeview::SymbolKind;
using windows::NameAt;

Error error_of(llvm::Error error, const std::string& path) {
  return Error{ErrorCode::kCorrupt, path + ": " + llvm::toString(std::move(error))};
}

class PdbSymbols final : public windows::ImageSymbols {
 public:
  PdbSymbols(std::unique_ptr<llvm::pdb::IPDBSession> session)
      : session_(std::move(session)),
        file_(static_cast<llvm::pdb::NativeSession&>(*session_).getPDBFile()) {}

  llvm::Error load() {
    auto dbi = file_.getPDBDbiStream();
    if (!dbi) return dbi.takeError();
    for (const auto& section : dbi->getSectionHeaders())
      sections_.push_back(section.VirtualAddress);
    if (auto failed = load_publics()) return failed;
    load_procedures(*dbi);
    for (const auto& [rva, name] : names_) places_.emplace(name, rva);
    return llvm::Error::success();
  }

  bool matches(const windows::PdbId& id) const {
    auto info = file_.getPDBInfoStream();
    auto dbi = file_.getPDBDbiStream();
    if (!info || !dbi) {
      llvm::consumeError(info.takeError());
      llvm::consumeError(dbi.takeError());
      return false;
    }
    const llvm::codeview::GUID guid = info->getGuid();
    if (id.guid.size() != sizeof guid.Guid) return false;
    return std::memcmp(guid.Guid, id.guid.data(), sizeof guid.Guid) == 0;
  }

  Result<std::uint32_t> place_of(std::string_view name) const override {
    const auto found = places_.find(std::string(name));
    if (found == places_.end())
      return Error{ErrorCode::kNotFound, "the PDB has no symbol " + std::string(name)};
    return found->second;
  }

  std::optional<NameAt> at(std::uint32_t rva) const override {
    auto behind = names_.upper_bound(rva);
    if (behind == names_.begin()) return std::nullopt;
    --behind;
    return NameAt{behind->second, rva - behind->first};
  }

  Result<std::uint32_t> member(std::string_view type, std::string_view name) const override {
    const std::lock_guard lock(mutex_);
    const auto& members = members_of(std::string(type));
    const auto found = members.find(std::string(name));
    if (found == members.end()) {
      return Error{ErrorCode::kNotFound,
                   "the PDB has no " + std::string(type) + "." + std::string(name)};
    }
    return found->second;
  }

 private:
  using Members = std::unordered_map<std::string, std::uint32_t>;

  void add(std::uint16_t segment, std::uint32_t offset, llvm::StringRef name) {
    if (segment == 0 || segment > sections_.size()) return;
    names_.try_emplace(sections_[segment - 1] + offset, name.str());
  }

  llvm::Error load_publics() {
    auto publics = file_.getPDBPublicsStream();
    if (!publics) return publics.takeError();
    auto symbols = file_.getPDBSymbolStream();
    if (!symbols) return symbols.takeError();
    for (const std::uint32_t at : publics->getPublicsTable()) {
      const auto record = symbols->readRecord(at);
      if (record.kind() != SymbolKind::S_PUB32) continue;
      auto symbol = SymbolDeserializer::deserializeAs<llvm::codeview::PublicSym32>(record);
      if (!symbol) return symbol.takeError();
      add(symbol->Segment, symbol->Offset, symbol->Name);
    }
    return llvm::Error::success();
  }

  // Functions and variables that are not public. A module whose symbols cannot be read is passed
  // over: the others' names are as good without.
  void load_procedures(const llvm::pdb::DbiStream& dbi) {
    const llvm::pdb::DbiModuleList& modules = dbi.modules();
    for (std::uint32_t i = 0; i < modules.getModuleCount(); ++i) {
      const llvm::pdb::DbiModuleDescriptor module = modules.getModuleDescriptor(i);
      const std::uint16_t stream = module.getModuleStreamIndex();
      if (stream == llvm::pdb::kInvalidStreamIndex) continue;
      llvm::pdb::ModuleDebugStreamRef symbols(module, file_.createIndexedStream(stream));
      if (auto failed = symbols.reload()) {
        llvm::consumeError(std::move(failed));
        continue;
      }
      bool failed = false;
      for (const auto& record : symbols.symbols(&failed)) {
        if (record.kind() == SymbolKind::S_GPROC32 || record.kind() == SymbolKind::S_LPROC32) {
          auto symbol = SymbolDeserializer::deserializeAs<llvm::codeview::ProcSym>(record);
          if (symbol) add(symbol->Segment, symbol->CodeOffset, symbol->Name);
          else llvm::consumeError(symbol.takeError());
        } else if (record.kind() == SymbolKind::S_GDATA32 ||
                   record.kind() == SymbolKind::S_LDATA32) {
          auto symbol = SymbolDeserializer::deserializeAs<llvm::codeview::DataSym>(record);
          if (symbol) add(symbol->Segment, symbol->DataOffset, symbol->Name);
          else llvm::consumeError(symbol.takeError());
        }
      }
    }
  }

  class MemberCollector final : public llvm::codeview::TypeVisitorCallbacks {
   public:
    explicit MemberCollector(Members& out) : out_(out) {}
    llvm::Error visitKnownMember(llvm::codeview::CVMemberRecord&,
                                 llvm::codeview::DataMemberRecord& member) override {
      out_.emplace(member.getName().str(), static_cast<std::uint32_t>(member.getFieldOffset()));
      return llvm::Error::success();
    }

   private:
    Members& out_;
  };

  const Members& members_of(const std::string& type) const {
    const auto [entry, is_new] = types_.try_emplace(type);
    if (!is_new) return entry->second;
    auto tpi = file_.getPDBTpiStream();
    if (!tpi) {
      llvm::consumeError(tpi.takeError());
      return entry->second;
    }
    for (const auto& record : tpi->typeArray()) {
      if (record.kind() != llvm::codeview::LF_STRUCTURE) continue;
      auto found = llvm::codeview::TypeDeserializer::deserializeAs<llvm::codeview::ClassRecord>(
          record.RecordData);
      if (!found) {
        llvm::consumeError(found.takeError());
        continue;
      }
      if (found->isForwardRef() || found->getName() != type) continue;
      llvm::codeview::CVType list = tpi->getType(found->getFieldList());
      auto fields =
          llvm::codeview::TypeDeserializer::deserializeAs<llvm::codeview::FieldListRecord>(
              list.RecordData);
      if (!fields) {
        llvm::consumeError(fields.takeError());
        break;
      }
      MemberCollector collector(entry->second);
      llvm::consumeError(llvm::codeview::visitMemberRecordStream(fields->Data, collector));
      break;
    }
    return entry->second;
  }

  const std::unique_ptr<llvm::pdb::IPDBSession> session_;
  llvm::pdb::PDBFile& file_;
  std::vector<std::uint32_t> sections_;
  std::map<std::uint32_t, std::string> names_;
  std::unordered_map<std::string, std::uint32_t> places_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Members> types_;
};

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

Result<std::shared_ptr<const windows::ImageSymbols>> open_pdb(const std::string& path,
                                                              const windows::PdbId& id) {
  std::unique_ptr<llvm::pdb::IPDBSession> session;
  if (auto failed = llvm::pdb::NativeSession::createFromPdbPath(path, session))
    return error_of(std::move(failed), path);
  auto symbols = std::make_shared<PdbSymbols>(std::move(session));
  if (!symbols->matches(id))
    return Error{ErrorCode::kNotFound, path + " is of another build than " + id.key()};
  if (auto failed = symbols->load()) return error_of(std::move(failed), path);
  return std::shared_ptr<const windows::ImageSymbols>(std::move(symbols));
}

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
