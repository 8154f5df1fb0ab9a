// What a verb fails with, for tests that ask for the code and not for the exception.
#pragma once

#include <lockfile/error.hpp>

#include <system_error>

namespace lockfile::testing {

/// The code that a verb fails with; none: it succeeded.
template <class Call>
std::error_code code_of(Call call) {
  try {
    call();
    return {};
  } catch (const Error& error) {
    return error.code();
  }
}

}  // namespace lockfile::testing
