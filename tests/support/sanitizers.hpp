// Which sanitizer this is compiled with: each compiler says it in a way of its own. And how much less is searched then.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif

namespace lockfile::testing {

/// A search that goes through every call of a program takes one in so many: instrumented code runs many times slower,
/// and another build goes through all of them.
#if defined(UNDER_TSAN)
inline constexpr int one_call_in = 32;  // most of these lives have one thread
#elif defined(UNDER_ASAN)
inline constexpr int one_call_in = 8;
#else
inline constexpr int one_call_in = 1;
#endif

}  // namespace lockfile::testing
