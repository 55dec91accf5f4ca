#include "guest/debuginfo/pdb_reader.h"

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

#include <cstring>
#include <vector>

namespace hvd {
namespace {

using llvm::codeview::SymbolDeserializer;
using llvm::codeview::SymbolKind;
using llvm::codeview::TypeDeserializer;
using Members = std::map<std::string, std::uint32_t>;

Error error_of(llvm::Error error, const std::string& path) {
  return Error{ErrorCode::kCorrupt, path + ": " + llvm::toString(std::move(error))};
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

}  // namespace

class PdbReader::Session {
 public:
  explicit Session(std::unique_ptr<llvm::pdb::IPDBSession> session)
      : session_(std::move(session)),
        file_(static_cast<llvm::pdb::NativeSession&>(*session_).getPDBFile()) {}

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

  llvm::Error load_names(std::map<std::uint32_t, std::string>& names) {
    names_ = &names;
    auto dbi = file_.getPDBDbiStream();
    if (!dbi) return dbi.takeError();
    for (const auto& section : dbi->getSectionHeaders())
      sections_.push_back(section.VirtualAddress);
    if (auto failed = load_publics()) return failed;
    load_procedures(*dbi);
    return llvm::Error::success();
  }

  Members members_of(const std::string& type) const {
    Members out;
    auto tpi = file_.getPDBTpiStream();
    if (!tpi) {
      llvm::consumeError(tpi.takeError());
      return out;
    }
    for (const auto& record : tpi->typeArray()) {
      if (record.kind() != llvm::codeview::LF_STRUCTURE) continue;
      auto found = TypeDeserializer::deserializeAs<llvm::codeview::ClassRecord>(record.RecordData);
      if (!found) {
        llvm::consumeError(found.takeError());
        continue;
      }
      if (found->isForwardRef() || found->getName() != type) continue;
      llvm::codeview::CVType list = tpi->getType(found->getFieldList());
      auto fields =
          TypeDeserializer::deserializeAs<llvm::codeview::FieldListRecord>(list.RecordData);
      if (!fields) {
        llvm::consumeError(fields.takeError());
        break;
      }
      MemberCollector collector(out);
      llvm::consumeError(llvm::codeview::visitMemberRecordStream(fields->Data, collector));
      break;
    }
    return out;
  }

 private:
  void add(std::uint16_t segment, std::uint32_t offset, llvm::StringRef name) {
    if (segment == 0 || segment > sections_.size()) return;
    names_->try_emplace(sections_[segment - 1] + offset, name.str());
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
      for (const auto& record : symbols.symbols(&failed)) add_symbol(record);
    }
  }

  void add_symbol(const llvm::codeview::CVSymbol& record) {
    if (record.kind() == SymbolKind::S_GPROC32 || record.kind() == SymbolKind::S_LPROC32) {
      auto symbol = SymbolDeserializer::deserializeAs<llvm::codeview::ProcSym>(record);
      if (symbol) add(symbol->Segment, symbol->CodeOffset, symbol->Name);
      else llvm::consumeError(symbol.takeError());
    } else if (record.kind() == SymbolKind::S_GDATA32 || record.kind() == SymbolKind::S_LDATA32) {
      auto symbol = SymbolDeserializer::deserializeAs<llvm::codeview::DataSym>(record);
      if (symbol) add(symbol->Segment, symbol->DataOffset, symbol->Name);
      else llvm::consumeError(symbol.takeError());
    }
  }

  const std::unique_ptr<llvm::pdb::IPDBSession> session_;
  llvm::pdb::PDBFile& file_;
  std::vector<std::uint32_t> sections_;
  std::map<std::uint32_t, std::string>* names_ = nullptr;  // while they are loaded
};

PdbReader::PdbReader() = default;
PdbReader::~PdbReader() = default;

Result<std::unique_ptr<PdbReader>> PdbReader::open(const std::string& path,
                                                   const windows::PdbId& id) {
  std::unique_ptr<llvm::pdb::IPDBSession> session;
  if (auto failed = llvm::pdb::NativeSession::createFromPdbPath(path, session))
    return error_of(std::move(failed), path);
  std::unique_ptr<PdbReader> reader(new PdbReader);
  reader->session_ = std::make_unique<Session>(std::move(session));
  if (!reader->session_->matches(id))
    return Error{ErrorCode::kNotFound, path + " is of another build than " + id.key()};
  if (auto failed = reader->session_->load_names(reader->names_))
    return error_of(std::move(failed), path);
  return reader;
}

std::map<std::string, std::uint32_t> PdbReader::members_of(const std::string& type) const {
  return session_->members_of(type);
}

}  // namespace hvd
