// The subcommands. Each adds its arguments to the parser and, when it is the one that was called, leaves in `chosen`
// what is to be done; main runs that after the parsing.
#pragma once

#include "arguments.hpp"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace lockctl {

/// `command` is what stands behind the `--`.
void add_run(CLI::App& app, Action& chosen, const std::vector<std::string>& command);
void add_status(CLI::App& app, Action& chosen);
void add_wait(CLI::App& app, Action& chosen);
void add_break(CLI::App& app, Action& chosen);
void add_list(CLI::App& app, Action& chosen);
void add_doctor(CLI::App& app, Action& chosen);
void add_init(CLI::App& app, Action& chosen);

}  // namespace lockctl
