// What every call of the native core returns: a value, or the errno and the name of the system call
// that failed.
//
// The core never throws and never sees Node: it reports, and the binding turns a report into a
// JavaScript error in one place. The call's name travels with the errno because one core function
// may make several system calls and the error that the user reads must name the one that failed, as
// Node's own errors do.
#pragma once

#include <cerrno>
#include <optional>
#include <utility>

namespace mp::core {

struct OsError {
  int errnum;
  const char* syscall;  // a string literal, never freed
};

// errno as it is at this moment, so nothing may come between the failed call and this one.
inline OsError LastError(const char* syscall) { return OsError{errno, syscall}; }

// Makes a system call again for as long as a signal interrupts it (PEP 475).
template <typename Call>
auto RetryOnSignal(Call call) {
  auto answer = call();
  while (answer < 0 && errno == EINTR) answer = call();
  return answer;
}

template <typename T>
class [[nodiscard]] Result {
 public:
  // Implicit on purpose: `return value;` and `return LastError("read");` both read as what they
  // are.
  Result(T value) : value_(std::move(value)) {}
  Result(OsError error) : error_(error) {}

  bool ok() const { return value_.has_value(); }
  T& value() { return *value_; }
  const T& value() const { return *value_; }
  const OsError& error() const { return error_; }

 private:
  std::optional<T> value_;
  OsError error_{0, ""};
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(OsError error) : error_(error) {}

  bool ok() const { return error_.errnum == 0; }
  const OsError& error() const { return error_; }

 private:
  OsError error_{0, ""};
};

}  // namespace mp::core
