#include "base/image.h"

namespace hvd {

const Bytes* note_of(const Image& image, std::string_view owner) {
  for (const Note& note : image.notes)
    if (note.name == owner) return &note.contents;
  return nullptr;
}

bool is_process(const Image& image) { return image.facts.address_space == AddressKind::kProcess; }

}  // namespace hvd
