// `lockctl doctor`: does locking work in this directory, and how? Everything is tried, nothing is guessed.
#include "address.hpp"
#include "commands.hpp"
#include "contention.hpp"
#include "exit_status.hpp"
#include "json.hpp"
#include "text.hpp"
#include "waiting.hpp"

#include <lockfile/lockfile.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <span>

namespace lockctl {
namespace {

using namespace std::chrono_literals;

struct DoctorOptions {
  std::string directory = ".";
  bool is_address = false;  // of a database or a cluster, and no directory
  bool clean = false;
  bool json = false;
};

struct Report {
  lockfile::Examination examination;
  std::optional<Contention> contention;
  std::vector<lockfile::Leftover> leftovers;
};

std::string_view to_string(lockfile::Finding::Result result) {
  switch (result) {
    case lockfile::Finding::Result::works:
      return "works";
    case lockfile::Finding::Result::fails:
      return "fails";
    case lockfile::Finding::Result::note:
      break;
  }
  return "";
}

bool is_sound(const Report& report) {
  return !report.examination.scheme.empty() && report.contention && report.contention->overlaps == 0 &&
         report.contention->failures == 0;
}

void print_findings(const std::vector<lockfile::Finding>& findings) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& finding : findings) {
    rows.push_back({escape(finding.what), std::string(to_string(finding.result)), escape(finding.detail)});
  }
  print_table(rows);
}

void print_examination(const std::string& directory, const lockfile::Examination& seen) {
  fmt::print("directory    {}\n", escape(directory));
  fmt::print("scheme       {}{}\n\n", seen.scheme.empty() ? "none" : seen.scheme,
             seen.why.empty() ? "" : ": " + escape(seen.why));
  print_findings(seen.findings);
}

// Every scheme, whatever the directory: a column each, since there are more promises than schemes.
void print_schemes() {
  fmt::print("\nschemes\n");
  std::vector<std::vector<std::string>> rows{{""}, {"locks"}};
  for (const auto& scheme : lockfile::describe_schemes()) {
    rows[0].emplace_back(scheme.name);
    rows[1].emplace_back(scheme.locks);
  }
  for (const auto& promise : lockfile::promises()) {
    std::vector<std::string> row{std::string(promise.name)};
    for (const auto& scheme : lockfile::describe_schemes()) {
      row.emplace_back(scheme.promises.*promise.is ? "yes" : "-");
    }
    rows.push_back(std::move(row));
  }
  print_table(rows, "  ");
}

Json schemes_to_json(std::span<const lockfile::SchemeDescription> described) {
  Json schemes = Json::array();
  for (const auto& scheme : described) {
    Json promises = Json::object();
    for (const auto& promise : lockfile::promises()) {
      promises[std::string(promise.name)] = scheme.promises.*promise.is;
    }
    schemes.push_back({{"name", scheme.name},
                       {"what", scheme.what},
                       {"locks", scheme.locks},
                       {"promises", std::move(promises)},
                       {"except", scheme.except}});
  }
  return schemes;
}

void print_contention(const Contention& run) {
  fmt::print("\ncontention   {} processes for {:.1f} s: {} acquisitions ({:.0f} per second), {} overlapping holders\n",
             run.processes, run.lasted.count(), run.acquisitions,
             static_cast<double>(run.acquisitions) / std::max(run.lasted.count(), 0.001), run.overlaps);
  if (run.failures > 0) {
    fmt::print("             {} of them failed; the first: {}\n", run.failures, escape(run.first_failure));
  }
  for (const std::string& name : run.left_behind) {
    fmt::print("             left {} behind, removed now\n", quote(name));
  }
}

void print_leftovers(const std::vector<lockfile::Leftover>& leftovers, bool clean) {
  if (leftovers.empty()) {
    fmt::print("leftovers    none\n");
    return;
  }
  fmt::print("leftovers    {} side files of claims\n", leftovers.size());
  std::vector<std::vector<std::string>> rows;
  bool some_can_go = false;
  for (const auto& left : leftovers) {
    const bool dead = left.maker == lockfile::Verdict::dead;
    some_can_go = some_can_go || (dead && !left.removed);
    rows.push_back({escape(left.name), fmt::format("maker {}", lockfile::to_string(left.maker)),
                    left.removed ? "removed" : "kept", escape(left.note)});
  }
  print_table(rows, "  ");
  if (some_can_go && !clean) {
    fmt::print("  '--clean' removes those of dead makers\n");
  }
}

Json findings_to_json(const std::vector<lockfile::Finding>& findings) {
  Json json = Json::array();
  for (const auto& finding : findings) {
    json.push_back({{"what", finding.what}, {"result", to_string(finding.result)}, {"detail", finding.detail}});
  }
  return json;
}

Json to_json(const std::string& directory, const Report& report) {
  Json json = Json::object();
  json["directory"] = directory;
  json["sound"] = is_sound(report);
  json["file_system"] = report.examination.file_system;
  json["local"] = report.examination.local;
  json["scheme"] = report.examination.scheme;
  json["why"] = report.examination.why;
  json["findings"] = findings_to_json(report.examination.findings);
  json["contention"] = nullptr;
  if (report.contention) {
    const Contention& run = *report.contention;
    json["contention"] = {{"processes", run.processes},       {"seconds", run.lasted.count()},
                          {"acquisitions", run.acquisitions}, {"overlaps", run.overlaps},
                          {"failures", run.failures},         {"first_failure", run.first_failure},
                          {"left_behind", run.left_behind}};
  }
  json["schemes"] = schemes_to_json(lockfile::describe_schemes());
  json["engines"] = schemes_to_json(lockfile::describe_engines());
  json["promises"] = Json::object();
  for (const auto& promise : lockfile::promises()) {
    json["promises"][std::string(promise.name)] = promise.what;
  }
  json["leftovers"] = Json::array();
  for (const auto& left : report.leftovers) {
    json["leftovers"].push_back({{"name", left.name},
                                 {"maker", lockfile::to_string(left.maker)},
                                 {"removed", left.removed},
                                 {"note", left.note}});
  }
  return json;
}

// What is known is printed as it becomes known: the contention run takes a moment.
int examine(const DoctorOptions& options) {
  constexpr int processes = 4;
  const BlockedSignals signals(ending_signals);
  Report report;
  std::error_code error;
  report.examination = lockfile::examine(options.directory, error);
  if (error) {
    say(fmt::format("cannot examine {}: {}", quote(options.directory), cause_of(error)));
    return status(Exit::cannot_look);
  }
  if (!options.json) {
    print_examination(options.directory, report.examination);
    std::fflush(stdout);  // a forked worker must find nothing that it could write once more
  }
  if (!report.examination.scheme.empty()) {
    report.contention = contend(options.directory, processes, 500ms, signals);
    if (report.contention->interrupted_by != 0) {
      say(fmt::format("stopped examining {}: {}", quote(options.directory),
                      signal_name(report.contention->interrupted_by)));
      return status_of_signal(report.contention->interrupted_by);
    }
  }
  const auto cleaning = options.clean ? lockfile::Clean::remove_dead : lockfile::Clean::look_only;
  report.leftovers = lockfile::leftovers(options.directory, cleaning, error);
  if (error) {
    say(fmt::format("cannot look for leftovers in {}: {}", quote(options.directory), cause_of(error)));
  }
  if (options.json) {
    print_json(to_json(options.directory, report));
  } else {
    if (report.contention) {
      print_contention(*report.contention);
    }
    print_leftovers(report.leftovers, options.clean);
    print_schemes();
    fmt::print("\n{}\n", is_sound(report) ? "locking works here" : "do not rely on locks in this directory");
  }
  return status(error ? Exit::cannot_look : is_sound(report) ? Exit::ok : Exit::unavailable);
}

// A database or a cluster: whatever its scheme has to say of it.
int examine_address(const DoctorOptions& options) {
  std::error_code error;
  Report report;
  report.examination = lockfile::examine_place(options.directory, error);
  if (error) {
    say(fmt::format("cannot examine {}: {}", quote(options.directory), cause_of(error)));
    return status(Exit::cannot_look);
  }
  const auto& findings = report.examination.findings;
  const bool sound = std::none_of(findings.begin(), findings.end(), [](const lockfile::Finding& each) {
    return each.result == lockfile::Finding::Result::fails;
  });
  if (options.json) {
    Json json = Json::object();
    json["address"] = options.directory;
    json["sound"] = sound;
    json["findings"] = findings_to_json(findings);
    print_json(json);
  } else {
    fmt::print("address      {}\n\n", escape(options.directory));
    print_findings(findings);
    fmt::print("\n{}\n", sound ? "locking works here" : "do not rely on locks there");
  }
  return status(sound ? Exit::ok : Exit::unavailable);
}

int examine_or_say_why_not(const DoctorOptions& options) {
  try {
    return options.is_address ? examine_address(options) : examine(options);
  } catch (const std::system_error& error) {
    say(message_of(error));
    return status(error.code() == std::errc::invalid_argument ? Exit::usage : Exit::system);
  }
}

}  // namespace

void add_doctor(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* const doctor_app =
      app.add_subcommand("doctor", "try out whether and how locking works in a directory, or in a database");
  doctor_app->add_option("DIR", options->directory,
                         "the directory, or the address of a database or cluster; the current directory when left out");
  doctor_app->add_flag("--clean", options->clean, "remove what dead processes have left there");
  doctor_app->add_flag("--json", options->json, "print an object");
  doctor_app->footer(
      R"(Tries hard links, directories, byte-range locks and so on, says which scheme is taken and why, lets four processes
contend for a lock of its own for half a second, and counts overlapping holders. Needs to write there; leaves nothing
behind. Shows what each scheme promises. Of an address it says what its server, settings and clocks mean for locks.
Exit status: 0 locking works; 69 it does not; 74 the directory cannot be worked in.

Example:
  lockctl doctor /mnt/share --clean)");
  doctor_app->callback([options, &chosen] {
    options->is_address = is_engine_address(options->directory);
    chosen = [options] { return examine_or_say_why_not(*options); };
  });
}

}  // namespace lockctl
