#include "formats/hvd/integrity.h"

#include <llvm-c/blake3.h>
#include <sodium.h>

#include <cstring>

#include "base/text.h"

namespace hvd::format {
namespace {

constexpr std::string_view kKeyFileWord = "hvdump-signing-key ";

Hash finished(llvm_blake3_hasher& hasher, ByteView bytes) {
  Hash out{};
  static_assert(sizeof out == LLVM_BLAKE3_OUT_LEN);
  llvm_blake3_hasher_update(&hasher, bytes.data(), bytes.size());
  llvm_blake3_hasher_finalize(&hasher, out.data(), out.size());
  return out;
}

Bytes signed_message(std::string_view purpose, const DumpId& dump, const Hash& what) {
  Bytes message;
  append(message, as_bytes(purpose));
  append(message, std::as_bytes(std::span(dump)));
  append(message, std::as_bytes(std::span(what)));
  return message;
}

}  // namespace

SigningKey SigningKey::from_seed(const unsigned char* seed) {
  SigningKey key;
  crypto_sign_seed_keypair(key.public_.data(), key.secret_.data(), seed);
  return key;
}

SigningKey::~SigningKey() { sodium_memzero(secret_.data(), secret_.size()); }

Result<SigningKey> SigningKey::generate() {
  if (sodium_init() < 0) return Error{ErrorCode::kIo, "the system gives no usable randomness"};
  unsigned char seed[crypto_sign_SEEDBYTES];
  randombytes_buf(seed, sizeof seed);
  SigningKey key = from_seed(seed);
  sodium_memzero(seed, sizeof seed);
  return key;
}

Result<SigningKey> SigningKey::parse(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  if (text.starts_with(kKeyFileWord)) {
    const auto seed = from_hex(text.substr(kKeyFileWord.size()));
    if (seed && seed->size() == crypto_sign_SEEDBYTES) return from_seed(u8(ByteView(*seed)));
  }
  return Error{ErrorCode::kInvalidArgument,
               "not a signing key (expected \"hvdump-signing-key\" and 64 hex digits)"};
}

std::string SigningKey::text() const {
  return std::string(kKeyFileWord) +
         hex_bytes(std::as_bytes(std::span(secret_)).first(crypto_sign_SEEDBYTES)) + "\n";
}

Signature SigningKey::sign(std::string_view purpose, const DumpId& dump, const Hash& what) const {
  const Bytes message = signed_message(purpose, dump, what);
  Signature signature{};
  crypto_sign_detached(signature.data(), nullptr, u8(ByteView(message)), message.size(),
                       secret_.data());
  return signature;
}

bool signature_ok(const PublicKey& key, std::string_view purpose, const DumpId& dump,
                  const Hash& what, const Signature& signature) {
  const Bytes message = signed_message(purpose, dump, what);
  return crypto_sign_verify_detached(signature.data(), u8(ByteView(message)), message.size(),
                                     key.data()) == 0;
}

Hash hash_of(ByteView bytes) {
  llvm_blake3_hasher hasher;
  llvm_blake3_hasher_init(&hasher);
  return finished(hasher, bytes);
}

Hash keyed_hash(const DumpId& dump, ByteView bytes) {
  std::array<std::uint8_t, LLVM_BLAKE3_KEY_LEN> key{};
  std::memcpy(key.data(), dump.data(), dump.size());
  llvm_blake3_hasher hasher;
  llvm_blake3_hasher_init_keyed(&hasher, key.data());
  return finished(hasher, bytes);
}

Hash leaf_of(const DumpId& dump, const RecordHeader& header, const Hash& payload_hash) {
  std::array<unsigned char, kHashedHeaderBytes + sizeof(Hash)> message{};
  std::memcpy(message.data(), &header, kHashedHeaderBytes);
  std::memcpy(message.data() + kHashedHeaderBytes, payload_hash.data(), payload_hash.size());
  return keyed_hash(dump, std::as_bytes(std::span(message)));
}

void set_check(RecordHeader& header, const Hash& leaf) {
  std::memcpy(header.check, leaf.data(), sizeof header.check);
}

bool check_matches(const RecordHeader& header, const Hash& leaf) {
  return std::memcmp(header.check, leaf.data(), sizeof header.check) == 0;
}

Hash checkpoint_node(const DumpId& dump, ByteView unsigned_payload) {
  return keyed_hash(dump, unsigned_payload);
}

std::array<unsigned char, 16> file_header_check(const FileHeader& header) {
  std::array<unsigned char, 16> out{};
  const Hash hash = hash_of(bytes_of(header).first(sizeof header - sizeof header.check));
  std::memcpy(out.data(), hash.data(), out.size());
  return out;
}

Hash file_header_hash(const FileHeader& header) { return hash_of(bytes_of(header)); }

DumpId dump_id_of(const FileHeader& header) {
  DumpId id{};
  std::memcpy(id.data(), header.dump_id, id.size());
  return id;
}

Result<void> check_footer_signature(const FileHeader& header, const Footer& footer) {
  const DumpId dump = dump_id_of(header);
  PublicKey signer{};
  Signature signature{};
  std::memcpy(signer.data(), header.signer, signer.size());
  std::memcpy(signature.data(), footer.signature, signature.size());
  const Hash what =
      keyed_hash(dump, bytes_of(footer).first(sizeof footer - sizeof footer.signature));
  if (signature_ok(signer, kFooterPurpose, dump, what, signature)) return {};
  return Error{ErrorCode::kCorrupt, "footer: the signature is wrong"};
}

}  // namespace hvd::format
