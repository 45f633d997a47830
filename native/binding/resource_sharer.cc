// Descriptors for messages that go through memory: see core/resource_sharer.h.

#include <napi.h>

#include <algorithm>

#include "binding/values.h"
#include "core/resource_sharer.h"

namespace mp {

namespace {

core::Ticket TicketOf(const Napi::CallbackInfo& info, size_t index) {
  const Bytes bytes = BytesOf(info.Env(), info[index]);
  core::Ticket ticket{};
  std::copy_n(bytes.data, std::min(bytes.size, ticket.size()), ticket.begin());
  return ticket;
}

// shareFd(fd, ticket, standing) → address
Napi::Value ShareFd(const Napi::CallbackInfo& info) {
  const auto address = core::ShareFd(Int(info, 0), TicketOf(info, 1), info[2].As<Napi::Boolean>());
  if (!address.ok()) return Throw(info.Env(), address.error());
  return Napi::String::New(info.Env(), address.value());
}

// revokeFd(ticket)
void RevokeFd(const Napi::CallbackInfo& info) { core::RevokeFd(TicketOf(info, 0)); }

// fetchFd(address, ticket, timeoutMs) → fd
Napi::Value FetchFd(const Napi::CallbackInfo& info) {
  auto fd = core::FetchFd(info[0].As<Napi::String>(), TicketOf(info, 1), DeadlineOf(info, 2));
  if (!fd.ok()) return Throw(info.Env(), fd.error());
  return Napi::Number::New(info.Env(), fd.value().Release());
}

}  // namespace

void InitResourceSharer(Napi::Env env, Napi::Object exports) {
  exports["shareFd"] = Napi::Function::New(env, ShareFd, "shareFd");
  exports["revokeFd"] = Napi::Function::New(env, RevokeFd, "revokeFd");
  exports["fetchFd"] = Napi::Function::New(env, FetchFd, "fetchFd");
}

}  // namespace mp
