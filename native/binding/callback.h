// Calling JavaScript from the event loop, where no JavaScript runs: what it throws is an uncaught exception, as in a
// callback of node's own. When a Worker is being ended, by terminate() or by process.exit() inside the callback, there is
// nobody to tell.
#pragma once

#include <napi.h>

#include <initializer_list>

namespace mp {

inline void CallBack(Napi::Function callback, std::initializer_list<napi_value> arguments,
                     napi_async_context context) {
  const Napi::Env env = callback.Env();
  napi_value result;
  const napi_status status = napi_make_callback(env, context, env.Global(), callback,
                                                arguments.size(), arguments.begin(), &result);
  napi_value error;
  if (status != napi_pending_exception ||
      napi_get_and_clear_last_exception(env, &error) != napi_ok) {
    return;
  }
  napi_fatal_exception(env, error);
}

}  // namespace mp
