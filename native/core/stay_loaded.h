// Node unloads an addon with the last environment that has loaded it, which may be a Worker's. What runs or is called
// later (a thread of ours, a function that frees a Worker's ArrayBuffers) needs its code.
#ifndef MP_CORE_STAY_LOADED_H_
#define MP_CORE_STAY_LOADED_H_

namespace mp::core {

// The library that has this code is never unloaded from here on. Whether that is sure.
bool StayLoaded();

}  // namespace mp::core

#endif  // MP_CORE_STAY_LOADED_H_
