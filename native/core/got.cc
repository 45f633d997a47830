#include "got.h"

#if defined(__linux__)

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace mp::core {
namespace {

#if defined(__x86_64__)
constexpr unsigned kSlotTypes[] = {R_X86_64_JUMP_SLOT, R_X86_64_GLOB_DAT, R_X86_64_64};
#elif defined(__aarch64__)
constexpr unsigned kSlotTypes[] = {R_AARCH64_JUMP_SLOT, R_AARCH64_GLOB_DAT, R_AARCH64_ABS64};
#else
constexpr unsigned kSlotTypes[] = {0};
#endif

struct Search {
  const char* symbol;
  void* replacement;
  uintptr_t v8_address;  // an address inside the object that holds V8
  GotPatch result;
};

struct Object {
  uintptr_t base;
  uintptr_t relro_start = 0;
  uintptr_t relro_end = 0;
  const ElfW(Sym) * symbols = nullptr;
  const char* strings = nullptr;
};

bool IsSlot(unsigned type) {
  for (unsigned slot : kSlotTypes) {
    if (type == slot) return true;
  }
  return false;
}

bool Contains(const dl_phdr_info* info, uintptr_t address) {
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) & segment = info->dlpi_phdr[i];
    const uintptr_t start = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD && address >= start && address < start + segment.p_memsz) {
      return true;
    }
  }
  return false;
}

bool Store(const Object& object, void** slot, void* value) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t address = reinterpret_cast<uintptr_t>(slot);
  const bool read_only = address >= object.relro_start && address < object.relro_end;
  void* start = reinterpret_cast<void*>(address & ~(page - 1));
  if (read_only && mprotect(start, page, PROT_READ | PROT_WRITE) != 0) return false;
  // Other threads may call through the slot right now: one aligned store, old or new.
  __atomic_store_n(slot, value, __ATOMIC_RELEASE);
  if (read_only) mprotect(start, page, PROT_READ);
  return true;
}

bool PatchTable(const Object& object, const ElfW(Rela) * table, size_t bytes, Search* search) {
  bool any = false;
  for (size_t i = 0; i < bytes / sizeof(*table); i++) {
    const ElfW(Rela) & entry = table[i];
    if (!IsSlot(ELF64_R_TYPE(entry.r_info))) continue;
    const ElfW(Sym) & symbol = object.symbols[ELF64_R_SYM(entry.r_info)];
    if (strcmp(object.strings + symbol.st_name, search->symbol) != 0) continue;
    void** slot = reinterpret_cast<void**>(object.base + entry.r_offset);
    if (*slot != search->replacement && !Store(object, slot, search->replacement)) {
      search->result.problem = std::string("mprotect of a GOT page: ") + strerror(errno);
      return any;
    }
    search->result.slots++;
    any = true;
  }
  return any;
}

int PatchObject(dl_phdr_info* info, size_t, void* data) {
  auto* search = static_cast<Search*>(data);
  if (Contains(info, reinterpret_cast<uintptr_t>(&PatchObject))) return 0;  // ourselves

  Object object;
  object.base = info->dlpi_addr;
  const ElfW(Dyn)* dynamic = nullptr;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) & segment = info->dlpi_phdr[i];
    if (segment.p_type == PT_DYNAMIC) {
      dynamic = reinterpret_cast<const ElfW(Dyn)*>(object.base + segment.p_vaddr);
    } else if (segment.p_type == PT_GNU_RELRO) {
      object.relro_start = object.base + segment.p_vaddr;
      object.relro_end = object.relro_start + segment.p_memsz;
    }
  }
  if (dynamic == nullptr) return 0;

  // glibc has relocated these addresses in place, musl and the vdso have not.
  auto absolute = [&](ElfW(Addr) value) {
    return value < object.base ? value + object.base : value;
  };
  const ElfW(Rela)* rela = nullptr;
  const ElfW(Rela)* plt = nullptr;
  size_t rela_bytes = 0;
  size_t plt_bytes = 0;
  bool plt_is_rela = true;
  for (; dynamic->d_tag != DT_NULL; dynamic++) {
    switch (dynamic->d_tag) {
      case DT_SYMTAB:
        object.symbols = reinterpret_cast<const ElfW(Sym)*>(absolute(dynamic->d_un.d_ptr));
        break;
      case DT_STRTAB:
        object.strings = reinterpret_cast<const char*>(absolute(dynamic->d_un.d_ptr));
        break;
      case DT_RELA:
        rela = reinterpret_cast<const ElfW(Rela)*>(absolute(dynamic->d_un.d_ptr));
        break;
      case DT_RELASZ:
        rela_bytes = dynamic->d_un.d_val;
        break;
      case DT_JMPREL:
        plt = reinterpret_cast<const ElfW(Rela)*>(absolute(dynamic->d_un.d_ptr));
        break;
      case DT_PLTRELSZ:
        plt_bytes = dynamic->d_un.d_val;
        break;
      case DT_PLTREL:
        plt_is_rela = dynamic->d_un.d_val == DT_RELA;
        break;
      default:
        break;
    }
  }
  if (object.symbols == nullptr || object.strings == nullptr || !plt_is_rela) return 0;
  bool any = plt != nullptr && PatchTable(object, plt, plt_bytes, search);
  any = (rela != nullptr && PatchTable(object, rela, rela_bytes, search)) || any;
  if (any && Contains(info, search->v8_address)) search->result.patched_main_program = true;
  return 0;
}

}  // namespace

GotPatch PatchGot(const char* symbol, void* replacement) {
  void* v8 = dlsym(RTLD_DEFAULT, "_ZN2v87Isolate18TerminateExecutionEv");
  Search search{symbol, replacement, reinterpret_cast<uintptr_t>(v8), {}};
  dl_iterate_phdr(&PatchObject, &search);
  return search.result;
}

}  // namespace mp::core

#endif
