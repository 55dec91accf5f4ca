// Writes the seeds of every fuzz entry into FOLDER/<entry>/, from text and builders; the same bytes
// each time but for what is encrypted.
#include <filesystem>
#include <fstream>

#include "envelope/age.h"
#include "formats/windows_dump/triage_writer.h"
#include "tests/fuzz/fuzz_guest.h"
#include "tests/fuzz/fuzz_keys.h"
#include "tests/support/crafted_dump.h"
#include "tests/support/damage.h"
#include "tests/support/debug_files.h"
#include "tests/support/elf_builder.h"

namespace {

using namespace hvd;
std::filesystem::path out;

void seed(const std::string& entry, const std::string& name, ByteView bytes) {
  std::filesystem::create_directories(out / entry);
  std::ofstream(out / entry / name, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}
void seed(const std::string& entry, const std::string& name, std::string_view text) {
  seed(entry, name, as_bytes(text));
}

Bytes clear_dump() {
  CraftedDump crafted;
  crafted.begin().facts(R"({"ranges":[[0,67108864]],"uuid":"x"})");
  format::MapChunk entry{};
  entry.file_offset =
      crafted.chunk(0, 0, PageClass::kKernel, {5, 9}, filled(2 * format::kPageBytes, 'k'));
  entry.page_count = 2;
  const std::uint8_t stored = format::kStateStored;
  const auto map = crafted.map(
      0, {entry},
      {{5, stored}, {9, stored}, {10, format::kStateRepeat}, {11, format::kStateAbsent}},
      {{10, 5}});
  crafted.map_index({{0, map}});
  crafted.end();
  return crafted.build();
}

Bytes sealed_dump() {
  auto bytes = std::make_shared<Bytes>();
  auto writer = format::DumpWriter::create(std::make_unique<SharedSink>(bytes),
                                           {DumpId{7}, 0, "{}"}, fuzz::signing_key())
                    .value();
  auto keys = std::make_shared<PartitionKeys>(fuzz::partition_keys());
  const auto slots =
      make_key_slots(*keys, DumpId{7}, 0, {Recipient(fuzz::identity().recipient())}).value();
  auto partition = writer->begin_partition({.name = "guest"}, keys, slots).value();
  Facts facts;
  facts.ranges.push_back({{PhysAddr{0}, 64u << 20}, "ram", {}});
  (void)partition->facts(facts).has_value();
  (void)partition->note({"VMCOREINFO", 0, to_bytes("OSRELEASE=x")}).has_value();
  (void)partition->registers(Registers()).has_value();
  auto segment = partition->segment(0).value();
  (void)segment.store(5, PageClass::kUser, filled(4096, 'u')).has_value();
  (void)segment.finish().has_value();
  (void)partition->end(PartitionState::kCaptured, "", {"a problem"}).has_value();
  (void)writer->finish().has_value();
  return *bytes;
}

void elf_seeds() {
  Registers registers;
  registers.set(Reg::kRip, 0xffffffff81000000);
  const Note status = elf::prstatus_note(registers, 1);
  ElfCoreBuilder builder;
  builder.load(0x1000, filled(64, 'a'))
      .load(0x1020, filled(64, 'b'), 4096)
      .note(status)
      .note({"VMCOREINFO", 0, to_bytes("OSRELEASE=x\n")});
  seed("elf_core", "two_loads", builder.build());
  seed("kdumpfile", "elf", builder.build());
  Bytes notes;
  elf::append_note(notes, status);
  elf::append_note(notes, {"QEMU", 0, Bytes(sizeof(elf::QemuCpuState), std::byte{1})});
  seed("elf_notes", "prstatus_qemu", notes);
}

// Headers with a page or two behind them: the writers' files are padded to 16 MiB.
void windows_seeds() {
  using namespace hvd::windows;
  Header64 header{};
  std::memcpy(header.signature, kHeaderSignature.data(), sizeof header.signature);
  header.machine = kMachineAmd64;
  header.directory_table_base = 0x1000;
  header.debugger_data = 0xfffff80000008000;
  Registers registers;
  registers.set(Reg::kRip, 0xfffff80000001000);
  const Context64 context = context_of(registers);
  std::memcpy(header.context, &context, sizeof context);
  TriagePlan plan;
  plan.header = header;
  plan.debugger_data = Bytes(0x380);
  plan.stack_at = VirtAddr{0xffffa00000001000};
  plan.stack = filled(64, 's');
  plan.drivers = {{"ntoskrnl.exe", VirtAddr{0xfffff80000000000}, 0x1000, 7, 8}};
  plan.unloaded = {{"gone.sys", VirtAddr{0x10}, VirtAddr{0x20}}};
  plan.blocks = {{VirtAddr{0xfffff80000003000}, filled(64, 'b')}};
  seed("windows_dump", "triage", triage_dump(plan).value());
  header.run_count = 1;
  header.page_count = 2;
  header.runs[0] = {1, 2};
  header.dump_type = 1;
  ByteWriter full;
  full.put(header).put(ByteView(filled(2 * 4096, 'p')));
  seed("windows_dump", "full", full.view());
  header.dump_type = 5;
  BitmapHeader bitmap{};
  std::memcpy(bitmap.signature, "FDMPDUMP", 8);
  bitmap.first_page = 0x3000;
  bitmap.pages = 64;
  bitmap.present_pages = 2;
  ByteWriter bits;
  bits.put(header).put(bitmap).u64(6).zeros(0x1000 - sizeof bitmap - 8);
  bits.put(ByteView(filled(2 * 4096, 'p')));
  seed("windows_dump", "bitmap", bits.view());
}

// include/linux/../diskdump.h of makedumpfile: struct disk_dump_header, then bitmaps and page
// descriptors.
Bytes diskdump() {
  ByteWriter header;
  header.put(as_bytes("KDUMP   ")).u32(6).zeros(390 - 12).zeros(2);
  header.zeros(16).u32(0).u32(4096).u32(1).u32(2).u32(16).u32(0).u32(0).u32(0).u32(1);
  Bytes bytes = header.take();
  bytes.resize(5 * 4096);
  bytes[3 * 4096] = std::byte{3};
  return bytes;
}

// Compiled; where a compiler is missing, only the beginnings of such files.
void debug_information_seeds() {
  const TemporaryFolder folder;
  seed("dwarf", "header", ByteView(ElfCoreBuilder().build()));
  if (compile_program(folder, "program")) seed("dwarf", "program", folder.read("program"));
  if (compile_object(folder, "object")) seed("dwarf", "object", folder.read("object"));
  seed("pdb", "magic",
       std::string(16, 'g') +
           "Microsoft C/C++ MSF 7.00\r\n\x1a"
           "DS");
  if (compile_image(folder)) {
    if (const auto id = pdb_id_of(folder.read("image.dll")))
      seed("pdb", "image", to_string(id->guid) + folder.read("image.pdb"));
  }
  seed("symbol_path", "stores",
       "/pdbs;srv*/cache*https://user:secret@server/store*http://other/;cache*/mine;"
       "symsrv*symsrv.dll*/cache*https://server");
  seed("symbol_path", "name", "ntkrnlmp.pdb");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  out = argv[1];
  std::filesystem::remove_all(out);
  seed("hvd", "clear", clear_dump());
  seed("hvd", "sealed", sealed_dump());
  seed("hvd", "torn", truncated_at(clear_dump(), 600));
  elf_seeds();
  windows_seeds();
  debug_information_seeds();
  seed("kdumpfile", "diskdump", diskdump());
  seed("age", "x25519", age_encrypt(fuzz::identity().recipient(), as_bytes("secret")).value());
  seed("age", "grease",
       "age-encryption.org/v1\n-> grease a b\nYWJj\n--- " + std::string(43, 'A') + "\n");
  seed("age", "scrypt",
       "age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 18\n" + std::string(43, 'A') +
           "\n--- " + std::string(43, 'A') + "\n");
  seed("keys", "identity", "# mine\n" + fuzz::identity().text() + "\n");
  seed("keys", "recipient", fuzz::identity().recipient().text());
  seed("keys", "all", to_string(fuzz::partition_keys().key_text(DumpId{7}, 0).view()));
  seed("keys", "some",
       to_string(
           fuzz::partition_keys().key_text(DumpId{7}, 0, std::vector{PageClass::kKernel}).view()));
  seed("keys", "signing", "hvdump-signing-key " + std::string(64, '1') + "\n");
  seed("policy", "rules",
       R"({"vms":[{"match":"web-*","stateless":true,"note":"x"},{"match":"*","recipients":[")" +
           fuzz::identity().recipient().text() +
           R"("],"compression":"lz4"}],"hypervisor":{"level":"full","recipients":[]}})");
  seed("qemu_text", "mtree",
       "FlatView #2\n AS \"memory\", root: system\n  0000000000000000-000000000009ffff (prio 0, "
       "ram): pc.ram KVM\r\n"
       "  00000000000c0000-00000000000cafff (prio 0, rom): pc.ram @00000000000c0000 KVM\n");
  seed("qemu_text", "secret", R"(-object {"qom-type":"secret","data":"x"},password=y)");
  seed("qmp", "reply",
       "{\"event\": \"STOP\"}\r\n{\"return\": {\"status\": \"running\"}, \"id\": 2}\r\n");
  seed("qmp", "error",
       "{\"id\": 2, \"error\": {\"class\": \"CommandNotFound\", \"desc\": \"x\"}}\n");
  const fuzz::SyntheticGuest guest;
  seed("vmcoreinfo", "note", ByteView(guest.image.notes[0].contents));
  seed("btf", "new", kernel_btf());
  seed("btf", "old", kernel_btf(true));
  // One patch a part: a value written over a field in each page that the kernel uses.
  const std::size_t pages = guest.memory->written().size();
  for (std::size_t page = 0; page < pages; page += std::max<std::size_t>(1, pages / 24)) {
    ByteWriter patch;
    for (std::uint32_t at : {0u, 8u, 16u, 256u, 1000u})
      patch.u32(static_cast<std::uint32_t>(page * 4096 + at)).u8(8).u64(0xffffffff80400000 + at);
    seed("guest", "page_" + std::to_string(page), patch.view());
  }
  seed("guest", "untouched", "");
  for (const std::uint8_t arm64 : {0, 1}) {
    const std::string name = arm64 ? "arm64_" : "x64_";
    seed("windows_guest", name + "untouched", ByteWriter().u8(arm64).view());
    for (const std::uint32_t at :
         {0x0u, 0x80u, 0x98u, 0x5000u, 0x5800u, 0x8000u, 0x8810u, 0xa000u, 0xc000u}) {
      ByteWriter patch;
      patch.u8(arm64);
      for (const std::uint32_t more : {0u, 8u, 24u})
        patch.u32(0x9000 + at + more).u8(8).u64(0xfffff80612000000 + at);
      seed("windows_guest", name + "patch_" + std::to_string(at), patch.view());
    }
  }
  // A place in the functions, whether stopped there; then, but in the first, a word of unwind data.
  for (const std::uint32_t word : {0u, 0xe6e6e7e8u, 0xffffffffu, 0x08800011u}) {
    for (std::uint16_t place = 0; place < 0x180; place += 0x30) {
      ByteWriter input;
      input.u16(place).u8(static_cast<std::uint8_t>(place / 0x30));
      if (word != 0) input.u16(static_cast<std::uint16_t>(place / 4)).u32(word);
      seed("arm64_unwind", std::to_string(word) + "_" + std::to_string(place), input.view());
    }
  }
  return 0;
}
