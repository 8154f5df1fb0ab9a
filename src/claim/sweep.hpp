// Finding and removing what dead claims have left beside their lock files: a process that was killed while it held
// nothing leaves its kept claim, one that was killed in the middle of a step leaves more. Done on the slow path and by
// doctor, never on the fast one.
#pragma once

#include "claim/directory.hpp"
#include "claim/names.hpp"

#include <lockfile/inspect.hpp>

#include <vector>

namespace lockfile::claim {

/// Looks at the side names in a directory: all of them, or a few of those of one lock where `names` is given. With
/// `Clean::remove_dead` removes those whose maker is proved dead. W itself is never touched: while a dead claim still
/// stands there its own name stays too, for it may be the only witness of a power cut.
[[nodiscard]] os::Result<std::vector<Leftover>> sweep(const std::shared_ptr<Directory>& directory, const Names* names,
                                                      Clean clean);

}  // namespace lockfile::claim
