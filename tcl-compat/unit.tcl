# Run by the suite's client process as if it were a unit: sources the true unit, untouched,
# after wrapping `test` so that a test named in TCL_COMPAT_SKIP is reported and not run, and
# a test that throws is named before the exception ends the unit as it always would. With
# TCL_COMPAT_KEEP_GOING the unit goes on instead, on a new connection.
fconfigure stdout -buffering line
set ::tcl_compat_skip [split $::env(TCL_COMPAT_SKIP) \n]
rename test suite_test
proc test {name args} {
    if {$name in $::tcl_compat_skip} {
        send_data_packet $::test_server_fd skip $name
        return
    }
    if {[catch {uplevel 1 [list suite_test $name {*}$args]} result options]} {
        if {$::env(TCL_COMPAT_KEEP_GOING)} {
            send_data_packet $::test_server_fd err "$name in $::curfile\n$result"
            catch reconnect
            return
        }
        send_data_packet $::test_server_fd abort $name
        return -options $options $result
    }
    return $result
}
# With several server threads, requests of two connections have no order, unless one client has read the other's answer.
# A test that sends a command without reading the reply (a client is to wait, to sleep, to watch), and then lets another
# client ask, has no answer to read: before that other one speaks, the first request is given the time to arrive, and the
# servers' threads the time to do what came.
#
# With one thread too, FLUSHALL leaves something to others: the memory is given back by a thread of its own, and a replica is
# told after the client is. A test that measures the memory, or asks the replica next, does not wait for that.

# The threads that do what clients ask for: of each server the first one, which has the program's name, the other reactors,
# and who frees.
proc tcl_compat_threads {} {
    set files {}
    foreach server $::servers {
        set pid [dict get $server pid]
        foreach file [glob -nocomplain /proc/$pid/task/*/stat] {
            if {[string match "*/$pid/stat" $file] || [regexp {\((reactor-|free\))} [tcl_compat_stat $file]]} {
                lappend files $file
            }
        }
    }
    return $files
}
proc tcl_compat_stat {file} {
    set text {}
    catch {
        set from [open $file]
        set text [read $from]
        close $from
    }
    return $text
}
# A thread that sleeps has done all that it knew of, and whoever has something from it is awake by then: so each of them is
# seen to sleep, and again, as often as what came can be handed on (thread to thread, primary to replica). A server that is
# gone or stopped, or has something to do all the time, is not waited for.
proc tcl_compat_settle {} {
    set deadline [expr {[clock milliseconds] + 5000}]
    for {set turn 0} {$turn < 3} {incr turn} {
        set awake [tcl_compat_threads]
        while {[llength $awake] && [clock milliseconds] < $deadline} {
            set still {}
            foreach file $awake {
                if {[regexp {\) [RD] } [tcl_compat_stat $file]]} {
                    lappend still $file
                }
            }
            set awake $still
            if {[llength $awake]} {
                after 1
            }
        }
    }
}
# The connection on which something was sent, or which was closed, with no answer read since the last settling.
set ::tcl_compat_spoke {}
rename ::redis::__dispatch__raw__ ::redis::suite_dispatch
proc ::redis::__dispatch__raw__ {id method argv} {
    set named [string tolower $method]
    set speaks [expr {$named ni {read channel deferred blocking reconnect}}]
    if {$::env(TCL_COMPAT_SETTLE_MS) > 0 && $speaks} {
        if {$::tcl_compat_spoke ni [list {} $id]} {
            set ::tcl_compat_spoke {}
            after $::env(TCL_COMPAT_SETTLE_MS)
            tcl_compat_settle
        }
        # A script may run for as long as its test wants it to: such a test waits by itself.
        if {$named in {write close} || ($::redis::deferred($id) && $named ni {eval evalsha})} {
            set ::tcl_compat_spoke $id
        }
    }
    set result [uplevel 1 [list ::redis::suite_dispatch $id $method $argv]]
    if {$named eq {flushall}} {
        tcl_compat_settle
    }
    return $result
}
set ::curfile tests/$::env(TCL_COMPAT_UNIT).tcl
source $::curfile
