// A scheme that locks by a file in a directory.
#pragma once

#include "claim/directory.hpp"

#include <lockfile/scheme.hpp>

#include <memory>

namespace lockfile::schemes {

class FileScheme : public Scheme {
 public:
  /// The directory that the path names now, opened anew only if it is another one. Error: `value` is null.
  [[nodiscard]] virtual os::Result<std::shared_ptr<claim::Directory>> resolve() = 0;
  /// The one that was found last, without a look; null: none yet.
  [[nodiscard]] virtual std::shared_ptr<claim::Directory> directory() const noexcept = 0;
};

}  // namespace lockfile::schemes
