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
# With several server threads, requests of two connections have no order, unless one client has
# read the other's answer. A test that lets a client wait (or sends EXEC, MONITOR or UNSUBSCRIBE without reading the
# reply), and at once lets another one push or publish, has no answer to read: this gives the first request the time
# to arrive, and waits until the servers' threads have done what came.
if {$::env(TCL_COMPAT_SETTLE_MS) > 0} {
    # The threads that serve clients: of each server the first one, which has the program's name, and the other reactors.
    proc tcl_compat_reactors {} {
        set files {}
        foreach server $::servers {
            set pid [dict get $server pid]
            foreach file [glob -nocomplain /proc/$pid/task/*/stat] {
                if {[string match "*/$pid/stat" $file] || [string match "*(reactor-*" [tcl_compat_stat $file]]} {
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
    # A reactor that sleeps has done all that it knew of, and whoever has something from it is awake by then: so each of them
    # is seen to sleep, and again, as often as what came can be handed on (thread to thread, primary to replica). A server
    # that is gone or stopped, or has something to do all the time, is not waited for.
    proc tcl_compat_settle {} {
        after $::env(TCL_COMPAT_SETTLE_MS)
        set deadline [expr {[clock milliseconds] + 5000}]
        for {set turn 0} {$turn < 3} {incr turn} {
            set awake [tcl_compat_reactors]
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
    rename ::redis::__dispatch__raw__ ::redis::suite_dispatch
    proc ::redis::__dispatch__raw__ {id method argv} {
        set result [uplevel 1 [list ::redis::suite_dispatch $id $method $argv]]
        if {[string tolower $method] in {blpop brpop brpoplpush exec monitor unsubscribe punsubscribe} && $::redis::deferred($id)} {
            ::tcl_compat_settle
        }
        # A test that asks a replica next does not wait for what it was sent.
        if {[string tolower $method] eq {flushall}} {
            ::tcl_compat_settle
        }
        return $result
    }
}
set ::curfile tests/$::env(TCL_COMPAT_UNIT).tcl
source $::curfile
