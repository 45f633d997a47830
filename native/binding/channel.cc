// Channels, for src/queues.ts: the memory that one lies in, and what goes in and out as bytes.

#include <napi.h>

#include <memory>
#include <utility>
#include <vector>

#include "core/channel.h"

#include "binding/distant.h"
#include "binding/errors.h"
#include "binding/sync.h"
#include "binding/values.h"

namespace mp {

namespace {

class Channel : public Napi::ObjectWrap<Channel> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Channel",
                       {InstanceMethod<&Channel::Token>("token"),
                        InstanceMethod<&Channel::Put>("put"),
                        InstanceMethod<&Channel::PutParts>("putParts"),
                        InstanceMethod<&Channel::WaitForMessage>("waitForMessage"),
                        InstanceMethod<&Channel::Get>("get"),
                        InstanceMethod<&Channel::Sizes>("sizes"),
                        InstanceMethod<&Channel::GetInto>("getInto"),
                        InstanceMethod<&Channel::WakeAll>("wakeAll"),
                        InstanceMethod<&Channel::Recalls>("recalls"),
                        InstanceMethod<&Channel::WaitForTake>("waitForTake"),
                        InstanceMethod<&Channel::Size>("size"),
                        InstanceMethod<&Channel::HasRoom>("hasRoom"),
                        InstanceMethod<&Channel::Unfinished>("unfinished"),
                        InstanceMethod<&Channel::Done>("done"),
                        InstanceMethod<&Channel::WaitUntilDone>("waitUntilDone"),
                        InstanceMethod<&Channel::BellFd>("bellFd"),
                        InstanceMethod<&Channel::ResetBell>("resetBell"),
                        InstanceMethod<&Channel::AwaitWord>("awaitWord"),
                        InstanceMethod<&Channel::Words>("words"),
                        InstanceMethod<&Channel::Release>("release"),
                        InstanceMethod<&Channel::Fds>("fds"),
                        InstanceMethod<&Channel::MaxItems>("maxItems"),
                        InstanceMethod<&Channel::UsedChunks>("usedChunks")});
  }

  explicit Channel(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Channel>(info) {
    auto created = info.Length() == 1 ? core::Channel::Create(Unsigned(info, 0)) : Attached(info);
    if (!created.ok()) {
      Throw(info.Env(), created.error());
      return;
    }
    unowned_ = std::move(created.value());
    channel_ = unowned_;
    quick_ = unowned_.get();
    RegisterSegment(unowned_->segment());
  }

 private:
  // By the descriptors of its memory and its bell, which are the channel's then, or closed.
  static core::Result<std::shared_ptr<core::Channel>> Attached(const Napi::CallbackInfo& info) {
    core::UniqueFd fds[3];
    for (uint32_t i = 0; i < 3; i++) fds[i].Reset(info[i].As<Napi::Number>().Int32Value());
    auto segment =
        core::Segment::Attach(std::move(fds[0]), IdentityOf(info[3]), core::SegmentKind::kChannel);
    if (!segment.ok()) return segment.error();
    return core::Channel::Attach(segment.value(), std::move(fds[1]), std::move(fds[2]));
  }

  // Held as long as the caller's expression.
  std::shared_ptr<core::Channel> channel() const { return channel_.lock(); }

  // token() → the calling thread's name here, for the calls that take one.
  Napi::Value Token(const Napi::CallbackInfo& info) {
    return Answer(info.Env(), core::Enrol(channel()->segment()->header()));
  }

  // put(bytes, length, token, milliseconds, tag?) → false: no room in time
  Napi::Value Put(const Napi::CallbackInfo& info) {
    const core::Part part{BytesOf(info.Env(), info[0]).data, Unsigned(info, 1)};
    return Append(info, &part, 1, Unsigned(info, 2), DeadlineOf(info, 3), TagOf(info, 4));
  }

  // putParts(parts, token, milliseconds, tag?)
  Napi::Value PutParts(const Napi::CallbackInfo& info) {
    const auto parts = PartsOf<core::Part>(info[0]);
    return Append(info, parts.data(), parts.size(), Unsigned(info, 1), DeadlineOf(info, 2),
                  TagOf(info, 3));
  }

  static uint8_t TagOf(const Napi::CallbackInfo& info, size_t at) {
    return info.Length() > at ? static_cast<uint8_t>(Unsigned(info, at)) : 0;
  }

  Napi::Value Append(const Napi::CallbackInfo& info, const core::Part* parts, size_t count,
                     uint32_t token, const core::Deadline& deadline, uint8_t tag) {
    return Answer(info.Env(), quick_->Put(parts, count, token, deadline, tag));
  }

  // waitForMessage(token, milliseconds, recalls?) → whether there is one, which another process may take first
  Napi::Value WaitForMessage(const Napi::CallbackInfo& info) {
    const auto held = channel();
    const uint32_t recalls = info.Length() > 2 ? Unsigned(info, 2) : held->Recalls();
    const bool there = held->WaitForMessage(Unsigned(info, 0), DeadlineOf(info, 1), recalls);
    return Napi::Boolean::New(info.Env(), there);
  }
  // waitForTake(taken, milliseconds, recalls) → whether another message was taken
  Napi::Value WaitForTake(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(
        info.Env(),
        channel()->WaitForTake(Unsigned(info, 0), DeadlineOf(info, 1), Unsigned(info, 2)));
  }
  Napi::Value Recalls(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), channel()->Recalls());
  }

  // get(bytes, token, claim?, own?, orphaned?) → how many bytes; -1: nothing; -2: a large one, see sizes(); -4: a newer one; -5: an older one
  Napi::Value Get(const Napi::CallbackInfo& info) {
    large_.into.clear();
    return Take(info, info[0], Unsigned(info, 1), ClaimOf(info, 2));
  }

  core::Claim ClaimOf(const Napi::CallbackInfo& info, size_t at) const {
    if (info.Length() <= at) return {};
    const uint32_t which = Unsigned(info, at);
    if (which >= core::kMostClaims) return {};
    return {&quick_->control()->claims[which], static_cast<uint8_t>(Unsigned(info, at + 1)),
            static_cast<uint8_t>(Unsigned(info, at + 2))};
  }

  void WakeAll(const Napi::CallbackInfo&) { channel()->WakeAll(); }

  // sizes() → of the parts of the large message that get() has seen
  Napi::Value Sizes(const Napi::CallbackInfo& info) {
    Napi::Array sizes = Napi::Array::New(info.Env(), large_.sizes.size());
    uint32_t at = 0;
    for (size_t size : large_.sizes) {
      sizes[at++] = Napi::Number::New(info.Env(), static_cast<double>(size));
    }
    return sizes;
  }

  // getInto(parts, bytes, token, claim?, own?, orphaned?) → as get(); -3: it was large, and the parts, which have its sizes, are filled
  Napi::Value GetInto(const Napi::CallbackInfo& info) {
    const auto array = info[0].As<Napi::Array>();
    large_ = {};
    for (uint32_t i = 0; i < array.Length(); i++) {
      const Bytes bytes = BytesOf(info.Env(), array.Get(i));
      large_.sizes.push_back(bytes.size);
      large_.into.push_back(bytes.data);
    }
    return Take(info, info[1], Unsigned(info, 2), ClaimOf(info, 3));
  }

  Napi::Value Take(const Napi::CallbackInfo& info, const Napi::Value& bytes, uint32_t token,
                   const core::Claim& claim) {
    const auto got = quick_->Get(BytesOf(info.Env(), bytes).data, &large_, token, claim);
    if (!got.ok()) return Throw(info.Env(), got.error());
    int32_t answer = static_cast<int32_t>(got.value().size);
    switch (got.value().what) {
      case core::Channel::Got::kNothing:
        answer = -1;
        break;
      case core::Channel::Got::kSizes:
        answer = -2;
        break;
      case core::Channel::Got::kLarge:
        answer = -3;
        break;
      case core::Channel::Got::kRefused:
        answer = -4;
        break;
      case core::Channel::Got::kNotYet:
        answer = -5;
        break;
      case core::Channel::Got::kSmall:
        break;
    }
    return Napi::Number::New(info.Env(), answer);
  }

  Napi::Value Size(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), channel()->Size());
  }
  Napi::Value HasRoom(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), channel()->HasRoom());
  }
  Napi::Value Unfinished(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), channel()->Unfinished());
  }
  // done() → false: nothing is unfinished
  Napi::Value Done(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), channel()->Done());
  }
  // waitUntilDone(milliseconds) → whether
  Napi::Value WaitUntilDone(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), channel()->WaitUntilDone(DeadlineOf(info, 0)));
  }

  // bellFd() → what to poll for a message, after resetBell()
  Napi::Value BellFd(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), channel()->bell().fd());
  }
  void ResetBell(const Napi::CallbackInfo&) { channel()->ResetBell(); }

  // awaitWord(byteOffset) → its value, which says now that somebody waits for another
  Napi::Value AwaitWord(const Napi::CallbackInfo& info) {
    auto* word = reinterpret_cast<core::Word*>(static_cast<char*>(channel()->segment()->base()) +
                                               Unsigned(info, 0));
    return Napi::Number::New(info.Env(), static_cast<int32_t>(word->fetch_or(1) | 1));
  }
  // words() → { words, room, done, claims }: what stands for the segment, and where to wait in it. To be called once, and the
  // words to be kept: they are what keeps the channel.
  Napi::Value Words(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    constexpr size_t kBytes = core::kChannelOffset + sizeof(core::ChannelControl);
    if (unowned_ == nullptr) {
      ThrowTypeError(env, "the words of a channel are asked for once");
      return env.Undefined();
    }
    const std::shared_ptr<core::Segment> segment(unowned_, unowned_->segment().get());
    unowned_.reset();
    const Napi::Value words = MakeWords(env, segment, kBytes);
    if (words.IsEmpty()) return env.Undefined();
    Napi::Object result = Napi::Object::New(env);
    result["words"] = words;
    result["room"] = Napi::Number::New(
        env, (core::kChannelOffset + offsetof(core::ChannelControl, get_state)) / 4);
    result["done"] =
        Napi::Number::New(env, (core::kChannelOffset + offsetof(core::ChannelControl, done)) / 4);
    result["claims"] =
        Napi::Number::New(env, (core::kChannelOffset + offsetof(core::ChannelControl, claims)) / 4);
    return result;
  }

  // release(words) → gives everything back at once, where the words are an ArrayBuffer's. Nothing may be called afterwards.
  void Release(const Napi::CallbackInfo& info) {
    quick_ = nullptr;
    if (!info[0].IsTypedArray()) return;
    (void)napi_detach_arraybuffer(info.Env(), info[0].As<Napi::TypedArray>().ArrayBuffer());
  }

  // fds() → of its memory, of the bell and, -1 where that is the same, of what rings it
  Napi::Value Fds(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    Napi::Array fds = Napi::Array::New(env, 3);
    uint32_t at = 0;
    for (const int fd :
         {channel()->segment()->fd(), channel()->bell().fd(), channel()->bell().write_fd()}) {
      fds[at++] = Napi::Number::New(env, fd);
    }
    return fds;
  }
  Napi::Value MaxItems(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), channel()->max_items());
  }

  Napi::Value UsedChunks(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), channel()->UsedChunks());
  }

  // The memory of words(), which JavaScript keeps beside this object, owns the channel: unlike this object it is given
  // back at its collection, and does not wait for a turn of the event loop.
  std::weak_ptr<core::Channel> channel_;
  // The same, for calls that touch nothing of JavaScript's before they are done with it: nothing is collected meanwhile.
  core::Channel* quick_ = nullptr;
  std::shared_ptr<core::Channel> unowned_;
  core::LargeMessage large_;
};

}  // namespace

void InitChannel(Napi::Env env, Napi::Object exports) { exports["Channel"] = Channel::Define(env); }

}  // namespace mp
