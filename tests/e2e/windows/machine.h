/* The bare x86 machine, for code without a C library. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define NOINLINE __attribute__((noinline))
#define PAGE 4096ull

static inline void outb(u16 port, u8 value) {
  __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}
static inline void outw(u16 port, u16 value) {
  __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port));
}
static inline void outl(u16 port, u32 value) {
  __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}
static inline u8 inb(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline void wrmsr(u32 msr, u64 value) {
  __asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}
static inline u64 rdmsr(u32 msr) {
  u32 low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
  return (u64)high << 32 | low;
}
static inline u64 read_cr2(void) {
  u64 value;
  __asm__ volatile("mov %%cr2, %0" : "=r"(value));
  return value;
}
static inline u64 read_cr3(void) {
  u64 value;
  __asm__ volatile("mov %%cr3, %0" : "=r"(value));
  return value;
}
static inline void pause(void) { __asm__ volatile("pause" ::: "memory"); }

/* QEMU's debug console, which the test reads. */
static inline void put_char(char c) { outb(0x402, (u8)c); }
static inline void put_text(const char* text) {
  while (*text) put_char(*text++);
}
static inline void put_hex(u64 value) {
  put_char(' ');
  for (int shift = 60; shift >= 0; shift -= 4) put_char("0123456789abcdef"[value >> shift & 15]);
}

/* The compiler calls these by itself. */
#define DEFINE_MEMORY_FUNCTIONS                                    \
  void* memset(void* to, int value, unsigned long long n) {        \
    for (u8* p = to; n--;) *p++ = (u8)value;                       \
    return to;                                                     \
  }                                                                \
  void* memcpy(void* to, const void* from, unsigned long long n) { \
    const u8* q = from;                                            \
    for (u8* p = to; n--;) *p++ = *q++;                            \
    return to;                                                     \
  }
void* memset(void* to, int value, unsigned long long n);
void* memcpy(void* to, const void* from, unsigned long long n);
