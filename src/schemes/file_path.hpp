// The path that a lock is on.
#pragma once

#include <string>

namespace lockfile::schemes {

/// A locked path, absolute: where it is and what it is called there.
struct FilePath {
  std::string directory;
  std::string name;
};

}  // namespace lockfile::schemes
