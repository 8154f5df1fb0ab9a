// Does the line keep its order? Told of every change of a line's words, and of whoever makes W its own.
#pragma once

#include <lockfile/holder.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace lockfile::simulation {

struct Participant;

class LineOracle {
 public:
  /// `word`: of the line's file.
  void changed(const Participant& by, std::size_t word, std::uint64_t before, std::uint64_t after, std::size_t step);
  /// It has given the sign that somebody stands in line. In stories with signs nobody is to heed a place before.
  void gave_sign(const Participant& by, std::size_t step);
  void expect_signs() { signs_ = true; }
  /// The line was removed by the name of an earlier one (claim/line.cpp, remove_if_it_is): who stood in it stands
  /// nowhere.
  void lost();
  /// It has lost its place so: it is told of no release, and sees it at its next look.
  [[nodiscard]] bool has_lost_its_place(const Participant& one) const { return displaced_.contains(&one); }
  /// It holds from now on. A sentence if it should not have come first; empty: rightly so.
  [[nodiscard]] std::string entered(const Participant& by);
  /// It reads: its verb is about to end. A sentence if a writer stood in line when it called, and stands there still.
  [[nodiscard]] std::string reads(const Participant& by) const;
  /// Both stand in line, the one behind the other.
  [[nodiscard]] bool stands_behind(const Participant& one, const Participant& other) const;
  /// Objects of this story pass who waits as they like.
  void allow_overtaking() { overtaking_allowed_ = true; }

 private:
  struct Standing {
    std::uint64_t number = 0;
    const Participant* by = nullptr;
    Mode mode = Mode::exclusive;
    std::size_t since = 0;                         // the step
    std::vector<const Participant*> overtaken_by;  // who did not stand in line itself
    bool sign_given = false;
  };
  std::map<std::size_t, const Participant*> owners_;  // by slot
  std::map<std::size_t, Standing> standing_;
  struct Stood {
    std::uint64_t number = 0;
    std::size_t since = 0;
  };
  std::map<const Participant*, Stood> last_;  // where each stood last
  std::set<const Participant*> displaced_;
  bool overtaking_allowed_ = false;
  bool signs_ = false;
};

}  // namespace lockfile::simulation
