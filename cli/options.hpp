// Options that several subcommands have, so that they are read and refused in the same words everywhere.
#pragma once

#include "duration.hpp"

#include <CLI/CLI.hpp>

#include <optional>
#include <string>

namespace lockctl {

/// `--timeout DURATION`; nothing: for ever.
CLI::Option* add_timeout(CLI::App& app, std::optional<Seconds>& timeout);

/// `--scheme NAME`, one of those that the library has.
CLI::Option* add_scheme(CLI::App& app, std::string& scheme);

}  // namespace lockctl
