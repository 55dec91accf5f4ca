#include "guest/debuginfo/line_table.h"

#include <llvm/DebugInfo/Symbolize/Symbolize.h>
#include <llvm/Object/ObjectFile.h>

#include <algorithm>
#include <filesystem>

namespace hvd {
namespace {

struct PlacedSection {
  std::uint64_t begin = 0;  // where it was loaded
  std::uint64_t size = 0;
  std::uint64_t index = 0;  // in the file's section table
};

}  // namespace

struct LineTable::State {
  explicit State(const llvm::symbolize::LLVMSymbolizer::Options& options) : symbolizer(options) {}
  llvm::symbolize::LLVMSymbolizer symbolizer;
  std::string file;
  bool relocatable = false;
  std::uint64_t slide = 0;              // of a linked program
  std::vector<PlacedSection> sections;  // of a relocatable file
};

LineTable::LineTable() = default;
LineTable::~LineTable() = default;

Result<std::unique_ptr<LineTable>> LineTable::create(const std::string& file) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored))
    return Error{ErrorCode::kNotFound, file + " does not exist"};
  std::unique_ptr<LineTable> table(new LineTable);
  // Paths as the kernel's sources have them ("kernel/panic.c"), not where somebody built them.
  llvm::symbolize::LLVMSymbolizer::Options options;
  options.PathStyle = llvm::DILineInfoSpecifier::FileLineInfoKind::RelativeFilePath;
  table->state_ = std::make_unique<State>(options);
  table->state_->file = file;
  return table;
}

Result<std::unique_ptr<LineTable>> LineTable::open(const std::string& file, std::uint64_t slide) {
  auto table = HVD_TRY(create(file));
  table->state_->slide = slide;
  return table;
}

Result<std::unique_ptr<LineTable>> LineTable::open_relocatable(
    const std::string& file, const std::vector<LoadedSection>& sections) {
  auto table = HVD_TRY(create(file));
  auto object = llvm::object::ObjectFile::createObjectFile(file);
  if (!object) {
    llvm::consumeError(object.takeError());
    return Error{ErrorCode::kUnsupported, file + " is not an object file"};
  }
  if (!object->getBinary()->isRelocatableObject())
    return Error{ErrorCode::kUnsupported, file + " is not relocatable"};
  for (const llvm::object::SectionRef& section : object->getBinary()->sections()) {
    auto name = section.getName();
    if (!name) {
      llvm::consumeError(name.takeError());
      continue;
    }
    const auto loaded = std::find_if(sections.begin(), sections.end(), [&](const LoadedSection& s) {
      return std::string_view(s.name) == std::string_view(*name);
    });
    if (loaded == sections.end()) continue;
    table->state_->sections.push_back({loaded->begin.value, section.getSize(), section.getIndex()});
  }
  table->state_->relocatable = true;
  return table;
}

std::vector<SourceFrame> LineTable::at(VirtAddr at) const {
  llvm::object::SectionedAddress where{at.value - state_->slide};
  std::vector<SourceFrame> frames;
  if (state_->relocatable) {
    // A file's addresses count from the beginning of each section.
    const auto section =
        std::find_if(state_->sections.begin(), state_->sections.end(),
                     [&](const PlacedSection& s) { return at.value - s.begin < s.size; });
    if (section == state_->sections.end()) return frames;
    where = {at.value - section->begin, section->index};
  }
  auto info = state_->symbolizer.symbolizeInlinedCode(state_->file, where);
  if (!info) {
    llvm::consumeError(info.takeError());
    return frames;
  }
  const std::uint32_t count = info->getNumberOfFrames();
  for (std::uint32_t i = 0; i < count; ++i) {
    const llvm::DILineInfo& frame = info->getFrame(i);
    if (frame.FunctionName == llvm::DILineInfo::BadString || frame.Line == 0) continue;
    frames.push_back({frame.FunctionName, frame.FileName, frame.Line, i + 1 < count});
  }
  return frames;
}

}  // namespace hvd
