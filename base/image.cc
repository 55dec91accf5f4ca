#include "base/image.h"

#include "base/json.h"

namespace hvd {

const Bytes* note_of(const Image& image, std::string_view owner) {
  for (const Note& note : image.notes)
    if (note.name == owner) return &note.contents;
  return nullptr;
}

bool is_process(const Image& image) {
  const auto facts = parse_json_object(as_bytes(image.facts));
  return facts.is_object() && facts.value("address_space", nlohmann::json()) == "process";
}

}  // namespace hvd
