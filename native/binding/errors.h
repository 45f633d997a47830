// The one place that makes JavaScript errors for the whole addon.
//
// Guarantee: an operating-system failure looks exactly like one of Node's own, an Error with `code`
// ('EAGAIN'), `errno` (negative, as libuv counts) and `syscall`, and the message Node would build:
// "EAGAIN: resource temporarily unavailable, fork". Nobody else in native/ formats an error text.
//
// Only files of native/binding may call this; native/core returns errnum and call name as data and never
// throws. The addon is compiled without C++ exceptions, so Throw* leaves a pending JavaScript exception
// and returns: the caller must return to JavaScript at once.

#pragma once

#include <napi.h>

#include <string>

namespace mp {

// `errnum` is a positive errno value as the C library sets it. `detail`, when given, is appended after
// the call's name: "ENOENT: no such file or directory, shm_open '/psm_1'" has the detail "'/psm_1'".
Napi::Error MakeErrnoError(Napi::Env env, int errnum, const char* syscall,
                           const std::string& detail = "");

// The same error, pending on `env`.
void ThrowErrno(Napi::Env env, int errnum, const char* syscall, const std::string& detail = "");

// For a call that this platform does not have: code ENOSYS, the call and the platform named.
Napi::Error MakeUnsupportedError(Napi::Env env, const char* syscall);
void ThrowUnsupported(Napi::Env env, const char* syscall);

// For an argument of the wrong type or range: a TypeError, a RangeError. Type checks belong to the
// TypeScript side; these guard the boundary itself.
void ThrowTypeError(Napi::Env env, const std::string& message);
void ThrowRangeError(Napi::Env env, const std::string& message);

}  // namespace mp
