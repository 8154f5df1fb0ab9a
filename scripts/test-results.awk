# Reads what `ctest --output-junit` wrote; prints a line `passed|failed|skipped NAME: REASON` for each test, and after a
# failed one its output. ctest's own summary will not do: it calls a missing program skipped, and does not see the
# skips inside of a program that it runs as a whole.

function plain(text) {
  gsub(/&lt;/, "<", text); gsub(/&gt;/, ">", text); gsub(/&quot;/, "\"", text); gsub(/&apos;/, "'", text)
  gsub(/&amp;/, "\\&", text)
  return text
}

function attribute(line, name) {
  if (!match(line, " " name "=\"[^\"]*\"")) return ""
  return plain(substr(line, RSTART + length(name) + 3, RLENGTH - length(name) - 4))
}

function finish() {
  if (name == "") return
  if (status == "fail" || note ~ /^Unable to find executable/) {
    print "failed " name ": " (note == "" ? "see below" : note)
    printf "%s", output
  } else if (status == "run" && !skipped_inside) {
    print "passed " name ":"
  } else {
    if (status == "disabled") reason = "disabled"
    if (reason == "") reason = first_line
    if (reason == "") reason = "no reason given"
    print "skipped " name ": " reason
  }
  name = ""
}

/^\t<testcase / {
  name = attribute($0, "name"); status = attribute($0, "status")
  note = reason = first_line = output = ""
  skipped_inside = reason_is_next = 0
  next
}
/^\t<\/testcase>/ { finish(); next }
name == "" { next }
/^\t\t<(failure|skipped) message=/ { note = attribute($0, "message"); next }
{
  line = $0
  sub(/^\t\t<system-out>/, "", line)
  sub(/<\/system-out>$/, "", line)
  line = plain(line)
  if (line != "") output = output "    " line "\n"
  if (first_line == "" && line != "") first_line = line
  # GoogleTest: `file:12: Skipped`, and the reason on the next line.
  if (reason_is_next) { reason = line; reason_is_next = 0 }
  if (line ~ /: Skipped$/) reason_is_next = 1
  if (line ~ /^\[  SKIPPED \]/) skipped_inside = 1
}
