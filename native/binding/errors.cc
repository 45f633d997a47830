// See errors.h. Names and texts come from libuv, which every Node exports, so that they are the ones the
// user knows from `fs` and `net` on each platform.

#include "binding/errors.h"

#include <uv.h>

#include <cerrno>

#if defined(_WIN32)
#include "core/win32/handles.h"
#endif

namespace mp {

namespace {

#if defined(__linux__)
constexpr char kPlatform[] = "Linux";
#elif defined(__APPLE__)
constexpr char kPlatform[] = "macOS";
#elif defined(_WIN32)
constexpr char kPlatform[] = "Windows";
#else
constexpr char kPlatform[] = "this platform";
#endif

// libuv's code for a C errno value: its negative on POSIX, a number of libuv's own on Windows, where the
// C runtime sets errno all the same.
int UvCode(int errnum) {
#if defined(_WIN32)
  switch (errnum) {
    case EACCES:
      return UV_EACCES;
    case EAGAIN:
      return UV_EAGAIN;
    case EBADF:
      return UV_EBADF;
    case EEXIST:
      return UV_EEXIST;
    case EINTR:
      return UV_EINTR;
    case EINVAL:
      return UV_EINVAL;
    case EMFILE:
      return UV_EMFILE;
    case EMSGSIZE:
      return UV_EMSGSIZE;
    case ECONNRESET:
      return UV_ECONNRESET;
    case EIO:
      return UV_EIO;
    case ENAMETOOLONG:
      return UV_ENAMETOOLONG;
    case ENOENT:
      return UV_ENOENT;
    case EPROTO:
      return UV_EPROTO;
    case ENOMEM:
      return UV_ENOMEM;
    case ENOSPC:
      return UV_ENOSPC;
    case ENOSYS:
      return UV_ENOSYS;
    case EPERM:
      return UV_EPERM;
    case ENXIO:
      return UV_ENXIO;
    case EPIPE:
      return UV_EPIPE;
    case ESRCH:
      return UV_ESRCH;
    case ETIMEDOUT:
      return UV_ETIMEDOUT;
    default:
      return UV_UNKNOWN;
  }
#else
  return -errnum;
#endif
}

#if !defined(_WIN32)

// Failures of calls that libuv never makes, so that it has no name for them.
struct Unnamed {
  int errnum;
  const char* name;
  const char* text;
};
constexpr Unnamed kUnnamed[] = {
    {ECHILD, "ECHILD", "no child processes"},
    {ENOEXEC, "ENOEXEC", "exec format error"},
    {EDEADLK, "EDEADLK", "resource deadlock avoided"},
    {EIDRM, "EIDRM", "identifier removed"},
    {ENOLCK, "ENOLCK", "no locks available"},
    {EDQUOT, "EDQUOT", "disk quota exceeded"},
    {EOWNERDEAD, "EOWNERDEAD", "owner died"},
    {ENOTRECOVERABLE, "ENOTRECOVERABLE", "state not recoverable"},
};

const Unnamed* FindUnnamed(int uv_code) {
  for (const Unnamed& entry : kUnnamed) {
    if (entry.errnum == -uv_code) return &entry;
  }
  return nullptr;
}

#endif

std::string NameOf(int uv_code) {
#if !defined(_WIN32)
  if (const Unnamed* entry = FindUnnamed(uv_code)) return entry->name;
#endif
  char name[64];
  return uv_err_name_r(uv_code, name, sizeof name);
}

std::string TextOf(int uv_code) {
#if !defined(_WIN32)
  if (const Unnamed* entry = FindUnnamed(uv_code)) return entry->text;
#endif
  char text[256];
  return uv_strerror_r(uv_code, text, sizeof text);
}

Napi::Error MakeSystemError(Napi::Env env, int uv_code, const char* syscall,
                            const std::string& text) {
  const std::string name = NameOf(uv_code);
  Napi::Error error = Napi::Error::New(env, name + ": " + text);
  Napi::Object value = error.Value();
  value.Set("errno", Napi::Number::New(env, uv_code));
  value.Set("code", Napi::String::New(env, name));
  value.Set("syscall", Napi::String::New(env, syscall));
  return error;
}

}  // namespace

Napi::Error MakeErrnoError(Napi::Env env, int errnum, const char* syscall,
                           const std::string& detail) {
  const int uv_code = UvCode(errnum);
  std::string message = TextOf(uv_code) + ", " + syscall;
  if (!detail.empty()) message += " " + detail;
#if defined(_WIN32)
  if (errnum == EIO) message += " (Windows error " + std::to_string(core::LastWithoutErrno()) + ")";
#endif
  return MakeSystemError(env, uv_code, syscall, message);
}

void ThrowErrno(Napi::Env env, int errnum, const char* syscall, const std::string& detail) {
  MakeErrnoError(env, errnum, syscall, detail).ThrowAsJavaScriptException();
}

Napi::Error MakeUnsupportedError(Napi::Env env, const char* syscall) {
  return MakeSystemError(env, UV_ENOSYS, syscall,
                         std::string("function not implemented on ") + kPlatform + ", " + syscall);
}

void ThrowUnsupported(Napi::Env env, const char* syscall) {
  MakeUnsupportedError(env, syscall).ThrowAsJavaScriptException();
}

void ThrowTypeError(Napi::Env env, const std::string& message) {
  Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
}

void ThrowRangeError(Napi::Env env, const std::string& message) {
  Napi::RangeError::New(env, message).ThrowAsJavaScriptException();
}

}  // namespace mp
