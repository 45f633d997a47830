// Handles that are fetched from their sender (resource_sharer.h). Nobody has to be asked: who fetches opens the sender
// and copies the handle. That a ticket is valid an event of its name tells, which is set; who takes a handle that is
// given once unsets it first, be it a receiver or the sender that takes it back.
#if defined(_WIN32)

#include "core/resource_sharer.h"

#include <cerrno>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>

#include "core/win32/handles.h"

namespace mp::core {

namespace {

struct Shared {
  HANDLE copy;
  UniqueHandle valid;
  bool standing;
};

struct Table {
  std::mutex mutex;
  std::map<Ticket, Shared> shared;
};

Table& TheTable() {
  static auto* table = new Table;
  return *table;
}

std::wstring NameOf(const Ticket& ticket) {
  constexpr wchar_t kDigits[] = L"0123456789abcdef";
  std::wstring name = L"Local\\nmp-ticket-";
  for (const uint8_t byte : ticket) {
    name += kDigits[byte >> 4];
    name += kDigits[byte & 15];
  }
  return name;
}

bool IsSet(HANDLE event) { return WaitForSingleObject(event, 0) == WAIT_OBJECT_0; }

}  // namespace

Result<std::string> ShareFd(int fd, const Ticket& ticket, bool standing) {
  auto copy = Duplicate(fd);
  if (!copy.ok()) return copy.error();
  UniqueHandle valid(CreateEventW(nullptr, standing, TRUE, NameOf(ticket).c_str()));
  if (!valid.valid()) return WindowsError("CreateEvent");
  const int number = copy.value().Release();
  Table& table = TheTable();
  std::lock_guard<std::mutex> lock(table.mutex);
  table.shared.insert_or_assign(ticket, Shared{HandleOf(number), std::move(valid), standing});
  return std::to_string(GetCurrentProcessId()) + "-" + std::to_string(number) +
         (standing ? "-s" : "-o");
}

void RevokeFd(const Ticket& ticket) {
  Table& table = TheTable();
  std::lock_guard<std::mutex> lock(table.mutex);
  const auto found = table.shared.find(ticket);
  if (found == table.shared.end()) return;
  const Shared& shared = found->second;
  if (shared.standing || IsSet(shared.valid.get())) CloseHandle(shared.copy);
  table.shared.erase(found);
}

Result<UniqueFd> FetchFd(const std::string& address, const Ticket& ticket, const Deadline&) {
  const char* const call = "fetchFd";
  char* end = nullptr;
  const unsigned long pid = std::strtoul(address.c_str(), &end, 10);
  if (*end != '-') return OsError{ENOENT, call};
  const unsigned long number = std::strtoul(end + 1, &end, 10);
  const bool once = std::string(end) == "-o";
  const UniqueHandle sender(OpenProcess(PROCESS_DUP_HANDLE, FALSE, pid));
  if (!sender.valid()) {
    return GetLastError() == ERROR_INVALID_PARAMETER ? OsError{ENOENT, call} : WindowsError(call);
  }
  const UniqueHandle valid(OpenEventW(SYNCHRONIZE, FALSE, NameOf(ticket).c_str()));
  if (!valid.valid() || !IsSet(valid.get())) return OsError{ENXIO, call};
  HANDLE own = nullptr;
  const DWORD options = DUPLICATE_SAME_ACCESS | (once ? DUPLICATE_CLOSE_SOURCE : 0);
  if (!DuplicateHandle(sender.get(), HandleOf(static_cast<int>(number)), GetCurrentProcess(), &own,
                       0, FALSE, options)) {
    return OsError{ENXIO, call};
  }
  return OwnFd(own);
}

}  // namespace mp::core

#endif
