#include "guest/debuginfo/line_table.h"

#include <llvm/DebugInfo/Symbolize/Symbolize.h>

#include <filesystem>

namespace hvd {

struct LineTable::State {
  explicit State(const llvm::symbolize::LLVMSymbolizer::Options& options) : symbolizer(options) {}
  llvm::symbolize::LLVMSymbolizer symbolizer;
  std::string file;
  std::uint64_t slide = 0;
};

LineTable::LineTable() = default;
LineTable::~LineTable() = default;

Result<std::unique_ptr<LineTable>> LineTable::open(const std::string& file, std::uint64_t slide) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored))
    return Error{ErrorCode::kNotFound, file + " does not exist"};
  std::unique_ptr<LineTable> table(new LineTable);
  // Paths as the kernel's sources have them ("kernel/panic.c"), not where somebody built them.
  llvm::symbolize::LLVMSymbolizer::Options options;
  options.PathStyle = llvm::DILineInfoSpecifier::FileLineInfoKind::RelativeFilePath;
  table->state_ = std::make_unique<State>(options);
  table->state_->file = file;
  table->state_->slide = slide;
  return table;
}

std::vector<SourceFrame> LineTable::at(VirtAddr at) const {
  auto info = state_->symbolizer.symbolizeInlinedCode(
      state_->file, {at.value - state_->slide, llvm::object::SectionedAddress::UndefSection});
  std::vector<SourceFrame> frames;
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
