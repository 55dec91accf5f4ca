#include "formats/hvd/packing.h"

#include <lz4.h>
#include <zstd.h>

#include <memory>
#include <utility>

#include "base/byte_reader.h"
#include "base/byte_writer.h"

namespace hvd::format {
namespace {

constexpr int kZstdLevel = 1;

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// Creating a zstd context costs more than compressing a small chunk: each thread keeps one.
ZSTD_CCtx* compressor() {
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  return context.get();
}
// For memory: with a table that leaves room in a core's first cache, and without the short
// matches that words of 8 bytes have few of: an eighth faster, the result 3 % larger.
ZSTD_CCtx* memory_compressor() {
  ZSTD_CCtx* context = compressor();
  for (const auto& [parameter, value] : {std::pair{ZSTD_c_compressionLevel, kZstdLevel},
                                         {ZSTD_c_hashLog, 12},
                                         {ZSTD_c_minMatch, 7}}) {
    (void)ZSTD_CCtx_setParameter(context, parameter, value);
  }
  return context;
}
ZSTD_DCtx* decompressor() {
  thread_local std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  return context.get();
}

void make_room(Bytes& room, std::size_t bound) {
  if (room.size() < bound) room.resize(bound);
}

// What zstd wrote: nothing when it failed.
ByteView written(const Bytes& room, std::size_t result) {
  return ByteView(room).first(ZSTD_isError(result) ? 0 : result);
}

// `packed` is empty where compressing failed.
Compressed if_it_pays(Codec codec, ByteView raw, ByteView packed) {
  if (packed.empty() || packed.size() > raw.size() - raw.size() / 32) return {Codec::kNone, raw};
  return {codec, packed};
}

}  // namespace

Compressed compress(Codec wanted, ByteView raw, Bytes& room) {
  ByteView packed;
  if (wanted == Codec::kZstd) {
    make_room(room, ZSTD_compressBound(raw.size()));
    packed = written(room, ZSTD_compress2(memory_compressor(), room.data(), room.size(), raw.data(),
                                          raw.size()));
  } else if (wanted == Codec::kLz4) {
    make_room(room, static_cast<std::size_t>(LZ4_compressBound(static_cast<int>(raw.size()))));
    packed = ByteView(room).first(static_cast<std::size_t>(LZ4_compress_default(
        reinterpret_cast<const char*>(raw.data()), reinterpret_cast<char*>(room.data()),
        static_cast<int>(raw.size()), static_cast<int>(room.size()))));
  }
  return if_it_pays(wanted, raw, packed);
}

Result<Bytes> decompress(std::uint8_t codec, ByteView data, std::size_t raw_size) {
  const auto damaged = [&](std::size_t got) {
    return Error{ErrorCode::kCorrupt, "compressed data gives " + std::to_string(got) +
                                          " bytes instead of " + std::to_string(raw_size)};
  };
  switch (static_cast<Codec>(codec)) {
    case Codec::kNone:
      if (data.size() != raw_size) return damaged(data.size());
      return Bytes(data.begin(), data.end());
    case Codec::kLz4: {
      Bytes out(raw_size);
      const int got = LZ4_decompress_safe(
          reinterpret_cast<const char*>(data.data()), reinterpret_cast<char*>(out.data()),
          static_cast<int>(data.size()), static_cast<int>(out.size()));
      if (got < 0 || static_cast<std::size_t>(got) != raw_size)
        return damaged(got < 0 ? 0 : static_cast<std::size_t>(got));
      return out;
    }
    case Codec::kZstd: {
      Bytes out(raw_size);
      const std::size_t got =
          ZSTD_decompressDCtx(decompressor(), out.data(), out.size(), data.data(), data.size());
      if (ZSTD_isError(got) || got != raw_size) return damaged(ZSTD_isError(got) ? 0 : got);
      return out;
    }
  }
  return Error{ErrorCode::kUnsupported, "unknown codec " + std::to_string(codec)};
}

Bytes pack(ByteView raw) {
  Bytes room(ZSTD_compressBound(raw.size()));
  const std::size_t result =
      ZSTD_compressCCtx(compressor(), room.data(), room.size(), raw.data(), raw.size(), kZstdLevel);
  const Compressed body = if_it_pays(Codec::kZstd, raw, written(room, result));
  PackedHeader header{};
  header.codec = static_cast<unsigned char>(body.codec);
  header.raw_size = static_cast<std::uint32_t>(raw.size());
  return ByteWriter().put(header).put(body.data).take();
}

Result<Bytes> unpack(ByteView packed, const std::string& what) {
  ByteReader in(packed, what);
  const auto header = in.read<PackedHeader>();
  const ByteView data = in.rest();
  HVD_TRY(in.finish());
  if (header.raw_size > kMaxRaw) {
    return Error{ErrorCode::kCorrupt,
                 what + ": raw_size " + std::to_string(header.raw_size) + " is above the limit"};
  }
  return with_context(decompress(header.codec, data, header.raw_size), what);
}

}  // namespace hvd::format
