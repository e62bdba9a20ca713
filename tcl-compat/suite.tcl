# The suite's server process. The one thing changed: output leaves line by line, so that
# the lines of this process and of its client never mix inside the pipe to the runner.
fconfigure stdout -buffering line
source tests/test_helper.tcl
