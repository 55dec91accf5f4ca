#include "guest/debuginfo/line_table.h"

#include <llvm/DebugInfo/Symbolize/Symbolize.h>
#include <llvm/Object/ObjectFile.h>

#include <algorithm>
#include <filesystem>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "guest/debuginfo/own_process.h"

namespace hvd {
namespace {

struct PlacedSection {
  std::uint64_t begin = 0;  // where it was loaded
  std::uint64_t size = 0;
  std::uint64_t index = 0;  // in the file's section table
};

struct Where {
  le64 address, section;
};

struct FrameHead {
  le32 line, inlined, function_size, file_size;
};

struct SectionHead {
  le64 size, index;
  le32 name_size;
};

// The functions until the next comment run in a process of their own: they use LLVM on the file.

// Paths as the kernel's sources have them ("kernel/panic.c"), not where somebody built them.
llvm::symbolize::LLVMSymbolizer::Options symbolizer_options() {
  llvm::symbolize::LLVMSymbolizer::Options options;
  options.PathStyle = llvm::DILineInfoSpecifier::FileLineInfoKind::RelativeFilePath;
  return options;
}

Bytes frames_at(llvm::symbolize::LLVMSymbolizer& symbolizer, const std::string& file,
                const Where& where) {
  const llvm::object::SectionedAddress at{where.address, where.section};
  auto info = symbolizer.symbolizeInlinedCode(file, at);
  if (!info) {
    llvm::consumeError(info.takeError());
    return {};
  }
  ByteWriter out;
  const std::uint32_t count = info->getNumberOfFrames();
  for (std::uint32_t i = 0; i < count; ++i) {
    const llvm::DILineInfo& frame = info->getFrame(i);
    if (frame.FunctionName == llvm::DILineInfo::BadString || frame.Line == 0) continue;
    out.put(FrameHead{frame.Line, i + 1 < count ? 1u : 0u,
                      static_cast<std::uint32_t>(frame.FunctionName.size()),
                      static_cast<std::uint32_t>(frame.FileName.size())});
    out.put(as_bytes(frame.FunctionName)).put(as_bytes(frame.FileName));
  }
  return out.take();
}

// The sections by name; nothing when the file is not relocatable.
Bytes sections_of(const std::string& file) {
  auto object = llvm::object::ObjectFile::createObjectFile(file);
  if (!object) {
    llvm::consumeError(object.takeError());
    return {};
  }
  if (!object->getBinary()->isRelocatableObject()) return {};
  ByteWriter out;
  for (const llvm::object::SectionRef& section : object->getBinary()->sections()) {
    auto name = section.getName();
    if (!name) {
      llvm::consumeError(name.takeError());
      continue;
    }
    out.put(SectionHead{section.getSize(), section.getIndex(),
                        static_cast<std::uint32_t>(name->size())});
    out.put(as_bytes(std::string_view(*name)));
  }
  return out.take();
}

// From here on it is this process again.

Result<std::vector<SourceFrame>> parse_frames(ByteView bytes) {
  ByteReader in(bytes, "source lines");
  std::vector<SourceFrame> out;
  while (in.remaining() != 0) {
    const auto head = in.read<FrameHead>();
    SourceFrame frame;
    frame.function = to_string(in.bytes(head.function_size));
    frame.file = to_string(in.bytes(head.file_size));
    frame.line = head.line;
    frame.inlined = head.inlined != 0;
    out.push_back(std::move(frame));
  }
  HVD_TRY(in.finish());
  return out;
}

Result<std::vector<PlacedSection>> place_sections(ByteView bytes,
                                                  const std::vector<LoadedSection>& loaded) {
  ByteReader in(bytes, "sections");
  std::vector<PlacedSection> out;
  while (in.remaining() != 0) {
    const auto head = in.read<SectionHead>();
    const std::string name = to_string(in.bytes(head.name_size));
    const auto place = std::find_if(loaded.begin(), loaded.end(),
                                    [&](const LoadedSection& s) { return s.name == name; });
    if (place != loaded.end()) out.push_back({place->begin.value, head.size, head.index});
  }
  HVD_TRY(in.finish());
  return out;
}

}  // namespace

struct LineTable::State {
  std::unique_ptr<OwnProcess> process;
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
  table->state_ = std::make_unique<State>();
  auto symbolizer = std::shared_ptr<llvm::symbolize::LLVMSymbolizer>();
  const auto answer = [file, symbolizer](ByteView question) mutable {
    if (!symbolizer)
      symbolizer = std::make_shared<llvm::symbolize::LLVMSymbolizer>(symbolizer_options());
    Where where{};
    std::memcpy(&where, question.data(), std::min(question.size(), sizeof where));
    return frames_at(*symbolizer, file, where);
  };
  table->state_->process = HVD_TRY(OwnProcess::start(file, answer));
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
  const Bytes all = HVD_TRY(ask_own_process(file, [&] { return sections_of(file); }));
  if (all.empty()) return Error{ErrorCode::kUnsupported, file + " is not relocatable"};
  table->state_->sections = HVD_TRY(place_sections(all, sections));
  table->state_->relocatable = true;
  return table;
}

Result<std::vector<SourceFrame>> LineTable::at(VirtAddr at) const {
  Where where{at.value - state_->slide, llvm::object::SectionedAddress::UndefSection};
  if (state_->relocatable) {
    // A file's addresses count from the beginning of each section.
    const auto section =
        std::find_if(state_->sections.begin(), state_->sections.end(),
                     [&](const PlacedSection& s) { return at.value - s.begin < s.size; });
    if (section == state_->sections.end()) return std::vector<SourceFrame>();
    where = {at.value - section->begin, section->index};
  }
  return parse_frames(HVD_TRY(state_->process->ask(bytes_of(where))));
}

}  // namespace hvd
